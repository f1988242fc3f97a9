"""A table of a page, and the same numbers as CSV."""

import csv
import io
from collections.abc import Sequence
from typing import NamedTuple

Value = str | int | float | None
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # at the start of a text, for spreadsheets


class Table(NamedTuple):
    """A table: None is an empty cell.

    Attributes:
        head: names of the columns.
        rows: as long as the head.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[Value]]


def csv_of(table: Table) -> str:
    """Returns a table as CSV: numbers with all digits, and no text that a spreadsheet computes."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([_defused(cell) for cell in row] for row in (table.head, *table.rows))
    return out.getvalue()


def _defused(cell: Value) -> Value:
    # A text that begins like a formula is one, to a spreadsheet. A number is a number.
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell
