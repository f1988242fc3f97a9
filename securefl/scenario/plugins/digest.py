"""A hash of a Python object's code, with everything of its author's that the code reads.

digest = code_digest(my_rule)  # the same in every process, or None
"""

import dataclasses
import dis
import hashlib
import inspect
import sys
from collections.abc import Iterator
from enum import Enum
from functools import partial
from importlib import metadata
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import torch

from securefl.scenario.plugins.snapshot import OURS

# Their repr says all there is to know.
PLAIN = (str, bytes, bool, int, float, complex, type(None), Enum, torch.dtype, torch.device)
GLOBAL_NAMES = ("LOAD_GLOBAL", "LOAD_NAME")
# The files of methods that dataclasses make.
GENERATED = ("<string>", dataclasses.__file__)
INSTALLED = ("site-packages", "dist-packages")


def code_digest(value: object) -> str | None:
    """Returns a SHA-256 of a function, a class or an entry, 64 hex digits; None where unknown.

    It covers the source and the compiled code of every function and class of the author's that is
    reached by name, plain values among them, and the versions of packages. Compiled code counts
    because a file may have been edited since it was imported.

    It is unknown where inspect finds no source, and where code reads a value that is neither plain
    nor code, such as a tensor.
    """
    digest = hashlib.sha256()
    try:
        for piece in _Reader().read(value):
            encoded = piece.encode("utf-8", "surrogatepass")
            # The length keeps two pieces from hashing like one that holds both.
            digest.update(len(encoded).to_bytes(8, "little") + encoded)
    except (_UnknownError, RecursionError):
        return None
    return digest.hexdigest()


class _UnknownError(Exception):
    """Raised where nobody can say what a value is in another process."""


class _Reader:
    """Describes values, each function and class once."""

    def __init__(self) -> None:
        self._ids: set[int] = set()
        self._values: list[object] = []  # alive while their ids are remembered

    def read(self, value: Any) -> Iterator[str]:
        """Yields pieces of text that say what a value does. Raises _UnknownError."""
        if isinstance(value, PLAIN):
            yield repr(value)
        elif isinstance(value, list | tuple | dict):
            yield from self._container(value)
        elif _is_library(value):
            yield _library_name(value)
        elif id(value) in self._ids:
            yield "again"
        else:
            self._ids.add(id(value))
            self._values.append(value)
            yield from self._own(value)

    def _container(self, value: list[Any] | tuple[Any, ...] | dict[Any, Any]) -> Iterator[str]:
        items = list(value.items()) if isinstance(value, dict) else list(value)
        yield f"{type(value).__name__} of {len(items)}"
        for item in items:
            yield from self.read(item)

    def _own(self, value: Any) -> Iterator[str]:
        """Describes what the author wrote."""
        if isinstance(value, ModuleType):
            yield _text_of_module(value)
        elif isinstance(value, FunctionType):
            yield from self._function(value)
        elif isinstance(value, type):
            yield from self._class(value)
        elif isinstance(value, partial):
            yield from self.read([value.func, value.args, value.keywords])
        elif isinstance(value, staticmethod | classmethod):
            yield type(value).__name__
            yield from self.read(value.__func__)
        elif isinstance(value, property):
            yield from self.read([value.fget, value.fset, value.fdel])
        elif dataclasses.is_dataclass(value):
            yield from self.read(type(value))
            yield from self.read(
                {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            )
        else:
            raise _UnknownError

    def _function(self, function: FunctionType) -> Iterator[str]:
        try:
            yield inspect.getsource(function)
        except (OSError, TypeError):
            raise _UnknownError from None
        yield from _compiled(function.__code__)
        yield from self.read([function.__defaults__, function.__kwdefaults__])
        for name in sorted(set(_globals_of(function.__code__))):
            if name in function.__globals__:
                yield name
                yield from self.read(function.__globals__[name])
        for cell in function.__closure__ or ():
            try:
                content = cell.cell_contents
            except ValueError:  # not filled yet
                raise _UnknownError from None
            yield from self.read(content)

    def _class(self, kind: type) -> Iterator[str]:
        """Describes a class by its members: in a notebook inspect finds the source of no class."""
        yield kind.__qualname__
        yield from self.read(kind.__bases__)
        if dataclasses.is_dataclass(kind):
            yield from self.read([field.name for field in dataclasses.fields(kind)])
        for name, member in sorted(vars(kind).items()):
            is_special = name.startswith("__") and not isinstance(member, FunctionType)
            if not is_special and not _is_generated(kind, member):
                yield name
                yield from self.read(member)


def _is_generated(kind: type, member: object) -> bool:
    """Whether a method was made from the fields of a dataclass; it has no source."""
    made = isinstance(member, FunctionType) and member.__code__.co_filename in GENERATED
    return made and dataclasses.is_dataclass(kind)


def _compiled(code: CodeType) -> Iterator[str]:
    yield code.co_code.hex()
    yield repr((code.co_name, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _compiled(constant)
        elif isinstance(constant, frozenset):
            # Its order differs from process to process.
            yield repr(sorted(map(repr, constant)))
        else:
            yield repr(constant)


def _globals_of(code: CodeType) -> Iterator[str]:
    """Yields the global names that code reads, that of inner functions included."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in GLOBAL_NAMES:
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _globals_of(constant)


def _is_library(value: Any) -> bool:
    """Whether a module, class or function belongs to Python, to an installed package or to us."""
    if isinstance(value, BuiltinFunctionType):
        # A method of a list, say, brings the list with it.
        return value.__self__ is None or isinstance(value.__self__, ModuleType | type)
    if isinstance(value, ModuleType):
        return _is_library_module(value.__name__)
    if isinstance(value, FunctionType | type):
        return _is_library_module(value.__module__ or "")
    return False


def _is_library_module(name: str) -> bool:
    top = name.partition(".")[0]
    if top == "__main__":
        return False
    if top in OURS or top in sys.stdlib_module_names:
        return True
    file = getattr(sys.modules.get(top), "__file__", None)
    return file is not None and bool(set(INSTALLED) & set(Path(file).parts))


def _library_name(value: Any) -> str:
    module = value.__name__ if isinstance(value, ModuleType) else value.__module__ or ""
    top = module.partition(".")[0]
    try:
        version = "" if top in OURS else metadata.version(top)
    except (metadata.PackageNotFoundError, ValueError):  # Python's own, or called otherwise
        version = ""
    return f"{module}.{getattr(value, '__qualname__', '')} {version}"


def _text_of_module(module: ModuleType) -> str:
    """Returns the source of a module of the author's. Raises _UnknownError."""
    try:
        return inspect.getsource(module)
    except (OSError, TypeError):
        raise _UnknownError from None
