"""Hospital records in a CSV or Parquet file with a schema, or in one such file a site.

    schema = load_schema(Path("visits.toml"))  # securefl.data.own.agreed
    records = TableSource(Path("visits.csv"), schema).read(claim=False)

`table_file` reads blocks of columns, and `encode` makes features of each block by itself.
"""

import difflib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from securefl.data.own.arrow import require_pyarrow
from securefl.data.own.digest import digest_of
from securefl.data.own.encode import Encoded, Flaw, encode
from securefl.data.own.records import Records, Split
from securefl.data.own.rows import GrowingArray
from securefl.data.own.schema import Schema
from securefl.data.own.site_files import site_files
from securefl.data.own.table_file import TableFile, open_table
from securefl.data.task import Examples, Task
from securefl.errors import DataError, ScenarioError

PIECE_BYTES = 2**20


@dataclass(frozen=True)
class TableSource:
    """Records in CSV or Parquet.

    Args:
        path: a file, or a pattern such as `sites/*.csv` with one file a site.
        schema: what the columns mean.
        site_of_file: whose words and units the only file has; None where its records bear sites.

    Guarantees of `read(claim=True)`:
        - No record is refused for what is in it, and no record changes what becomes of another. A
          CSV record is what RFC 4180 makes one: a quote that is opened and never closed makes one
          record of all that follow.
        - Task and sites follow from the schema, and from the names of files.
    """

    path: Path
    schema: Schema
    site_of_file: str | None = None

    def __post_init__(self) -> None:
        if self._has_file_a_site and self.schema.site is not None:
            raise ScenarioError(
                f"{self.path} has one file a site, so the schema needs no"
                f" site = {self.schema.site!r}"
            )
        if not self._has_file_a_site and self.schema.sites and self.schema.site is None:
            raise ScenarioError(
                f"the schema has sites, but no site column: let it name one, or let the path be a"
                f" pattern with one file a site, such as {self.path.with_stem('*')}"
            )

    @property
    def _has_file_a_site(self) -> bool:
        return "*" in self.path.name

    @property
    def task(self) -> Task:
        """The task that the schema declares."""
        return self.schema.task

    @property
    def sites(self) -> tuple[str, ...]:
        """The declared sites, else the names of the files in order; empty for a single file."""
        if self.schema.sites is not None or not self._has_file_a_site:
            return self.schema.sites or ()
        return tuple(path.stem for path in self.files())

    @property
    def has_test(self) -> bool:
        """Whether the schema declares that some records are for testing."""
        return self.schema.split is not None and "test" in self.schema.splits

    @property
    def grouped(self) -> bool:
        """Whether the schema declares groups."""
        return self.schema.group is not None

    def require_declared(self) -> None:
        """Returns at once: a schema declares everything."""

    def check_form(self) -> None:
        """Checks that the files are there and have the schema's columns; reads no record.

        Raises:
            DataError: a file or a column is missing, or pyarrow is.
        """
        require_pyarrow()
        for site, path in zip(self.file_sites, self.files(), strict=True):
            check_columns(path, open_table(path).columns, self.schema.names_at(site))

    def read(self, *, claim: bool) -> Records:
        """Returns all records; see `Source`."""
        # Without a split column, every record is for training.
        names = ("train",) if self.schema.split is None else self.schema.splits
        parts = {name: _Part(self) for name in names}
        records = 0
        for site, path in enumerate(self.files()):
            skipped = set[int]() if claim else None
            blocks = encoded_blocks(path, self.schema, skipped=skipped, site=self.file_sites[site])
            for encoded in blocks:
                records += len(encoded.labels)
                for code, part in enumerate(parts.values()):
                    part.extend(encoded, code, site)
        if not records and not claim:
            raise DataError(f"{self.path} holds no records")
        splits = {name: part.split() for name, part in parts.items()}
        return Records(
            self.task,
            self.sites,
            splits["train"],
            splits.get("validation"),
            splits.get("test"),
        )

    def digest(self, key: bytes) -> str:
        """Returns a keyed digest of the schema and of the bytes of the files; see `Source`."""
        declared = self.schema.model_dump_json(exclude_defaults=True).encode()
        names = self.sites if self._has_file_a_site else ("table",)
        files = zip(names, map(_pieces, self.files()), strict=True)
        return digest_of(key, [("schema", [declared]), *files])

    @property
    def file_sites(self) -> tuple[str | None, ...]:
        """The name of each file's site; None where its records bear sites, or there are none."""
        if self._has_file_a_site:
            return self.sites
        return (self.site_of_file,)

    def files(self) -> tuple[Path, ...]:
        """Returns the files, in the order of the sites. Raises DataError."""
        if not self._has_file_a_site:
            return (self.path,)
        return site_files(self.path, self.schema.sites)


class _Part:
    """The records of one split, gathered block by block."""

    def __init__(self, source: TableSource) -> None:
        self._features = GrowingArray(np.float32, source.task.features)
        self._labels = GrowingArray(np.int64)
        if source.task.regression:
            self._labels = GrowingArray(np.float32, source.task.outputs)
        elif source.task.multilabel:
            self._labels = GrowingArray(np.int64, source.task.classes)
        self._sites = GrowingArray(np.int64) if source.sites else None
        self._groups: list[bytes] | None = None if source.schema.group is None else []
        # The bytes of a group are held once, however many records it has.
        self._known: dict[bytes, bytes] = {}

    def extend(self, encoded: Encoded, split: int, site: int) -> None:
        """Appends the records of a block that are of this split and are kept.

        Args:
            encoded: the block.
            split: index into the schema's splits.
            site: of the file, where there is no site column.
        """
        keep = encoded.keep
        if encoded.splits is not None:
            keep = keep & (encoded.splits == split)
        self._features.extend(encoded.features[keep])
        self._labels.extend(encoded.labels[keep])
        if self._sites is not None:
            sites = encoded.sites
            kept = np.full(int(keep.sum()), site) if sites is None else sites[keep]
            self._sites.extend(kept)
        if self._groups is not None and encoded.groups is not None:
            codes, values = encoded.groups
            names = [self._name(value) for value in values]
            self._groups += np.array([*names, b""], dtype=object)[codes[keep]].tolist()

    def _name(self, value: str | None) -> bytes:
        name = (value or "").encode()
        return self._known.setdefault(name, name)

    def split(self) -> Split:
        """Returns the records; no more can come."""
        examples = Examples(self._features.tensor(), self._labels.tensor())
        sites = None if self._sites is None else self._sites.tensor()
        return Split(examples, sites, None if self._groups is None else tuple(self._groups))


def _pieces(path: Path) -> Iterator[bytes]:
    """Yields the bytes of a file. Raises DataError."""
    try:
        with path.open("rb") as file:
            while piece := file.read(PIECE_BYTES):
                yield piece
    except OSError as reason:
        raise DataError(f"cannot read {path}: {reason.strerror}") from None


def encoded_blocks(
    path: Path,
    schema: Schema,
    *,
    skipped: set[int] | None,
    clamps: bool = True,
    site: str | None = None,
) -> Iterator[Encoded]:
    """Yields the records of a file.

    Args:
        path: of the file.
        schema: of the file.
        skipped: gets the numbers of records that have too few or too many fields. With None these
            are refused, and so is every bad value.
        clamps: whether a number outside its range is clamped; else it is a bad value, too.
        site: of the file, where its records bear none.

    Raises:
        DataError: the file is missing or damaged, has not the schema's columns, or a value is
            refused.
    """
    file = open_table(path)
    names = schema.names_at(site)
    check_columns(path, file.columns, names)
    numbers = schema.numeric_names
    levels = [name for name in names if name not in numbers]
    for block in file.blocks(numbers=numbers, levels=levels, skipped=skipped):
        encoded = encode(schema, block, site=site)
        if skipped is None:
            flaws = encoded.flaws if clamps else [*encoded.flaws, *encoded.outside]
            _check_flaws(path, file, block.first, flaws)
        yield encoded


def _check_flaws(path: Path, file: TableFile, first: int, flaws: Sequence[Flaw]) -> None:
    """Refuses the first bad value of a block. Raises DataError."""
    if not flaws:
        return
    flaw = min(flaws, key=lambda flaw: flaw.first)
    place = file.place(first + flaw.first)
    # The value stays out of the message: it is a patient's.
    raise DataError(f"{path}, {place}: column {flaw.column!r} {flaw.what}")


def check_columns(path: Path, columns: Sequence[str], needed: Sequence[str]) -> None:
    """Raises DataError for a file that has not exactly one column of each name."""
    counts = Counter(columns)
    for name in needed:
        if counts[name] > 1:
            raise DataError(f"{path} has {counts[name]} columns with the name {name!r}")
        if counts[name]:
            continue
        close = difflib.get_close_matches(name, columns, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(columns[:10])}"
        raise DataError(f"{path} has no column {name!r}; {hint}")
