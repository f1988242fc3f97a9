"""How often each site writes each word, for `labels check` alone.

These are facts about records. They are for the site's own people, and no run keeps them.
"""

from collections import Counter
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from securefl.data.crosswalk.lookup import Mapped
from securefl.data.dicom.labels import label_words, term_of
from securefl.data.dicom.source import DicomSource
from securefl.data.own.table import TableSource
from securefl.data.own.table_file import open_table
from securefl.data.own.translate import lookup_at, parts_of

_Key = tuple[str | None, str, str]  # site, column, word


class SiteWord(NamedTuple):
    """A word that a site writes in a column.

    Attributes:
        site: its name; None where the record bears none.
        column: its name.
        word: in its canonical spelling.
        records: number of records that have it.
        mapped: what becomes of it.
    """

    site: str | None
    column: str
    word: str
    records: int
    mapped: Mapped


def site_words(source: TableSource) -> list[SiteWord]:
    """Returns the words of every column with a crosswalk, by site and column, the commonest first.

    Raises:
        DataError: a file is missing or damaged, or lacks a column.
    """
    source.check_form()
    counts: Counter[_Key] = Counter()
    for site, path in zip(source.file_sites, source.files(), strict=True):
        counts += _of_file(source, site, path)
    words = []
    for (site, column, word), records in counts.items():
        mapped = lookup_at(source.schema, column, site).mapped(word)
        words.append(SiteWord(site, column, word, records, mapped))
    return sorted(words, key=_place_of)


def label_site_words(source: DicomSource) -> list[SiteWord]:
    """Returns the words of the labels of DICOM files, by site, the commonest first.

    Raises:
        DataError: the file of labels is missing or too large, or lacks a column.
    """
    schema = source.schema
    words = []
    for (site, word), lines in label_words(source.labels, schema).items():
        mapped = term_of(schema, site, word)
        words.append(SiteWord(site or None, schema.label.column, word, lines, mapped))
    return sorted(words, key=_place_of)


def _place_of(word: SiteWord) -> tuple[str, str, int, str]:
    """Returns what words are sorted by."""
    return (word.site or "", word.column, -word.records, word.word)


def _of_file(source: TableSource, site: str | None, path: Path) -> Counter[_Key]:
    """Returns how often a file has each word."""
    schema = source.schema
    words = [] if schema.crosswalk is None else list(schema.crosswalk.columns)
    unseen = schema.not_observed(site)
    columns = [name for name in words if name not in unseen]
    needed = columns if schema.site is None else [*columns, schema.site]
    counts: Counter[_Key] = Counter()
    for block in open_table(path).blocks(numbers=(), levels=needed, skipped=set()):
        for part, name in product(parts_of(schema, block, site), columns):
            levels = block.levels[name]
            present = levels.codes[part.rows]
            for code, records in enumerate(np.bincount(present[present >= 0])):
                word = levels.values[code]
                if records and word is not None:
                    counts[part.site, name, word] += int(records)
    return counts
