"""Files that are whole or absent: temporary name, sync, rename; and a lock on a folder."""

import json
import os
import re
import secrets
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from securefl.errors import RunFolderError, ScenarioError

MAX_KEY_PARTS = 32  # of a dotted key in TOML

_KEY_PART = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+"""
# Possessive, and begun at the start of a word: the search takes linear time.
_DEEP_KEY = re.compile(rf"(?<![\w-])(?:{_KEY_PART}){{{MAX_KEY_PARTS}}}")


def cache_folder() -> Path:
    """Returns this account's cache: SECUREFL_CACHE, or securefl in XDG_CACHE_HOME or ~/.cache."""
    folder = os.environ.get("SECUREFL_CACHE")
    if folder:
        return Path(folder)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "securefl"


def is_special(path: Path) -> bool:
    """Returns whether a path is a device, a pipe or the like, whose reading may never end."""
    # os.path, unlike pathlib, raises nothing for a path that is closed or too long.
    return os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path))


def write_atomic(path: Path, data: bytes, *, secret: bool = False) -> None:
    """Writes a file so that a reader or a crash finds the old content or the new, not a part.

    A secret file can be read by its owner only, from its first moment on.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    mode = 0o600 if secret else 0o666  # less what the account's umask takes
    try:
        with open(temporary, "xb", opener=partial(os.open, mode=mode)) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        # The rename itself is durable only once the folder is.
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync_file(path: Path) -> None:
    """Makes the content of a file durable."""
    _sync(path)


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable, which syncing its files does not."""
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class DurableLines:
    """Appends lines to a file; each is on disk before `append` returns.

    Guarantees:
        - A write that failed raises OSError. Its remains are cut off before the next line.

    Args:
        path: the file; made by the first line, like its folder.
        size: bytes of the file that are known to be on disk; all others are remains.
    """

    def __init__(self, path: Path, size: int = 0) -> None:
        self._path = path
        self._size = size
        # True while a write has begun that was not confirmed.
        self._torn = False

    def append(self, line: bytes) -> None:
        """Appends one line, its newline included. Raises OSError: nothing counts as written."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            # A failed write may have left any part of its line behind.
            if self._torn:
                file.truncate(self._size)
            self._torn = True
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        # The name of a new file must survive a crash, too, or its lines are lost with it.
        if self._size == 0:
            sync_folder(self._path.parent)
        self._size += len(line)
        self._torn = False


def cut_to(path: Path, size: int) -> None:
    """Cuts off what follows the first `size` bytes, and syncs the rest."""
    if path.stat().st_size > size:
        with path.open("rb+") as file:
            file.truncate(size)
    sync_file(path)
    sync_folder(path.parent)


def read_text(path: Path, failure: str = "") -> str:
    """Returns the text of a file that a user named.

    Args:
        path: of a UTF-8 file.
        failure: begins the refusal; by default "cannot read" and the path.

    Raises:
        ScenarioError: it cannot be read.
    """
    failure = failure or f"cannot read {path}"
    try:
        return path.read_text(encoding="utf-8")
    except OSError as reason:
        raise ScenarioError(f"{failure}: {reason.strerror}") from None
    except UnicodeDecodeError:
        raise ScenarioError(f"{failure}: not UTF-8 text") from None


def parse_toml(text: str, what: str) -> dict[str, Any]:
    """Returns the values of TOML text, which somebody else may have written.

    Args:
        text: in TOML.
        what: begins the refusal, such as "the scenario".

    Raises:
        ScenarioError: it is not TOML, or its tables lie too deep.
    """
    # tomllib needs memory that grows with the square of a key's length.
    if _DEEP_KEY.search(text):
        raise ScenarioError(f"{what} is not valid TOML: a key has more than {MAX_KEY_PARTS} parts")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ScenarioError(f"{what} is not valid TOML: its tables or lists lie too deep") from None
    except ValueError as reason:  # a TOMLDecodeError, or a number with thousands of digits
        raise ScenarioError(f"{what} is not valid TOML: {reason}") from None


def write_json(path: Path, value: object, *, indent: int | None = 2) -> None:
    """Writes a value as JSON, atomically; refuses NaN and infinity.

    Args:
        path: of the file.
        value: what json.dumps takes.
        indent: columns a level; None for one line, which is written several times faster.
    """
    text = json.dumps(value, indent=indent, allow_nan=False) + "\n"
    write_atomic(path, text.encode())


def read_json(path: Path) -> dict[str, Any]:
    """Returns the object in a JSON file.

    Raises:
        RunFolderError: the file cannot be read, or holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as reason:
        raise RunFolderError(f"cannot read {path}: {reason.strerror}") from None
    except (ValueError, RecursionError):
        raise RunFolderError(f"{path} is damaged: it is empty, or not JSON") from None
    if not isinstance(value, dict):
        raise RunFolderError(f"cannot read {path}: it does not hold a JSON object")
    return value


def append_line(path: Path, value: object) -> None:
    """Appends one object to a JSON-lines file."""
    append_lines(path, [value])


def append_lines(path: Path, values: Iterable[object]) -> None:
    """Appends objects to a JSON-lines file, which is opened once."""
    with path.open("a", encoding="utf-8") as file:
        for value in values:
            file.write(_json_line(value))


def _json_line(value: object) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":")) + "\n"


def read_lines(path: Path, *, most: int | None = None) -> list[dict[str, Any]]:
    """Returns the objects of a JSON-lines file; empty where there is no file.

    A last line without its newline is left out: a crash cut it short.

    Args:
        path: of the file.
        most: lines to return, the first ones; all by default.

    Raises:
        RunFolderError: the file cannot be read, or a line holds something else.
    """
    if not path.exists():
        return []
    try:
        text = path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        values = [json.loads(line) for line in whole.splitlines()[:most]]
    except OSError as reason:
        raise RunFolderError(f"cannot read {path}: {reason.strerror}") from None
    except ValueError:
        raise RunFolderError(f"{path} is damaged: a line is not JSON") from None
    if not all(isinstance(value, dict) for value in values):
        raise RunFolderError(f"{path} is damaged: a line is not a JSON object")
    return values


def write_lines(path: Path, values: list[dict[str, Any]]) -> None:
    """Writes objects as a JSON-lines file, atomically."""
    text = "".join(_json_line(value) for value in values)
    write_atomic(path, text.encode())


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turns what the disk refuses in a folder into one sentence. Raises RunFolderError."""
    try:
        yield
    except OSError as reason:
        raise RunFolderError(f"cannot write into {folder}: {reason.strerror}") from None


@contextmanager
def locked(folder: Path, *, patience: float = 0.0) -> Iterator[None]:
    """Holds the folder for this process.

    Args:
        folder: exists.
        patience: seconds to wait until another process lets go.

    Raises:
        RunFolderError: another process holds it.
    """
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=patience)
    except Timeout:
        raise RunFolderError(f"{folder} is in use by another run") from None
    try:
        yield
    finally:
        lock.release()


def is_held(folder: Path) -> bool:
    """Returns whether a process holds the folder now."""
    path = folder / ".lock"
    try:
        # Looking at a folder must not make a file in it.
        if path.exists():
            FileLock(path).acquire(blocking=False).lock.release()
    except Timeout:
        return True
    # We may not lock somebody else's folder, so we cannot know; it counts as free.
    except OSError:
        return False
    return False
