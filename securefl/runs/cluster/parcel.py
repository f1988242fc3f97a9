"""The files of a cell as bytes, for machines that share no disk with the run folder."""

import io
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from securefl.errors import RunFolderError
from securefl.files import sync_folder, write_atomic

# No hidden file, no lock, no way up, and room for the suffix of a half-written file.
NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")
MAX_DEPTH = 2  # ledgers lie one folder down


def pack(folder: Path) -> bytes:
    """Returns the files of a cell; b"" where the cell has none.

    Hidden files, such as locks and what a crash left half written, stay behind.

    Raises:
        RunFolderError: the folder holds a link, which may lead to any file of this machine.
    """
    buffer = io.BytesIO()
    paths = sorted(folder.rglob("*"))
    for path in paths:
        if path.is_symlink():
            raise RunFolderError(f"{path} is a link: put the file itself in its place")
    files = [path for path in paths if path.is_file()]
    names = [path.relative_to(folder).as_posix() for path in files]
    # Stored, not compressed: the receiver knows every size before it reads.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, path in zip(names, files, strict=True):
            if _is_ours(name):
                archive.writestr(zipfile.ZipInfo(name), path.read_bytes())
        is_empty = not archive.namelist()
    return b"" if is_empty else buffer.getvalue()


def _accept_any(folder: Path) -> None:
    pass


def unpack(parcel: bytes, folder: Path, check: Callable[[Path], None] = _accept_any) -> None:
    """Puts the files of a parcel in place of a cell's, all of them or none.

    Args:
        parcel: as `pack` returned it; b"" for no files.
        folder: of the cell; it may be absent.
        check: is given a folder with the new files, and raises where they may not replace the old.

    Raises:
        ValueError: the bytes are no parcel, or a name in them leads out of the folder.
    """
    contents = _contents(parcel)
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)  # which a crash may have left
    try:
        fresh.mkdir()
        for name, content in contents.items():
            path = fresh / name
            path.parent.mkdir(exist_ok=True)
            write_atomic(path, content)
        check(fresh)
        _swap(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def heal(folder: Path) -> None:
    """Takes back the files of a cell whose exchange by `unpack` a crash cut short."""
    old = _old(folder)
    if old.exists() and not folder.exists():
        old.rename(folder)


def _swap(fresh: Path, folder: Path) -> None:
    """Puts a folder in place of another; `heal` finds the old one after a crash in between."""
    old = _old(folder)
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    sync_folder(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _old(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def _is_ours(name: str) -> bool:
    parts = name.split("/")
    return len(parts) <= MAX_DEPTH and all(NAME.fullmatch(part) for part in parts)


def _contents(parcel: bytes) -> dict[str, bytes]:
    """Name -> content. Raises ValueError."""
    if not parcel:
        return {}
    try:
        with zipfile.ZipFile(io.BytesIO(parcel)) as archive:
            entries = archive.infolist()
            for entry in entries:
                # A compressed entry could be larger than any memory.
                if entry.compress_type != zipfile.ZIP_STORED or not _is_ours(entry.filename):
                    raise ValueError(f"a parcel may not hold {PurePosixPath(entry.filename)}")
            _check_apart([entry.filename for entry in entries])
            return {entry.filename: archive.read(entry) for entry in entries}
    # RuntimeError: an entry is encrypted.
    except (zipfile.BadZipFile, EOFError, RuntimeError) as reason:
        raise ValueError(f"it is no parcel: {reason}") from None


def _check_apart(names: list[str]) -> None:
    """Refuses names that are one file on some machine, or a file and a folder. Raises ValueError.

    Some file systems take no notice of case.
    """
    files = {name.lower() for name in names}
    folders = {name.lower().rpartition("/")[0] for name in names}
    if len(files) < len(names) or files & folders:
        raise ValueError("a parcel may not hold two files of one name")
