"""The files of each site, their numbers, and how they are opened.

A path below a site's folder often carries the name of a patient. So a message names a file by its
site and its number in sorted order; `securefl data check SCENARIO --files` lists them.
"""

import errno
import io
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from securefl.errors import DataError

# Enough for a multi-frame volume of 1,000 slices of 512 x 512 pixels with 16 bits.
MAX_FILE_BYTES = 2**30
MAX_DEPTH = 32  # of folders below a site's


class Flaw(Exception):
    """Raised when a file or a series cannot become a record; the sentence holds no value of it.

    Attributes:
        file: that the sentence is about; None where it is the one at hand.
    """

    file: "File | None" = None


class File(NamedTuple):
    """One file of a site.

    Attributes:
        site: index of the declared site.
        number: of the file among those of its site, from 1, in the order of their paths.
        path: of the file; never shown, except by `data check --files`.
    """

    site: int
    number: int
    path: Path


def site_folders(root: Path, sites: Sequence[str]) -> tuple[Path, ...]:
    """Returns the folder of each site.

    Raises:
        DataError: a folder is missing, or is a link.
    """
    # os.path, unlike pathlib, raises nothing for a path that is closed or too long.
    if not os.path.isdir(root):
        raise DataError(f"there is no folder {root}")
    places = tuple(root / site for site in sites)
    for site, place in zip(sites, places, strict=True):
        if os.path.islink(place):
            raise DataError(f"the folder of site {site!r} is a link; put the folder itself there")
        if not os.path.isdir(place):
            raise DataError(f"{root} has no folder of site {site!r}, which the schema declares")
    return places


def undeclared(root: Path, sites: Sequence[str], labels: Path) -> int:
    """Returns how many entries lie next to the folders of the declared sites, and the labels."""
    entries = [entry for entry in _entries(root) if not entry.name.startswith(".")]
    return sum(entry.name not in sites and Path(entry.path) != labels for entry in entries)


def files_of(folder: Path, site: int) -> tuple[File, ...]:
    """Returns the files below a site's folder, links and special files included.

    Names that begin with a dot are ignored.

    Raises:
        DataError: the site's folder cannot be read.
    """
    entries = _entries(folder)
    paths = sorted(_walk(entries, MAX_DEPTH), key=lambda path: os.fsencode(path.as_posix()))
    return tuple(File(site, number, path) for number, path in enumerate(paths, start=1))


def content(path: Path) -> bytes:
    """Returns the bytes of a file, which is neither a link nor special. Raises Flaw."""
    # No blocking: a pipe would make us wait for a writer.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    # Not of pathlib, whose errors carry the path of the file.
    if os.path.islink(path):
        raise Flaw("is a link; put the file itself there")
    try:
        descriptor = os.open(path, flags)
    except OSError as reason:
        if reason.errno == errno.ELOOP:
            raise Flaw("is a link; put the file itself there") from None
        raise Flaw(f"cannot be read: {reason.strerror}") from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise Flaw("is no regular file, or a folder that is closed or lies too deep")
    with io.FileIO(descriptor) as file:
        if status.st_size > MAX_FILE_BYTES:
            raise Flaw(f"has {status.st_size} bytes, more than {MAX_FILE_BYTES}")
        try:
            # One byte more than stated: a file that still grows must not pass as a whole one.
            found = file.read(status.st_size + 1)
        except OSError as reason:
            raise Flaw(f"cannot be read: {reason.strerror}") from None
    if found is None or len(found) != status.st_size:
        raise Flaw("changed while it was read")
    return found


def _walk(entries: Iterable["os.DirEntry[str]"], depth: int) -> Iterator[Path]:
    for entry in entries:
        if entry.name.startswith("."):
            continue
        inside = _inside(entry) if depth else None
        if inside is None:
            yield Path(entry.path)
        else:
            yield from _walk(inside, depth - 1)


def _inside(entry: "os.DirEntry[str]") -> list["os.DirEntry[str]"] | None:
    """Returns what a folder holds; None for a file, and for a folder that cannot be read.

    Such a folder counts as a bad file: under a claim no folder may refuse a run.
    """
    try:
        if not entry.is_dir(follow_symlinks=False) or not os.access(entry.path, os.X_OK):
            return None
        with os.scandir(entry.path) as entries:
            return list(entries)
    except OSError:
        return None


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as reason:
        raise DataError(f"data.path: cannot read a folder of a site: {reason.strerror}") from None
