"""Reads names and first sentences of the catalog from source text, without importing it.

To import the catalog loads torch, which takes two seconds of CPU: too long for printing eleven
names. The source text says the same; a test compares both.
"""

import ast
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

CATALOG = "securefl.scenario.catalog"
# The function fields of an entry, in the order in which a user should read their docstrings:
# a poisoning attack is described by what it does to records, if it touches them.
ATTACK_FIELDS = ("records", "rows", "gradients")
POSITIONAL_ATTACK_FIELDS = ("rows", "records", "gradients")
# The fields that name keyword parameters which the run itself provides.
PROVIDED_FIELDS = ("needs", "provided")


class Description(NamedTuple):
    """A name of the catalog: the first sentence of each of its functions, and the keys it takes."""

    name: str
    sentences: tuple[str, ...]
    parameters: tuple[str, ...]


def descriptions(table: str) -> Iterator[Description]:
    """Yields the entries of a table of the catalog, such as "RULES".

    Raises:
        LookupError: the catalog has no such table, or a name in it has no source.
    """
    home = _home(table)
    for key, value in _items(home, table):
        fields = _fields(home, value)
        provided: set[str] = set()
        for field in PROVIDED_FIELDS:
            if field in fields:
                provided.update(ast.literal_eval(fields[field]))
        sentences = []
        arguments: list[str] = []
        for field in _described(fields):
            module, name = _path(home, fields[field])
            function = _function(module, name)
            docstring = ast.get_docstring(function) or ""
            sentence, _, _ = docstring.partition("\n")
            sentences.append(sentence)
            arguments += [argument.arg for argument in function.args.kwonlyargs]
        # The functions of an entry share its parameters, so that a name may come twice.
        keys = [name for name in dict.fromkeys(arguments) if name not in provided]
        yield Description(key, tuple(sentences), tuple(keys))


def _home(table: str) -> str:
    """Returns the module with a table: the catalog, or one that it imports the table from."""
    home, _, _ = _imports(CATALOG).get(table, f"{CATALOG}.").rpartition(".")
    return home


def _items(home: str, table: str) -> Iterator[tuple[str, ast.expr]]:
    """Yields key and value of a dictionary literal in a module."""
    for node in _tree(home).body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.value, ast.Dict):
            continue
        if isinstance(node.target, ast.Name) and node.target.id == table:
            for key, value in zip(node.value.keys, node.value.values, strict=True):
                name = str(ast.literal_eval(key)) if key else ""
                yield name, value
            return
    raise LookupError(f"{CATALOG} has no table {table}")


def _fields(home: str, value: ast.expr) -> dict[str, ast.expr]:
    """Returns field -> expression of an entry such as `RuleEntry(defenses.mean, weighted=True)`."""
    if not isinstance(value, ast.Call):
        raise LookupError(f"{home} holds something that is no entry: {ast.unparse(value)}")
    is_attack = ast.unparse(value.func) == "AttackEntry"
    positional = POSITIONAL_ATTACK_FIELDS if is_attack else ("function",)
    fields = dict(zip(positional, value.args, strict=False))
    for keyword in value.keywords:
        if keyword.arg:
            fields[keyword.arg] = keyword.value
    return fields


def _described(fields: dict[str, ast.expr]) -> list[str]:
    """Returns the fields whose docstrings describe an entry."""
    return [field for field in ("function", *ATTACK_FIELDS) if field in fields]


def _path(home: str, value: ast.expr) -> tuple[str, str]:
    """Returns the module and the name behind an expression such as `defenses.krum`."""
    alias, _, name = ast.unparse(value).rpartition(".")
    return _imports(home)[alias], name


@cache
def _function(module: str, name: str) -> ast.FunctionDef:
    """Finds a function where it is defined: a door only imports it."""
    for node in _tree(module).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return node
    home, _, _ = _imports(module)[name].rpartition(".")
    return _function(home, name)


@cache
def _imports(module: str) -> dict[str, str]:
    """Returns name -> what it means, for the imports at the top of a module."""
    meanings = {}
    for node in _tree(module).body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                meanings[alias.asname or alias.name] = alias.name
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                meanings[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return meanings


@cache
def _tree(module: str) -> ast.Module:
    package, _, rest = module.partition(".")
    # Only the top is looked up by the import system: to find a submodule, it would import the
    # package around it.
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise LookupError(f"there is no package {package}")
    path = Path(spec.submodule_search_locations[0], *rest.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))
