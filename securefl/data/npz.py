"""Arrays of an .npz file: their headers are checked before anything is unpacked.

A small file can state a huge array, and an array of objects is a pickle, which runs code. Neither
is ever loaded.
"""

import math
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from securefl.errors import DataError

CHUNK_BYTES = 2**20
# Where the system does not tell its memory.
DEFAULT_MEMORY_BYTES = 2**35


class Header(NamedTuple):
    """What an array in a file states about itself."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def read_header(member: Any) -> Header:
    """Returns the shape and the type in the header of an array's file."""
    if np.lib.format.read_magic(member) == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(member)
    else:
        shape, _, dtype = np.lib.format.read_array_header_2_0(member)
    return Header(shape, dtype)


def headers(path: Path) -> dict[str, Header]:
    """Returns the header of every array in a file; the arrays are not read.

    Raises:
        DataError: there is no file, it is damaged, it holds pickled objects, or an array states
            another size than it has.
    """
    stated = {}
    with _reading(path), zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            key, dot, suffix = info.filename.rpartition(".")
            if (dot, suffix) == (".", "npy"):
                stated[key] = _checked_header(path, archive, info, key)
    return stated


def arrays(path: Path, keys: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Returns arrays of a file whose `headers` are good.

    Raises:
        DataError: the file is damaged, or the arrays are larger than this machine's memory.
    """
    wanted = list(keys)
    with _reading(path):
        with zipfile.ZipFile(path) as archive:
            size = sum(archive.getinfo(f"{key}.npy").file_size for key in wanted)
        refuse_more_than_memory(size, str(path))
        with np.load(path, allow_pickle=False) as stored:
            return {key: stored[key] for key in wanted}


def chunks(path: Path, key: str) -> Iterator[bytes]:
    """Yields the unpacked file of one array, header included, in pieces.

    Raises:
        DataError: the file is damaged.
    """
    with (
        _reading(path),
        zipfile.ZipFile(path) as archive,
        archive.open(f"{key}.npy") as member,
    ):
        while chunk := member.read(CHUNK_BYTES):
            yield chunk


def refuse_more_than_memory(size: int, name: str) -> None:
    """Raises DataError where records of this many bytes do not fit into memory."""
    if size > _memory_bytes():
        raise DataError(
            f"{name} holds {size / 2**30:.1f} GiB of records unpacked, more than this machine's "
            "memory; use fewer records or smaller images"
        )


def _memory_bytes() -> int:
    """Returns the size of this machine's memory."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    # Some systems know no sysconf, or not these names.
    except (AttributeError, ValueError, OSError):
        return DEFAULT_MEMORY_BYTES


def _checked_header(
    path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, key: str
) -> Header:
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(f"{path}: {key} is packed in a way that numpy does not write")
    with archive.open(info) as member:
        header = read_header(member)
        header_bytes = member.tell()
    if header.dtype.hasobject:
        raise DataError(
            f"{path}: {key} is an array of Python objects, which are never loaded; "
            "save numbers or text, each record of the same shape"
        )
    size = math.prod(header.shape) * header.dtype.itemsize
    if min(header.shape, default=0) < 0 or size != info.file_size - header_bytes:
        raise DataError(
            f"{path} is damaged: {key} states {size} bytes of values and holds "
            f"{info.file_size - header_bytes}"
        )
    return header


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns what a missing or damaged file raises into a DataError."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"there is no file {path}") from None
    # A damaged file raises OSError, too, without a number of the system's.
    except OSError as reason:
        raise DataError(f"cannot read {path}: {reason.strerror or reason}") from None
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        ValueError,
        RuntimeError,
        NotImplementedError,
    ) as reason:
        raise DataError(f"{path} is damaged, or no .npz file: {reason}") from None
