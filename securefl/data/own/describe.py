"""Drafts a schema from a table, which its author then makes public constants of.

Nothing in a draft is public: it has the smallest and largest values of patients, and says so.
"""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from securefl.data.own.arrow import Block, Levels, number_of
from securefl.data.own.columns import SPLITS
from securefl.data.own.spelling import BINARY_LEVELS
from securefl.data.own.table import check_columns
from securefl.data.own.table_file import TableFile, open_table
from securefl.errors import DataError

# With more different values, a column of numbers has a range, and a column of texts is no feature.
MAX_NUMBER_LEVELS = 10
MAX_TEXT_LEVELS = 50
MAX_CLASSES = 10
# Parts of names, in lower case.
LABEL_NAMES = ("label", "target", "outcome", "diagnosis", "class")
SITE_NAMES = ("site", "hospital", "center", "centre", "clinic", "institution")
GROUP_NAMES = ("patient", "subject")

_HEAD = """\
# A draft, made from the records of {name}.
#
# Ranges, levels, classes and sites below were read from records: THEY ARE NOT PUBLIC. A smallest
# value is a patient's. Before a run claims privacy, replace each line marked "from records" by
# constants that you can state without the records: the range of an instrument, the codes of a form,
# the hospitals that take part. Values outside a range are clamped, so it may be narrower or wider.
"""


@dataclass
class _Column:
    """What the records show about a column.

    Attributes:
        name: of the column.
        is_number: whether no value is anything else.
        values: the different ones; None where they are more than a schema would list, or not UTF-8.
        missing: whether a record has none.
        low: the smallest number.
        high: the largest number.
    """

    name: str
    is_number: bool
    values: set[str] | None = field(default_factory=set)
    missing: bool = False
    low: float = math.inf
    high: float = -math.inf

    def see_numbers(self, numbers: NDArray[np.float64]) -> None:
        """Takes note of a block; infinity stands for a text that is no number."""
        present = numbers[~np.isnan(numbers)]
        self.missing |= len(present) < len(numbers)
        if not len(present):
            return
        self.is_number &= bool(np.isfinite(present).all())
        self.low = min(self.low, float(present.min()))
        self.high = max(self.high, float(present.max()))
        if self.values is not None:
            different = np.unique(present)[: MAX_NUMBER_LEVELS + 1]
            self._add(map(str, different), MAX_NUMBER_LEVELS)

    def see_levels(self, levels: Levels) -> None:
        """Takes note of a block."""
        self.missing |= bool((levels.codes < 0).any())
        texts = [text for text in levels.values if text is not None]
        if len(texts) < len(levels.values):
            self.values = None
        self._add(texts, MAX_TEXT_LEVELS)

    def _add(self, values: Iterable[str], most: int) -> None:
        if self.values is not None:
            self.values.update(values)
            if len(self.values) > most:
                self.values = None

    @property
    def levels(self) -> list[str]:
        """The different values, numbers first; none where they are many."""
        return sorted(self.values or (), key=lambda text: (number_of(text), text))


def describe(path: Path) -> str:
    """Returns the draft of a schema for a file, as TOML.

    Raises:
        DataError: the file is missing or damaged, holds no records, or has a column twice.
    """
    file = open_table(path)
    check_columns(path, file.columns, file.columns)
    columns = _columns(file)
    if not columns:
        raise DataError(f"{path} holds no records")
    return "\n".join([_HEAD.format(name=_toml(path.name)), *_roles_and_features(columns)]) + "\n"


def _columns(file: TableFile) -> list[_Column]:
    """Reads a file twice, all columns as numbers, then some as levels; empty without records."""
    columns = [_Column(name, file.holds(name) == "numbers") for name in file.columns]
    numbers = {column.name: column for column in columns if column.is_number}
    records = 0
    for block in _blocks(file, numbers=list(numbers)):
        records += block.rows
        for name, values in block.numbers.items():
            numbers[name].see_numbers(values)
    levels: dict[str, _Column] = {}
    for column in columns:
        has_many_numbers = column.is_number and column.values is None
        if file.holds(column.name) != "neither" and not has_many_numbers:
            # Numbers may be spelt in ways that a level must keep, such as 007.
            column.values = set()
            levels[column.name] = column
    for block in _blocks(file, levels=list(levels)):
        records += block.rows
        for name, coded in block.levels.items():
            levels[name].see_levels(coded)
    return columns if records else []


def _blocks(
    file: TableFile, *, numbers: Sequence[str] = (), levels: Sequence[str] = ()
) -> Iterator[Block]:
    if numbers or levels:
        yield from file.blocks(numbers=numbers, levels=levels, skipped=None)


def _roles_and_features(columns: Sequence[_Column]) -> Iterator[str]:
    """Yields the lines of the draft."""
    split = next((c for c in columns if c.levels and set(c.levels) <= set(SPLITS)), None)
    group = next((c for c in columns if _is_called(c, GROUP_NAMES)), None)
    taken = [split, group]
    sites = [c for c in columns if c not in taken and c.levels and _is_called(c, SITE_NAMES)]
    taken += sites[:1]
    labels = _label_candidates([column for column in columns if column not in taken])
    taken += labels[:1]
    yield from _label_lines(labels)
    if sites:
        yield f"site = {_toml(sites[0].name)}"
        yield f"sites = {_list(sites[0].levels)}  # from records"
    if group is not None:
        yield f"group = {_toml(group.name)}"
    if split is not None:
        yield f"split = {_toml(split.name)}"
        yield f"splits = {_list([name for name in SPLITS if name in split.levels])}"
    yield ""
    yield "columns = ["
    for column in columns:
        if column not in taken:
            yield f"  {_feature(column)}"
    yield "]"


def _is_called(column: _Column, names: Sequence[str]) -> bool:
    return any(name in column.name.lower() for name in names)


def _label_candidates(columns: Sequence[_Column]) -> list[_Column]:
    """Returns columns of few values, the likeliest label first."""
    few = [column for column in columns if 2 <= len(column.levels) <= MAX_CLASSES]
    # A label is often the last column of a table.
    return sorted(reversed(few), key=lambda column: not _is_called(column, LABEL_NAMES))


def _label_lines(labels: Sequence[_Column]) -> Iterator[str]:
    if not labels:
        yield "# No column has few enough values for a label: put yours here."
        yield 'label = { column = "?", classes = [["?"], ["?"]] }'
        return
    label = labels[0]
    classes = ", ".join(_list([level]) for level in label.levels)
    others = ", ".join(_toml(other.name) for other in labels[1:])
    yield f"# The label is a guess{f'; it could also be {others}' if others else ''}."
    yield f"label = {{ column = {_toml(label.name)}, classes = [{classes}] }}  # from records"


def _feature(column: _Column) -> str:
    """Returns a column's line, which is a comment where no features come to mind."""
    name = _toml(column.name)
    missing = ', missing = "indicator"' if column.missing else ""
    levels = column.levels
    if len(levels) == 1:
        return f"# {name} has the same value in all records."
    if levels and set(levels) <= BINARY_LEVELS.keys():
        return f"{{ name = {name}, binary = true{missing} }},"
    if levels:
        return f"{{ name = {name}, levels = {_list(levels)}{missing} }},  # from records"
    if column.is_number and column.low < column.high and math.isfinite(column.high - column.low):
        limits = f"[{_number(column.low)}, {_number(column.high)}]"
        return f"{{ name = {name}, range = {limits}{missing} }},  # from records"
    return f"# {name} has no numbers, and no levels that could be listed."


def _number(value: float) -> str:
    """Returns a number as TOML, without a fraction where it has none."""
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)


def _toml(text: str) -> str:
    """Returns a text as a TOML string."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _list(values: Sequence[str]) -> str:
    return f"[{', '.join(map(_toml, values))}]"
