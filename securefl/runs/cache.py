"""Values that are dear to compute, kept on disk under the hash of everything they depend on."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from securefl.errors import RunFolderError
from securefl.files import read_json, write_json
from securefl.runs.environment import code_hash


class Cache:
    """A folder of JSON values that processes share.

    Guarantees:
        - A value is found again only under the same kind and the same key, compared in full.
        - Processes that want one value at the same time compute it once; a process that dies leaves nothing half done.
        - What is damaged is computed again; what cannot be written is computed each time.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def remember(self, kind: str, key: Mapping[str, Any], make: Callable[[], Any], /) -> Any:
        """The value that make() gives for key.

        Args:
            kind: a word; values of different kinds never meet.
            key: everything the value depends on beside the code, as JSON.
            make: computes the value, as JSON, without remembering others; when it raises, nothing is kept.
        """
        text = json.dumps([code_hash(), key], sort_keys=True)
        name = hashlib.sha256(text.encode()).hexdigest()
        path = self.folder / kind / f"{name}.json"
        if (found := _read(path, text)) is not None:
            return found["value"]
        with self._turn(kind, name):
            if (found := _read(path, text)) is not None:  # somebody else was first
                return found["value"]
            value = make()
            try:
                write_json(path, {"key": text, "value": value})
            except OSError:
                return value
        return value

    @contextmanager
    def _turn(self, kind: str, name: str) -> Iterator[None]:
        """One process at a time for a sixteenth of the names; no waiting where nothing can be written."""
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


def _read(path: Path, key: str) -> dict[str, Any] | None:
    try:
        found = read_json(path)
    except RunFolderError:
        return None
    return found if found.get("key") == key and "value" in found else None


def user_cache() -> Cache:
    """The cache of this account: SECUREFL_CACHE, or securefl in XDG_CACHE_HOME or ~/.cache."""
    if given := os.environ.get("SECUREFL_CACHE"):
        return Cache(Path(given))
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Cache(Path(base) / "securefl")
