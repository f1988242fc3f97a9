"""Published files: found on disk or downloaded, with the right MD5, or not there at all."""

import hashlib
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

from securefl.errors import DataError

# Gets the name of a file, the bytes so far, and the bytes in all where the server says.
OnBytes = Callable[[str, int, int | None], None]

CHUNK_BYTES = 2**20
# Without a byte.
TIMEOUT_SECONDS = 60


def quiet(file: str, done: int, total: int | None) -> None:
    """Shows no progress."""


def folders() -> tuple[Path, ...]:
    """Returns the folders to look for files in, in this order; downloads go to the last."""
    home = Path.home() / ".medmnist"
    named = os.environ.get("SECUREFL_DATA")
    if not named:
        return (home,)
    return (Path(named).expanduser(), home)


def obtain(file: str, *, url: str, md5: str, max_bytes: int, on_bytes: OnBytes = quiet) -> Path:
    """Returns the path of a published file, downloaded where no folder has it.

    Args:
        file: its name.
        url: where it is published.
        md5: 32 hexadecimal digits.
        max_bytes: an honest file is not larger.
        on_bytes: gets the progress of a download.

    Raises:
        DataError: the file on disk is not the published one, or there is none and it cannot be
            downloaded. Nothing half-written stays.
    """
    for folder in folders():
        path = folder / file
        try:
            stored_md5 = md5_of(path) if path.is_file() else None
        except OSError as reason:
            raise DataError(f"cannot read {path}: {reason.strerror}") from None
        if stored_md5 is None:
            continue
        if stored_md5 != md5:
            raise DataError(
                f"{path} is not the published file: its MD5 is {stored_md5}, not {md5};"
                " delete it to have it downloaded"
            )
        return path
    path = folders()[-1] / file
    return _download(path, url=url, md5=md5, max_bytes=max_bytes, on_bytes=on_bytes)


def _download(path: Path, *, url: str, md5: str, max_bytes: int, on_bytes: OnBytes) -> Path:
    """Downloads next to the final name, checks the file, then renames it."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        received_md5 = _fetch(
            temporary,
            url,
            max_bytes,
            lambda done, total: on_bytes(path.name, done, total),
        )
        if received_md5 != md5:
            raise DataError(
                f"the file from {url} is not the published file:"
                f" its MD5 is {received_md5}, not {md5}; try again"
            )
        temporary.replace(path)
    # No network, no room, or the line broke.
    except (OSError, HTTPException) as reason:
        places = " or ".join(map(str, folders()))
        raise DataError(
            f"{path.name} is not in {places}, and downloading {url} failed ({reason}):"
            f" put the file into {folders()[0]}"
        ) from None
    finally:
        # Where the file cannot be removed, it could not be written either.
        with suppress(OSError):
            temporary.unlink()
    return path


def _fetch(
    path: Path,
    url: str,
    max_bytes: int,
    on_bytes: Callable[[int, int | None], None],
) -> str:
    """Writes the content of url to path, and returns its MD5.

    Raises:
        DataError: the server sends more than `max_bytes`.
    """
    digest = hashlib.md5(usedforsecurity=False)
    done = 0
    # The address comes from medmnist's table, never from a user.
    with urlopen(url, timeout=TIMEOUT_SECONDS) as answer, path.open("xb") as file:  # noqa: S310
        stated = answer.headers.get("Content-Length", "")
        total = int(stated) if stated.isdecimal() else None
        while chunk := answer.read(CHUNK_BYTES):
            done += len(chunk)
            if done > max_bytes:
                raise DataError(
                    f"{url} sends more than the {max_bytes} bytes that the published file can have"
                )
            digest.update(chunk)
            file.write(chunk)
            on_bytes(done, total)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def md5_of(path: Path) -> str:
    """Returns the MD5 of a file, which tells damage, not malice: MD5 resists no attacker."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
