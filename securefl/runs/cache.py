"""Caches expensive results on disk, under the hash of everything that they depend on."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from securefl.errors import RunFolderError
from securefl.files import cache_folder, read_json, write_json
from securefl.runs.environment import code_hash


class Stored(NamedTuple):
    """A value that the cache holds; it may be None."""

    value: Any


class Cache:
    """A folder of JSON values that processes share.

    Guarantees:
        - A value is returned only for the same kind and the same key, compared in full, and only to
          the code that computed it.
        - Processes that want one value at the same time compute it once. A process that dies leaves
          nothing half done.
        - A damaged value is computed again. Where nothing can be written, each call computes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def remember(self, kind: str, key: Mapping[str, Any], make: Callable[[], Any], /) -> Any:
        """Returns the value that make() gives for a key.

        Args:
            kind: a word; values of different kinds never meet.
            key: everything that the value depends on besides the code, as JSON.
            make: computes the value, as JSON, without calling the cache; when it raises, nothing is
                kept.
        """
        # No caller needs to know the code's version, so none can forget it.
        text = json.dumps([code_hash(), key], sort_keys=True)
        name = hashlib.sha256(text.encode()).hexdigest()
        path = self.folder / kind / f"{name}.json"
        stored = _read(path, text)
        if stored is not None:
            return stored.value
        with self._turn(kind, name):
            stored = _read(path, text)  # another process may have been first
            if stored is not None:
                return stored.value
            value = make()
            try:
                write_json(path, {"key": text, "value": value}, indent=None)
            except OSError:
                return value
        return value

    @contextmanager
    def _turn(self, kind: str, name: str) -> Iterator[None]:
        """Admits one process at a time; does not wait where nothing can be written.

        Sixteen locks for all names: a lock file for each would never be removed.
        """
        try:
            (self.folder / kind).mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / kind / f".lock-{name[0]}")
            lock.acquire()
        except OSError:
            yield
            return
        try:
            yield
        finally:
            lock.release()


def _read(path: Path, key: str) -> Stored | None:
    """The value in a file, unless it is missing, damaged or of another key."""
    try:
        content = read_json(path)
    except RunFolderError:
        return None
    if content.get("key") != key or "value" not in content:
        return None
    return Stored(content["value"])


def user_cache() -> Cache:
    """Returns this account's cache."""
    return Cache(cache_folder())
