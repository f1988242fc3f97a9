"""Files that hold a table, CSV or Parquet, read as blocks of records.

    file = open_table(Path("visits.csv"))
    for block in file.blocks(numbers=["age"], levels=["sex"], skipped=None):
        block.numbers["age"]  # (rows,) float64, NaN where missing

A block is a few thousand records, so that memory does not grow with the file.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from securefl.data.own.arrow import Block, block_of, pyarrow
from securefl.data.own.csv_lines import first_line, header
from securefl.data.own.spelling import MISSING_WORDS
from securefl.errors import DataError

# Larger blocks cost memory and save no time: only a record longer than a block needs them. pyarrow
# counts the bytes of a block in 31 bits.
CSV_BLOCK_BYTES = (2**20, 2**25, 2**30)
PARQUET_BLOCK_ROWS = 2**15
PARQUET_BUFFER_BYTES = 2**18
PARQUET_MAGIC = b"PAR1"


# What a column can be read as: numbers also as levels, lists and the like as neither.
Content = Literal["numbers", "levels", "neither"]


class TableFile(Protocol):
    """A file that holds a table."""

    columns: Sequence[str]

    def holds(self, column: str) -> Content:
        """Returns what the type of a column may hold."""
        ...

    def blocks(
        self, *, numbers: Sequence[str], levels: Sequence[str], skipped: set[int] | None
    ) -> Iterator[Block]:
        """Yields all records in order.

        Args:
            numbers: columns to read as numbers.
            levels: columns to read as levels.
            skipped: gets the numbers of records that have too few or too many fields, which are
                left out; with None such a record is refused.

        Raises:
            DataError: the file is damaged, a column has no such values, or a record is refused.
        """
        ...

    def place(self, row: int) -> str:
        """Returns where a record is, such as "line 7"."""
        ...


def open_table(path: Path) -> TableFile:
    """Returns the table in a file, by the end of its name.

    Raises:
        DataError: there is no such file, it holds something else, or pyarrow is not installed.
    """
    is_parquet = path.suffix.lower() == ".parquet"
    if not is_parquet and path.suffix.lower() != ".csv":
        raise DataError(f"{path}: a table is a .csv or a .parquet file")
    try:
        with path.open("rb") as file:
            starts_as_parquet = file.read(len(PARQUET_MAGIC)) == PARQUET_MAGIC
    except FileNotFoundError:
        raise DataError(f"there is no file {path}") from None
    except OSError as reason:
        raise DataError(f"cannot read {path}: {reason.strerror}") from None
    if is_parquet and not starts_as_parquet:
        raise DataError(f"{path} is not a Parquet file; if it is text, let its name end in .csv")
    if starts_as_parquet and not is_parquet:
        raise DataError(f"{path} is a Parquet file; let its name end in .parquet")
    return ParquetTable(path) if is_parquet else CsvTable(path)


class _TooLong(Exception):
    """Raised when a record is longer than a block of the CSV reader."""


class _Malformed(Exception):
    """Raised when a record has too few or too many fields."""

    def __init__(self, row: int) -> None:
        super().__init__(row)
        self.row = row


class CsvTable:
    """A CSV file in UTF-8 with a header, separated by commas."""

    def __init__(self, path: Path) -> None:
        self._path = path
        names = header(path)
        if names is None:
            raise DataError(f"{path} is not UTF-8 text: save it in this encoding")
        if not names:
            raise DataError(f"{path} is empty: it has no line with the names of columns")
        self.columns: Sequence[str] = names

    def holds(self, column: str) -> Content:
        """Returns "numbers", as any text may be one."""
        return "numbers"

    def blocks(
        self, *, numbers: Sequence[str], levels: Sequence[str], skipped: set[int] | None
    ) -> Iterator[Block]:
        """Yields all records in order; see `TableFile`."""
        done = 0
        for block_bytes in CSV_BLOCK_BYTES:
            seen = 0
            try:
                for batch in self._batches(block_bytes, numbers, levels, skipped):
                    seen += len(batch)
                    # An earlier try with smaller blocks has yielded the others.
                    new = batch.slice(max(0, len(batch) - (seen - done)))
                    if len(new):
                        yield block_of(done, new, numbers, levels)
                        done = seen
            except _TooLong:
                continue
            except _Malformed as record:
                raise DataError(
                    f"{self._path}, {self.place(record.row)}: the record has not"
                    f" {len(self.columns)} fields, as the header has"
                ) from None
            return
        raise DataError(f"{self._path} is damaged: a quote is opened and never closed")

    def _batches(
        self,
        block_bytes: int,
        numbers: Sequence[str],
        levels: Sequence[str],
        skipped: set[int] | None,
    ) -> Iterator[Any]:
        """Yields pyarrow's batches. Raises _TooLong and _Malformed."""
        arrow = pyarrow()
        malformed: list[int] = []

        def on_malformed(record: Any) -> str:
            # pyarrow counts from 1, and counts the header.
            row = record.number - 2
            malformed.append(row)
            if skipped is None:
                return "error"
            skipped.add(row)
            return "skip"

        # Levels are bytes, as one text that is not UTF-8 would end the reading.
        types = {name: arrow.string() for name in numbers}
        types.update({name: arrow.dictionary(arrow.int32(), arrow.binary()) for name in levels})
        try:
            yield from arrow.csv.open_csv(
                self._path,
                # Threads would cost more CPU time than they save.
                arrow.csv.ReadOptions(use_threads=False, block_size=block_bytes),
                arrow.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=on_malformed),
                arrow.csv.ConvertOptions(
                    include_columns=list(types),
                    column_types=types,
                    null_values=MISSING_WORDS,
                    strings_can_be_null=True,
                    check_utf8=False,
                ),
            )
        except (arrow.ArrowException, OSError) as reason:
            if malformed and skipped is None:
                raise _Malformed(malformed[0]) from None
            if "cannot infer" in str(reason) and self._path.stat().st_size <= block_bytes:
                return  # the line of names has no end, so that no record follows
            if "straddles" in str(reason) or "cannot infer" in str(reason):
                raise _TooLong from None
            # pyarrow's own words may quote a record.
            raise DataError(f"{self._path} is damaged: its records cannot be read") from None

    def place(self, row: int) -> str:
        """Returns the line on which a record begins."""
        line = first_line(self._path, row)
        return f"record {row + 1}" if line is None else f"line {line}"


class ParquetTable:
    """A Parquet file, whose rows have no lines."""

    def __init__(self, path: Path) -> None:
        arrow = pyarrow()
        self._path = path
        try:
            self._schema = arrow.parquet.read_schema(path)
        except (arrow.ArrowException, OSError):
            raise DataError(f"{path} is damaged: its table of contents cannot be read") from None
        self.columns: Sequence[str] = self._schema.names

    def blocks(
        self, *, numbers: Sequence[str], levels: Sequence[str], skipped: set[int] | None
    ) -> Iterator[Block]:
        """Yields all records in order; see `TableFile`. No record has too many or few fields."""
        arrow = pyarrow()
        self._check_types(numbers, levels)
        done = 0
        try:
            # Buffers, as the compressed columns of a large file would otherwise be held whole.
            file = arrow.parquet.ParquetFile(
                self._path, buffer_size=PARQUET_BUFFER_BYTES, pre_buffer=False
            )
            with file:
                batches = file.iter_batches(
                    PARQUET_BLOCK_ROWS, columns=[*numbers, *levels], use_threads=False
                )
                for batch in batches:
                    yield block_of(done, batch, numbers, levels)
                    done += len(batch)
        except (arrow.ArrowException, OSError):
            raise DataError(f"{self._path} is damaged: its records cannot be read") from None

    def holds(self, column: str) -> Content:
        """Returns what the type of a column may hold."""
        types = pyarrow().types
        kind = self._schema.field(column).type
        if types.is_dictionary(kind):
            kind = kind.value_type
        if types.is_nested(kind):
            return "neither"
        is_text = types.is_string(kind) or types.is_large_string(kind) or types.is_null(kind)
        is_number = types.is_primitive(kind) and not types.is_temporal(kind)
        return "numbers" if is_text or is_number or types.is_decimal(kind) else "levels"

    def _check_types(self, numbers: Sequence[str], levels: Sequence[str]) -> None:
        """Raises DataError where the type of a column can hold no such values."""
        for name in [*numbers, *levels]:
            content = self.holds(name)
            if content == "neither" or (content == "levels" and name in numbers):
                wanted = "numbers" if name in numbers else "single values"
                kind = self._schema.field(name).type
                raise DataError(f"{self._path}: column {name!r} holds {kind}, not {wanted}")

    def place(self, row: int) -> str:
        """Returns the number of a record, from 1."""
        return f"record {row + 1}"
