"""Published files: found on disk, or downloaded; whole and with the right MD5, or not there at all."""

import hashlib
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

from securefl.errors import DataError

OnBytes = Callable[
    [str, int, int | None], None
]  # file, bytes so far, bytes in all where the server says

_CHUNK = 2**20
_PATIENCE = 60  # seconds without a byte


def quiet(file: str, done: int, total: int | None) -> None:
    """Show nothing."""


def folders() -> tuple[Path, ...]:
    """Where files are looked for, in this order; downloads go to the last."""
    named = os.environ.get("SECUREFL_DATA")
    return (*([Path(named).expanduser()] if named else []), Path.home() / ".medmnist")


def obtain(file: str, *, url: str, md5: str, most: int, on_bytes: OnBytes = quiet) -> Path:
    """The file's path, its MD5 checked; downloaded where no folder has it.

    Args:
        file: its name.
        url: where it is published.
        md5: 32 hexadecimal digits.
        most: bytes that an honest file does not exceed.
        on_bytes: told how a download goes.

    Raises:
        DataError: the file found is not the published one, or there is none and it cannot be downloaded. Nothing
            half-written stays.
    """
    for folder in folders():
        path = folder / file
        try:
            found = md5_of(path) if path.is_file() else None
        except OSError as reason:
            raise DataError(f"cannot read {path}: {reason.strerror}") from None
        if found is not None:
            if found != md5:
                raise DataError(
                    f"{path} is not the published file: its MD5 is {found}, not {md5}; delete it to have it downloaded"
                )
            return path
    return _download(folders()[-1] / file, url=url, md5=md5, most=most, on_bytes=on_bytes)


def _download(path: Path, *, url: str, md5: str, most: int, on_bytes: OnBytes) -> Path:
    """Fetch beside the final name, check, then rename."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        found = _fetch(temporary, url, most, lambda done, total: on_bytes(path.name, done, total))
        if found != md5:
            raise DataError(
                f"what {url} sent is not the published file: its MD5 is {found}, not {md5}; try again"
            )
        temporary.replace(path)
    except (OSError, HTTPException) as reason:  # no network, no room, or the line broke
        places = " or ".join(map(str, folders()))
        raise DataError(
            f"{path.name} is not in {places}, and downloading {url} failed ({reason}): put the file into {folders()[0]}"
        ) from None
    finally:
        with suppress(OSError):  # nothing was written where nothing can be taken away
            temporary.unlink()
    return path


def _fetch(path: Path, url: str, most: int, on_bytes: Callable[[int, int | None], None]) -> str:
    """Write what url sends to path; its MD5. Raises DataError above `most` bytes."""
    digest, done = hashlib.md5(usedforsecurity=False), 0
    with urlopen(url, timeout=_PATIENCE) as answer, path.open("xb") as file:  # noqa: S310 - addresses of INFO only
        stated = answer.headers.get("Content-Length", "")
        total = int(stated) if stated.isdecimal() else None
        while chunk := answer.read(_CHUNK):
            done += len(chunk)
            if done > most:
                raise DataError(
                    f"{url} sends more than the {most} bytes that the published file can have"
                )
            digest.update(chunk)
            file.write(chunk)
            on_bytes(done, total)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def md5_of(path: Path) -> str:
    """MD5 tells whether a file is the published one, not whether somebody meant harm."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
