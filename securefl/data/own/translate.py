"""A block in the words and units of its sites -> the same block in the common ones."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from securefl.data.crosswalk.lookup import How, Lookup, Mapped, lookup_of
from securefl.data.own.arrow import Block, Levels
from securefl.data.own.schema import Schema
from securefl.data.own.units import converted
from securefl.data.own.unlike import declared_words

Mask = NDArray[np.bool_]


class Translated(NamedTuple):
    """A block in common words and units.

    Attributes:
        block: its columns.
        unmapped: (rows,) of each column with a crosswalk, which records have a word without entry,
            or with several that differ.
        unlabelled: (rows,) of each label column with a crosswalk, which records have a word that it
            declares missing.
        unobserved: (rows,) of each label column, which records are of a site that never looked.
    """

    block: Block
    unmapped: Mapping[str, Mask]
    unlabelled: Mapping[str, Mask]
    unobserved: Mapping[str, Mask]


class Part(NamedTuple):
    """The records of one site in a block; the name is None where it is not known."""

    site: str | None
    rows: Mask


def translated(schema: Schema, block: Block, site: str | None) -> Translated:
    """Returns a block in common words and units, each record by itself.

    Args:
        schema: of the table.
        block: as the file has it.
        site: of the whole file; the schema's column of sites, where there is one, comes first.
    """
    has_units = any(column.units for column in schema.measured.values())
    # Most tables are in common words already, and large ones should not pay for the others.
    if schema.crosswalk is None and not has_units:
        observed = {label.column: np.zeros(block.rows, dtype=np.bool_) for label in schema.labels}
        return Translated(block, {}, {}, observed)
    parts = list(parts_of(schema, block, site))
    numbers = dict(block.numbers)
    for name, column in schema.measured.items():
        if column.units:
            numbers[name] = np.array(numbers[name])
        for part in parts:
            unit = column.units.get(part.site) if part.site is not None else None
            if unit is not None:
                values = numbers[name][part.rows]
                numbers[name][part.rows] = converted(values, unit, column.decimals)
    levels = dict(block.levels)
    unmapped: dict[str, Mask] = {}
    unlabelled: dict[str, Mask] = {}
    for name in schema.crosswalk.columns if schema.crosswalk else ():
        if name not in levels:
            continue
        was_missing = levels[name].codes < 0
        levels[name], unmapped[name] = _mapped(schema, name, levels[name], parts)
        if name in schema.label_columns:
            unlabelled[name] = (levels[name].codes < 0) & ~was_missing
    unobserved = {
        label.column: _unobserved(schema, label.column, block.rows, parts)
        for label in schema.labels
    }
    changed = block._replace(numbers=numbers, levels=levels)
    return Translated(changed, unmapped, unlabelled, unobserved)


def parts_of(schema: Schema, block: Block, site: str | None) -> Iterator[Part]:
    """Yields the records of each site; each record is in one part."""
    if schema.site is None:
        yield Part(site, np.ones(block.rows, dtype=np.bool_))
        return
    sites = block.levels[schema.site]
    for code, name in enumerate(sites.values):
        yield Part(name, sites.codes == code)
    yield Part(None, sites.codes < 0)


def _mapped(schema: Schema, name: str, levels: Levels, parts: list[Part]) -> tuple[Levels, Mask]:
    """Returns a column in common words, and which records have a word without entry."""
    values: dict[str | None, int] = {}
    codes = np.full(len(levels.codes), -1)
    unmapped = np.zeros(len(levels.codes), dtype=np.bool_)
    for part in parts:
        lookup = lookup_at(schema, name, part.site)
        # The last place is that of missing values.
        table = np.full(len(levels.values) + 1, -1)
        is_unmapped = np.zeros(len(table), dtype=np.bool_)
        present = np.unique(levels.codes[part.rows])
        for code in present[present >= 0]:
            mapped = _mapped_word(lookup, levels.values[code])
            is_unmapped[code] = mapped is not None and not mapped.is_known
            if mapped is None or mapped.how is not How.MISSING:
                value = None if mapped is None else mapped.value
                table[code] = values.setdefault(value, len(values))
        codes[part.rows] = table[levels.codes[part.rows]]
        unmapped[part.rows] = is_unmapped[levels.codes[part.rows]]
    return Levels(codes, tuple(values)), unmapped


def _mapped_word(lookup: Lookup, word: str | None) -> Mapped | None:
    """Returns what a word becomes; None for a text that is not UTF-8, which stays one."""
    return None if word is None else lookup.mapped(word)


def lookup_at(schema: Schema, name: str, site: str | None) -> Lookup:
    """Returns the lookup of a column with a crosswalk at a site."""
    if schema.crosswalk is None:
        raise ValueError("a column is looked up in a crosswalk, and the schema has none")
    return lookup_of(schema.crosswalk.columns[name], site, declared_words(schema)[name])


def _unobserved(schema: Schema, name: str, rows: int, parts: list[Part]) -> Mask:
    mask = np.zeros(rows, dtype=np.bool_)
    for part in parts:
        if part.site is not None and name in schema.not_observed(part.site):
            mask |= part.rows
    return mask
