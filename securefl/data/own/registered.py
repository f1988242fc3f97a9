"""The name of a site's data set: one SHA-256 over its files.

    data_digest([Path("/srv/hospital/visits.csv")])

A site keeps one ledger for each data set that it registered, and refuses files that have changed.
The digest stays at the site: it would let others confirm a guessed file.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from securefl.errors import NotReady

_LABEL = b"securefl data set 1"
_PIECE_BYTES = 2**20


def data_digest(paths: Sequence[Path]) -> str:
    """Returns the SHA-256 of a data set, 64 hexadecimal digits.

    Names and order of the files do not count, so that a moved file is the same data set.

    Args:
        paths: its files, one or more.

    Raises:
        NotReady: a file is missing, cannot be read, or is none.
        ValueError: there are no files.
    """
    if not paths:
        raise ValueError("a data set has one file or more, got none")
    digests = sorted(_digest_of_file(path) for path in paths)
    return hashlib.sha256(_LABEL + b"".join(digests)).hexdigest()


def _digest_of_file(path: Path) -> bytes:
    require_file(path)
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                digest.update(piece)
    except OSError as reason:
        raise NotReady(f"cannot read {path}: {reason.strerror}") from None
    return digest.digest()


def require_file(path: Path) -> None:
    """Raises NotReady unless there is an ordinary file, whose reading ends."""
    if not path.exists():
        raise NotReady(f"there is no file {path}")
    if not path.is_file():
        raise NotReady(f"{path} is no file of records")
