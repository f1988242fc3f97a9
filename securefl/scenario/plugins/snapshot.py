"""The Python files that a plug-in consists of, read once, so that what is hashed is what runs."""

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from securefl.errors import ScenarioError
from securefl.scenario.plugins.trust import is_trusted

MAX_BYTES_OF_A_FILE = 2**20
MAX_FILES = 200
OURS = ("securefl", "attacks", "defenses")


class Source(NamedTuple):
    """One module.

    Attributes:
        path: of the file; of the folder where a package has no file of its own.
        code: its bytes.
        is_package: whether it holds other modules.
    """

    path: Path
    code: bytes
    is_package: bool


@dataclass(frozen=True)
class Snapshot:
    """A file and everything that it imports from its folder.

    Attributes:
        folder: that the file lies in.
        main: name of the file's module.
        modules: name -> source; names as the files import them.
        imported: top-level names that the files import from elsewhere.
    """

    folder: Path
    main: str
    modules: Mapping[str, Source]
    imported: frozenset[str]

    @cached_property
    def sha256(self) -> str:
        """Hash of all names and bytes, 64 hex digits."""
        digest = hashlib.sha256()
        for name, source in sorted(self.modules.items()):
            # The length keeps two files from hashing like one that holds both.
            head = f"{name}\0{source.is_package:d}\0{len(source.code)}\0"
            digest.update(head.encode() + source.code)
        return digest.hexdigest()

    @property
    def files(self) -> list[str]:
        """Paths of the files in the folder."""
        paths = [source.path for source in self.modules.values() if source.path.suffix == ".py"]
        return sorted(path.relative_to(self.folder).as_posix() for path in paths)

    @cached_property
    def packages(self) -> dict[str, str]:
        """Installed packages that the files import -> versions, ours left out."""
        versions = {}
        for name in sorted(self.imported - set(sys.stdlib_module_names) - set(OURS)):
            try:
                versions[name] = metadata.version(name)
            except metadata.PackageNotFoundError:  # a module may be called otherwise than its dist
                continue
        return versions


def snapshot(file: Path) -> Snapshot:
    """Reads a file and, again and again, what it imports from its folder.

    Imports are found in the text of the files: nothing is run.

    Raises:
        ScenarioError: a file cannot be read, is no Python, lies outside every trusted folder, or
            hides a module of the standard library or of an installed package.
    """
    folder = file.parent
    modules: dict[str, Source] = {}
    imported: set[str] = set()
    waiting = [(file.stem, Source(file, _read(file), is_package=False))]
    while waiting:
        name, source = waiting.pop()
        if name in modules:
            continue
        check_name(name, source.path)
        modules[name] = source
        if len(modules) > MAX_FILES:
            raise ScenarioError(f"{file.name} imports more than {MAX_FILES} files of its folder")
        for target in _imports(name, source):
            own = list(_modules_of(target, folder))
            waiting += own
            if not own:
                imported.add(target.partition(".")[0])
    return Snapshot(folder, file.stem, modules, frozenset(imported))


def _read(file: Path) -> bytes:
    """Returns the bytes of a file that may be run. Raises ScenarioError."""
    if not file.is_file():
        raise ScenarioError(f"there is no file {file}")
    # A link that changes its target after the check must not change what is read.
    real = file.resolve()
    if not is_trusted(real):
        raise ScenarioError(
            f"{file.name} would be run, and its folder is not trusted: read the code, "
            f"then add --trust {file.parent}"
        )
    try:
        with real.open("rb") as opened:
            code = opened.read(MAX_BYTES_OF_A_FILE + 1)
    except OSError as reason:
        raise ScenarioError(f"cannot read {file}: {reason.strerror}") from None
    if len(code) > MAX_BYTES_OF_A_FILE:
        raise ScenarioError(f"{file} is larger than {MAX_BYTES_OF_A_FILE} bytes")
    return code


def check_name(name: str, path: Path) -> None:
    """Refuses a module that other code would get instead of the one that it means.

    Args:
        name: of the module, with dots where it lies in a package.
        path: of its file.

    Raises:
        ScenarioError: the name is none, or that of another module.
    """
    top = name.partition(".")[0]
    if not top.isidentifier():
        raise ScenarioError(f"{path.name}: a module is called by letters, digits and _; rename it")
    if name != top:
        return
    if top in sys.stdlib_module_names:
        raise ScenarioError(f"{path.name} shadows Python's own module {top!r}; rename it")
    if _is_installed(top, path):
        raise ScenarioError(f"{path.name} shadows the installed package {top!r}; rename it")


def _is_installed(name: str, path: Path) -> bool:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return False
    if spec is None or spec.origin is None:
        return False
    # A folder on Python's path, such as the current one, offers the same file.
    return not Path(spec.origin).resolve().is_relative_to(path.resolve().parent)


def _imports(name: str, source: Source) -> Iterator[str]:
    """Yields the absolute names of everything that a module imports, at any depth of its code."""
    try:
        tree = ast.parse(source.code, filename=source.path.name)
    except SyntaxError as reason:
        raise ScenarioError(
            f"{source.path.name}, line {reason.lineno}: not valid Python: {reason.msg}"
        ) from None
    except ValueError as reason:  # null bytes
        raise ScenarioError(f"{source.path.name}: not valid Python: {reason}") from None
    package = name if source.is_package else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            if base:
                yield base
            for alias in node.names:
                yield f"{base}.{alias.name}" if base else alias.name


def _absolute(node: ast.ImportFrom, package: str) -> str:
    """Returns the module that `from ... import` names."""
    if not node.level:
        return node.module or ""
    parts = package.split(".") if package else []
    kept = parts[: len(parts) - node.level + 1]
    return ".".join([*kept, *filter(None, [node.module])])


def _modules_of(name: str, folder: Path) -> Iterator[tuple[str, Source]]:
    """Yields a module of the folder, and the packages that it lies in; nothing for others."""
    parts = name.split(".")
    found: list[tuple[str, Source]] = []
    for depth in range(1, len(parts) + 1):
        place = folder.joinpath(*parts[:depth])
        module = ".".join(parts[:depth])
        if place.with_suffix(".py").is_file():
            file = place.with_suffix(".py")
            found.append((module, Source(file, _read(file), is_package=False)))
            break
        if (place / "__init__.py").is_file():
            file = place / "__init__.py"
            found.append((module, Source(file, _read(file), is_package=True)))
        elif place.is_dir():
            found.append((module, Source(place, b"", is_package=True)))
        else:
            break
    # A folder without a single module in it has nothing to do with the import.
    if any(source.path.suffix == ".py" for _, source in found):
        yield from found
