"""pyarrow, which no other file imports, and its columns as arrays.

No value is refused here. What a bad value means depends on the schema, and on whether the run
claims privacy.
"""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from securefl.data.own.spelling import MISSING_WORDS, canonical
from securefl.errors import DataError

# What pyarrow reads, and most of what it does not refuse.
_PLAIN_NUMBER = r"^-?[0-9]+(\.[0-9]+)?$"
_NEEDS_PYARROW = "tables need pyarrow: install it with `pip install 'securefl[table]'`"


class Levels(NamedTuple):
    """A column of few values.

    Attributes:
        codes: (rows,) int64, index into `values`, -1 where missing.
        values: in their canonical spelling; None for a text that is not UTF-8.
    """

    codes: NDArray[np.int64]
    values: tuple[str | None, ...]


class Block(NamedTuple):
    """Consecutive records.

    Attributes:
        first: number of the first record in the file, from 0.
        rows: number of records.
        numbers: (rows,) float64 of each column; NaN where missing, infinite where it is no number.
        levels: of each column.
    """

    first: int
    rows: int
    numbers: Mapping[str, NDArray[np.float64]]
    levels: Mapping[str, Levels]


def pyarrow() -> Any:
    """Returns pyarrow, which checking a scenario must not load, and which is an extra."""
    try:
        import pyarrow.compute
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError:
        raise DataError(_NEEDS_PYARROW) from None
    return pyarrow


def require_pyarrow() -> None:
    """Raises DataError where pyarrow is not installed; loads nothing, as validation is quick."""
    if find_spec("pyarrow") is None:
        raise DataError(_NEEDS_PYARROW)


def block_of(first: int, batch: Any, numbers: Sequence[str], levels: Sequence[str]) -> Block:
    """Returns the block of a pyarrow batch, which begins with this record of the file."""
    return Block(
        first,
        len(batch),
        {name: _numbers(batch.column(name)) for name in numbers},
        {name: _levels(batch.column(name)) for name in levels},
    )


def _numbers(column: Any) -> NDArray[np.float64]:
    """Returns (rows,) float64; NaN where missing, infinite where a text is no number."""
    arrow = pyarrow()
    types = arrow.types
    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    try:
        # Unsafe, as an integer beyond 2^53 is rounded rather than refused.
        values = column.cast(arrow.float64(), safe=False)
    except arrow.ArrowInvalid:
        return _numbers_of_texts(column)
    found: NDArray[np.float64] = values.to_numpy(zero_copy_only=False)
    return found


def _numbers_of_texts(column: Any) -> NDArray[np.float64]:
    """Returns the same for texts of which some are no numbers."""
    compute = pyarrow().compute
    is_plain = compute.match_substring_regex(column, _PLAIN_NUMBER).fill_null(True)
    plain = compute.if_else(is_plain, column, None).cast(pyarrow().float64())
    numbers = np.array(plain.to_numpy(zero_copy_only=False))
    # Few are left, and each different one is looked at.
    codes, texts = _levels(column.filter(compute.invert(is_plain)))
    values = [number_of(text) for text in texts]
    numbers[~is_plain.to_numpy(zero_copy_only=False)] = np.array([*values, np.nan])[codes]
    return numbers


def number_of(text: str | None) -> float:
    """Returns the number that a text spells; infinity where it spells none."""
    # Python reads 1_000 as a number, and pyarrow does not.
    if text is None or "_" in text:
        return np.inf
    try:
        return float(text)
    except ValueError:
        return np.inf


def _levels(column: Any) -> Levels:
    """Returns a column's values in canonical spelling, with the words for missing taken out."""
    arrow = pyarrow()
    if not arrow.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    values = column.dictionary
    if arrow.types.is_string(values.type):
        # A text that is not UTF-8 cannot become a str.
        values = values.cast(arrow.binary())
    texts = [_spelling(value) for value in values.to_pylist()]
    present = [code for code, text in enumerate(texts) if text not in MISSING_WORDS]
    new_codes = np.full(len(texts) + 1, -1)  # the last is for missing
    new_codes[present] = np.arange(len(present))
    codes = column.indices.fill_null(-1).to_numpy()
    return Levels(new_codes[codes], tuple(texts[code] for code in present))


def _spelling(value: object) -> str | None:
    """Returns the canonical spelling of a value; None for bytes that are not UTF-8."""
    if value is None:
        return ""
    if isinstance(value, bytes):
        try:
            return canonical(value.decode())
        except UnicodeDecodeError:
            return None
    return canonical(value)
