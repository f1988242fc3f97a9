"""Runs the files of a snapshot, apart from all other modules of the process."""

import builtins
import difflib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from securefl.errors import PluginError, ScenarioError, SecureflError
from securefl.scenario.plugins.snapshot import Snapshot, Source

PACKAGE = "securefl_plugin_"  # then the hash: two versions of a file never meet
HASH_DIGITS = 16
# What code of others may raise. `exit(3)` must not pass for a budget that was exceeded.
FAULTS = (Exception, SystemExit)


def load_module(snapshot: Snapshot) -> ModuleType:
    """Returns the module of a snapshot's main file, run at the first call.

    Guarantees:
        - The bytes that were hashed are the bytes that run.
        - `import helper` finds the snapshot's helper, whatever other scenario of this process has a
          file of that name. A module of the folder that no import statement names is not found.

    Raises:
        ScenarioError: the code raised an exception; the sentence gives its file and line.
    """
    package = PACKAGE + snapshot.sha256[:HASH_DIGITS]
    if package not in sys.modules:
        _make_package(package, snapshot)
    name = f"{package}.{snapshot.main}"
    try:
        return importlib.import_module(name)
    except FAULTS as reason:
        raise ScenarioError(f"{snapshot.main}.py cannot be imported: {blame(reason)}") from None


def defined(module: ModuleType, name: str, file: str) -> Any:
    """Returns what a plug-in's file, called `file`, defines under a name.

    A stranger's scenario can name a trusted file and choose the arguments: `from subprocess import
    run` in that file must not make `run` callable.

    Raises:
        ScenarioError: the file has nothing of that name, or only imports it.
    """
    # Names such as __class__ are Python's, not the author's.
    if name not in vars(module) or name.startswith("__"):
        public = [key for key in vars(module) if not key.startswith("_")]
        near = difflib.get_close_matches(name, public, n=1)
        question = f"; did you mean {near[0]!r}?" if near else ""
        raise ScenarioError(f"{file} has no {name!r}{question}")
    value = vars(module)[name]
    # An entry or a partial object has no name: its author made it here.
    if hasattr(value, "__name__"):
        origin = getattr(value, "__module__", None) or "elsewhere"
        if origin.partition(".")[0] != module.__name__.partition(".")[0]:
            raise ScenarioError(
                f"{file} only imports {name!r} from {origin}; "
                "name a function that is defined in the file, which may call it"
            )
    return value


def blame(error: BaseException, *, quoted: bool = True) -> str:
    """Returns an exception of a plug-in as one sentence, with the plug-in's own file and line.

    Args:
        error: the exception.
        quoted: whether its own words are told; they may quote a record.
    """
    text = " ".join(str(error).split()) if quoted else ""
    words = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if isinstance(error, SyntaxError):
        return f"{words} ({Path(error.filename or '').name}, line {error.lineno})"
    frames = _frames_of_others(error)
    if not frames:
        return words
    return f"{words} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"


@contextmanager
def authors_blamed(*, quoted: bool) -> Iterator[None]:
    """Turns an exception out of code of others into one sentence with its place.

    For code that runs inside ours, such as a model's. Our own faults pass as they are.

    Args:
        quoted: whether its own words are told; they may quote a record.

    Raises:
        PluginError: code of others raised an exception.
    """
    try:
        yield
    except SecureflError:
        raise
    except FAULTS as error:
        if not _frames_of_others(error):
            raise
        what = blame(error, quoted=quoted)
        raise PluginError(f"code that the scenario names raised {what}") from error


def add_package(module: str) -> None:
    """Notes that the files of a package, of which a module is imported, are code of others."""
    # A namespace package has no file of its own.
    for name in (module.partition(".")[0], module):
        file = getattr(sys.modules[name], "__file__", None)
        if file is not None:
            path = Path(file)
            _places.add(path.parent if path.name == "__init__.py" else path)
            return


def _frames_of_others(error: BaseException) -> list[traceback.FrameSummary]:
    return [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename in _files
        or any(Path(frame.filename).is_relative_to(place) for place in _places)
    ]


_files: set[str] = set()  # of all plug-ins of this process
_places: set[Path] = set()  # files, and folders of packages


def note_file(file: str) -> None:
    """Notes a file of a plug-in's, as tracebacks name it, so that `blame` finds its lines."""
    _files.add(file)


def _make_package(package: str, snapshot: Snapshot) -> None:
    """Registers an empty package whose modules are the snapshot's."""
    for source in snapshot.modules.values():
        note_file(str(source.path))
    sys.meta_path.append(_Finder(package, snapshot.modules))
    module = ModuleType(package)
    module.__path__ = []
    sys.modules[package] = module


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of one snapshot."""

    def __init__(self, package: str, modules: Mapping[str, Source]) -> None:
        self._package = package
        self._modules = modules

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Returns how to load a module of the snapshot; None for any other."""
        package, _, name = fullname.partition(".")
        source = self._modules.get(name)
        if package != self._package or source is None:
            return None
        loader = _Loader(source, package, self._modules)
        return importlib.machinery.ModuleSpec(
            fullname, loader, origin=str(source.path), is_package=source.is_package
        )


class _Loader(importlib.abc.Loader):
    """Runs the bytes of one module."""

    def __init__(self, source: Source, package: str, modules: Mapping[str, Source]) -> None:
        self._source = source
        self._importer = _Importer(package, frozenset(name.partition(".")[0] for name in modules))

    def exec_module(self, module: ModuleType) -> None:
        """Runs the module's code, with imports of its own folder redirected."""
        module.__file__ = str(self._source.path)
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": self._importer}
        code = compile(self._source.code, str(self._source.path), "exec", dont_inherit=True)
        exec(code, module.__dict__)  # noqa: S102 - a trusted folder's code, see trust.py


class _Importer:
    """`__import__` of a plug-in's modules."""

    def __init__(self, package: str, own: frozenset[str]) -> None:
        self._package = package
        self._own = own

    def __call__(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> ModuleType:
        """Imports a module of the snapshot under its own name; any other as Python does."""
        top = name.partition(".")[0]
        if level or top not in self._own:
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        full = f"{self._package}.{name}"
        module = importlib.import_module(full)
        if not fromlist:
            return sys.modules[f"{self._package}.{top}"]
        for item in fromlist:
            if not hasattr(module, item) and importlib.util.find_spec(f"{full}.{item}"):
                importlib.import_module(f"{full}.{item}")
        return module
