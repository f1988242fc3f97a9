"""The labels of series, studies or patients: a CSV file with a header, one line each.

    labels = read_labels(Path("labels.csv"), schema)
    labels.of("bern", "1.2.840.1")

A line break ends a record, also within quotes, so that no record can swallow others.
"""

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from securefl.data.crosswalk.lookup import How, Mapped, lookup_of
from securefl.data.crosswalk.model import unchanged
from securefl.data.dicom.files import Flaw
from securefl.data.dicom.schema import DicomSchema
from securefl.data.own.spelling import MISSING_WORDS, canonical
from securefl.errors import DataError

MAX_LABEL_BYTES = 2**26
# The module csv refuses longer fields; as our own limit it does not depend on a global setting.
MAX_LINE_BYTES = 2**16

DROPPED = -1
MAX_HINT_SIGNS = 200

# Gets the sentence about a bad line; refuses it, or does nothing so that the line is left out.
OnBad = Callable[[str], None]


class Line(NamedTuple):
    """What one line says.

    Attributes:
        number: of the line in the file, from 1.
        code: of the class, or the number of classes plus that of a group; DROPPED where the line
            is bad, or the crosswalk declares that the label is missing or drops its word.
        split: index into the schema's splits; 0 where it has none.
    """

    number: int
    code: int
    split: int


@dataclass(frozen=True)
class Labels:
    """The lines of a file by site and identifier; the site is "" where a line holds everywhere.

    A key with None has two lines, or one that cannot be used.
    """

    lines: Mapping[tuple[str, str], Line | None]
    has_sites: bool

    def of(self, site: str, key: str) -> Line | None:
        """Returns the line of an identifier. Raises Flaw: there is none."""
        place = (site if self.has_sites else "", key)
        if place not in self.lines:
            raise Flaw("has no line in data.labels")
        return self.lines[place]


def term_of(schema: DicomSchema, site: str, text: str) -> Mapped:
    """Returns what a label of a site means: the words of the sites lead to common ones.

    Args:
        schema: has the crosswalk, where there is one.
        site: of the line; "" where lines have none.
        text: the label, as the line has it.
    """
    word = canonical(text)
    if schema.crosswalk is None or word in MISSING_WORDS:
        return unchanged(word)
    words = schema.crosswalk.columns[schema.label.column]
    return lookup_of(words, site or None, schema.label.codes).mapped(word)


def label_words(path: Path, schema: DicomSchema) -> Counter[tuple[str, str]]:
    """Returns how many lines have each word, by site and word; bad lines are left out.

    Raises:
        DataError: the file is missing or too large, or lacks a column.
    """
    rows = _lines(path)
    columns = _columns(path, rows, schema)
    counts: Counter[tuple[str, str]] = Counter()
    for text in rows[1:]:
        with suppress(Flaw):
            if text.strip():
                place, fields = _place(text, columns, schema)
                counts[place[0], canonical(fields[columns[schema.label.column]])] += 1
    return counts


def check_header(path: Path, schema: DicomSchema) -> None:
    """Checks that the labels have the schema's columns. Raises DataError."""
    _columns(path, _lines(path), schema)


def read_labels(path: Path, schema: DicomSchema, on_bad: OnBad) -> Labels:
    """Returns the labels.

    Args:
        path: of a CSV file in UTF-8.
        schema: names the columns and the classes.
        on_bad: gets a sentence with the place of each bad line.

    Raises:
        DataError: the file is missing or too large, or lacks a column.
    """
    rows = _lines(path)
    columns = _columns(path, rows, schema)
    found: dict[tuple[str, str], Line | None] = {}
    for number, text in enumerate(rows[1:], start=2):
        if not text.strip():
            continue
        try:
            place, fields = _place(text, columns, schema)
        except Flaw as reason:
            on_bad(f"data.labels, line {number} {reason}")
            continue
        line: Line | None
        try:
            line = _read_line(number, place[0], fields, columns, schema)
        except Flaw as reason:
            on_bad(f"data.labels, line {number} {reason}")
            # Said once: its series is left out without a sentence of its own.
            line = Line(number, DROPPED, 0)
        if place in found:
            on_bad(f"data.labels, line {number} is the second line of one {schema.by}")
            line = None
        found[place] = line
    return Labels(found, schema.site is not None)


def _read_line(
    number: int, site: str, fields: list[str], columns: Mapping[str, int], schema: DicomSchema
) -> Line:
    """Returns what a line says. Raises Flaw."""
    word = fields[columns[schema.label.column]]
    mapped = term_of(schema, site, word)
    if mapped.how is How.MISSING and canonical(word) in MISSING_WORDS:
        raise Flaw("has no label")
    if mapped.how is How.MISSING or (mapped.value is None and schema.drops_unmapped):
        code = DROPPED
    elif mapped.value is None:
        raise Flaw(
            "has a label that the crosswalk does not know, or knows in two ways; `securefl labels "
            "check` lists such words"
        )
    elif mapped.value not in schema.label_codes:
        hint = (
            "" if schema.crosswalk else "; data.crosswalk leads from the words of a site to these"
        )
        raise Flaw(f"has a label that is in no class of the schema{hint}")
    else:
        code = schema.label_codes[mapped.value]
    split = 0
    if schema.split is not None:
        word = fields[columns[schema.split]].strip()
        if word not in schema.splits:
            raise Flaw(f"has another split than {', '.join(schema.splits)}")
        split = [*schema.splits].index(word)
    return Line(number, code, split)


def _place(
    text: bytes, columns: Mapping[str, int], schema: DicomSchema
) -> tuple[tuple[str, str], list[str]]:
    """Returns what a line is about, and its fields. Raises Flaw."""
    fields = _fields(text)
    if len(fields) != columns[""]:
        raise Flaw(f"has {len(fields)} fields, and the header has {columns['']}")
    key = fields[columns[schema.key_column]].strip()
    if not key:
        raise Flaw(f"has no value of {schema.key_column!r}")
    site = "" if schema.site is None else fields[columns[schema.site]].strip()
    if schema.site is not None and site not in schema.sites:
        raise Flaw("is of no declared site")
    return (site, key), fields


def _columns(path: Path, rows: Sequence[bytes], schema: DicomSchema) -> Mapping[str, int]:
    """Returns the place of each column, and under "" how many there are. Raises DataError."""
    try:
        names = _fields(rows[0]) if rows else []
    except Flaw as reason:
        raise DataError(f"data.labels: the header of {path} {reason}") from None
    for name in schema.columns:
        if name not in names:
            raise DataError(
                f"data.labels: {path} has no column {name!r}; {_header_hint(names, schema)}"
            )
        if names.count(name) > 1:
            raise DataError(f"data.labels: {path} has {names.count(name)} columns {name!r}")
    return {**{name: names.index(name) for name in schema.columns}, "": len(names)}


def _header_hint(names: list[str], schema: DicomSchema) -> str:
    """Returns the end of a sentence about a column that is missing."""
    if len(names) == 1 and any(sign in names[0] for sign in ";\t"):
        return "its header is a single column: write the file with commas between columns"
    # A first line without a known column may be a patient's.
    if not set(names) & set(schema.columns):
        return f"is its first line a header with {', '.join(schema.columns)}?"
    return f"it has {', '.join(names)}"[:MAX_HINT_SIGNS]


def _fields(text: bytes) -> list[str]:
    """Returns the fields of one line. Raises Flaw."""
    if len(text) > MAX_LINE_BYTES:
        raise Flaw(f"has more than {MAX_LINE_BYTES} bytes")
    try:
        return next(csv.reader([text.decode("utf-8")], strict=True), [])
    except UnicodeDecodeError:
        raise Flaw("is not UTF-8 text") from None
    except csv.Error:
        raise Flaw("is no line of CSV: a quote is left open, or followed by text") from None


def _lines(path: Path) -> list[bytes]:
    """Returns the lines of a file. Raises DataError."""
    return list(_split_lines(labels_content(path)))


def labels_content(path: Path) -> bytes:
    """Returns the bytes of the labels. Raises DataError."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_LABEL_BYTES + 1)
    except OSError as reason:
        raise DataError(f"data.labels: cannot read {path}: {reason.strerror}") from None
    if len(text) > MAX_LABEL_BYTES:
        raise DataError(f"data.labels: {path} has more than {MAX_LABEL_BYTES} bytes")
    return text


def _split_lines(text: bytes) -> Iterator[bytes]:
    text = text.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    yield from text.split(b"\n")
