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
DESCRIBED_FIELDS = {
    "RuleEntry": ("function",),
    "PrefilterEntry": ("function",),
    "AttackEntry": ("records", "rows", "gradients"),
}
POSITIONAL_FIELDS = {
    "RuleEntry": ("function",),
    "PrefilterEntry": ("function",),
    "AttackEntry": ("rows", "records", "gradients"),
}
# Keyword arguments that the run itself provides, and that no scenario can set.
PROVIDED_BY_THE_RUN = frozenset(
    {"generator", "weights", "start", "rule", "weigh", "krum", "classes", "part"}
)


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
    for key, value in _items(table):
        functions = [_function(*path) for path in _functions_of(value)]
        sentences = [(ast.get_docstring(node) or "").partition("\n")[0] for node in functions]
        arguments = [argument.arg for node in functions for argument in node.args.kwonlyargs]
        keys = [name for name in dict.fromkeys(arguments) if name not in PROVIDED_BY_THE_RUN]
        yield Description(key, tuple(sentences), tuple(keys))


def _items(table: str) -> Iterator[tuple[str, ast.expr]]:
    """Yields key and value of a dictionary literal of the catalog."""
    for node in _tree(CATALOG).body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.value, ast.Dict):
            continue
        if isinstance(node.target, ast.Name) and node.target.id == table:
            for key, value in zip(node.value.keys, node.value.values, strict=True):
                yield str(ast.literal_eval(key)) if key else "", value
            return
    raise LookupError(f"{CATALOG} has no table {table}")


def _functions_of(value: ast.expr) -> list[tuple[str, str]]:
    """Returns module and name of the functions of an entry, or of the function itself."""
    if not isinstance(value, ast.Call):
        return [_path(value)]
    entry = ast.unparse(value.func)
    fields = dict(zip(POSITIONAL_FIELDS[entry], value.args, strict=False))
    fields.update({keyword.arg: keyword.value for keyword in value.keywords if keyword.arg})
    return [_path(fields[field]) for field in DESCRIBED_FIELDS[entry] if field in fields]


def _path(value: ast.expr) -> tuple[str, str]:
    """Returns the module and the name behind an expression such as `defenses.krum`."""
    alias, _, name = ast.unparse(value).rpartition(".")
    return _imports(CATALOG)[alias], name


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
            meanings.update({alias.asname or alias.name: alias.name for alias in node.names})
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
