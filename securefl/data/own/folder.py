"""Records in a folder of images: `site/class/*.png`, or `split/site/class/*.png`.

The splits are train, val and test. PNG and JPEG files lie directly in the folder of their class.
Other files and names that begin with a dot are ignored. A link is refused, or under a DP claim
ignored: it could lead to somebody else's file.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from securefl.data.npz import CHUNK_BYTES, refuse_more_than_memory
from securefl.data.own.digest import digest_of
from securefl.data.own.images import read_image
from securefl.data.own.records import Records, Split
from securefl.data.task import Examples, Task
from securefl.errors import DataError, ScenarioError

SPLITS = ("train", "val", "test")
SUFFIXES = (".png", ".jpg", ".jpeg")

# Gets what is wrong with one record; refuses it, or does nothing so that the record is dropped.
OnBad = Callable[[str], None]


class _File(NamedTuple):
    """One image, with the names of the folders that it lies in."""

    path: Path
    site: str
    label: str


class Folder:
    """A folder of somebody's images.

    Args:
        path: of the folder.
        size: pixels of a side; every image is scaled to a square of this side.
        channels: 1 (grey) or 3 (RGB).
        sites: declared names of the sites, in order; otherwise the folders' names, sorted.
        classes: declared names of the classes, in order; otherwise the folders' names, sorted. A DP
            claim needs both: a folder may exist because of a single record.
    """

    grouped = False  # a folder has no place for the name of a group

    def __init__(
        self,
        path: Path,
        *,
        size: int,
        channels: int,
        sites: Sequence[str] | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        if channels not in (1, 3):
            raise ScenarioError(f"data.channels of image files is 1 or 3, got {channels}")
        self._path = path
        self._size = size
        self._channels = channels
        self._declared_sites = None if sites is None else tuple(sites)
        self._declared_classes = None if classes is None else tuple(classes)

    @property
    def task(self) -> Task:
        """The task; class k is the k-th of `classes`."""
        if len(self.classes) < 2:
            raise DataError(
                f"{self._path} has images of {len(self.classes)} classes, at least 2 are needed; "
                "they lie in site/class/ or split/site/class/"
            )
        shape = (self._channels, self._size, self._size)
        return Task(self._record_bytes, len(self.classes), image=shape)

    @cached_property
    def sites(self) -> tuple[str, ...]:
        """Names of the sites."""
        if self._declared_sites is not None:
            return self._declared_sites
        return tuple(sorted({site.name for root in self._roots.values() for site in folders(root)}))

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        if self._declared_classes is not None:
            return self._declared_classes
        names = {
            label.name
            for root in self._roots.values()
            for site in folders(root)
            for label in folders(site)
        }
        return tuple(sorted(names))

    @property
    def has_test(self) -> bool:
        """Whether there is a folder of test images."""
        return "test" in self._roots

    def require_declared(self) -> None:
        """Raises ScenarioError where a DP claim would rest on what only the records say."""
        if None in (self._declared_sites, self._declared_classes):
            raise ScenarioError(
                "a DP claim rests on declared constants, never on records: declare data.sites and "
                "data.class_names, the names of the folders in order"
            )

    def read(self, *, claim: bool) -> Records:
        """Returns all records of the folder, as `Source` says."""
        if claim:
            self.require_declared()
        on_bad = _drop if claim else _refuse
        for entry in folders(self._path):
            if self._path not in self._roots.values() and entry.name not in SPLITS:
                on_bad(f"{entry} lies beside train, and is none of the splits {', '.join(SPLITS)}")
        files = {split: list(_files(root, on_bad)) for split, root in self._roots.items()}
        count = sum(map(len, files.values()))
        refuse_more_than_memory(count * self._record_bytes, str(self._path))
        splits = {split: self._split(found, on_bad) for split, found in files.items()}
        return Records(
            self.task, self.sites, splits["train"], splits.get("val"), splits.get("test")
        )

    def digest(self, key: bytes) -> str:
        """Returns a keyed digest of all images and of their places below the folder."""
        files = [file for root in self._roots.values() for file in _files(root, _drop)]
        parts = (
            (file.path.relative_to(self._path).as_posix(), _chunks(file.path)) for file in files
        )
        return digest_of(key, parts)

    @property
    def _record_bytes(self) -> int:
        return self._channels * self._size * self._size

    @cached_property
    def _roots(self) -> dict[str, Path]:
        """The folder of each split; the whole folder is for training where there are no splits."""
        names = [folder.name for folder in folders(self._path)]
        # Where sites are declared, no other folder, which one image may bring, changes the form.
        if self._declared_sites is not None:
            names = [name for name in names if name in SPLITS]
            is_split = "train" in names and "train" not in self._declared_sites
        else:
            is_split = "train" in names and set(names) <= set(SPLITS)
        if is_split:
            return {split: self._path / split for split in SPLITS if split in names}
        return {"train": self._path}

    def _split(self, files: list[_File], on_bad: OnBad) -> Split:
        """Returns the images of one split, without the bad ones."""
        pixels = np.zeros((len(files), self._channels, self._size, self._size), dtype=np.uint8)
        labels: list[int] = []
        sites: list[int] = []
        for file in files:
            if file.site not in self.sites:
                on_bad(f"{file.path} is of the site {file.site!r}, which is not declared")
                continue
            if file.label not in self.classes:
                on_bad(f"{file.path} is of the class {file.label!r}, which is not declared")
                continue
            try:
                image = read_image(file.path, size=self._size, channels=self._channels)
            except DataError as reason:
                on_bad(str(reason))
                continue
            pixels[len(labels)] = image
            labels.append(self.classes.index(file.label))
            sites.append(self.sites.index(file.site))
        features = torch.from_numpy(pixels[: len(labels)])
        examples = Examples(features, torch.tensor(labels, dtype=torch.int64))
        return Split(examples, torch.tensor(sites, dtype=torch.int64), None)


def folders(path: Path) -> list[Path]:
    """Returns the folders in a folder, sorted by name; links and hidden ones are left out.

    Raises:
        DataError: it is no folder, or cannot be read.
    """
    return [entry for entry in _entries(path) if entry.is_dir() and not entry.is_symlink()]


def _files(root: Path, on_bad: OnBad) -> Iterator[_File]:
    """Yields the images of one split, sorted by site, class and name."""
    for entry in _entries(root):
        _check_place(entry, "a site", on_bad)
    for site in folders(root):
        for entry in _entries(site):
            _check_place(entry, "a class", on_bad)
        for label in folders(site):
            yield from _images(label, site.name, on_bad)


def _images(label: Path, site: str, on_bad: OnBad) -> Iterator[_File]:
    for entry in _entries(label):
        if entry.is_symlink():
            on_bad(f"{entry} is a link; put the file itself there")
        elif entry.is_dir():
            on_bad(f"{entry} is a folder; images lie directly in the folder of their class")
        elif entry.suffix.lower() in SUFFIXES:
            yield _File(entry, site, label.name)


def _check_place(entry: Path, expected: str, on_bad: OnBad) -> None:
    """Handles a link or an image where a folder belongs."""
    if entry.is_symlink():
        on_bad(f"{entry} is a link; put the folder itself there")
    elif entry.suffix.lower() in SUFFIXES and entry.is_file():
        on_bad(f"{entry} lies where the folder of {expected} belongs: site/class/image.png")


def _entries(path: Path) -> list[Path]:
    """Returns what a folder holds, sorted by name, without hidden names."""
    try:
        return sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    except FileNotFoundError:
        raise DataError(f"there is no folder {path}") from None
    except OSError as reason:
        raise DataError(f"cannot read the folder {path}: {reason.strerror}") from None


def _chunks(path: Path) -> Iterator[bytes]:
    """Yields the content of a file in pieces, as far as it can be read.

    `read` says what is wrong with a file, where that may be said.
    """
    with suppress(OSError), path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _refuse(sentence: str) -> None:
    raise DataError(sentence)


def _drop(sentence: str) -> None:
    """Ignores what is wrong: under a claim nobody may learn it."""
