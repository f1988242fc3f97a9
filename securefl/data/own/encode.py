"""A block of a table as features, label, site, split and group, by its schema.

Every function works on one record by itself: no number of one record depends on another.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from securefl.data.own.arrow import Block, Levels
from securefl.data.own.codes import (
    MISSING,
    UNKNOWN,
    Codes,
    constant_features,
    level_codes,
    looked_up,
    scaled,
)
from securefl.data.own.columns import Column, Constant, Target
from securefl.data.own.schema import Schema
from securefl.data.own.translate import translated

Mask = NDArray[np.bool_]


class Flaw(NamedTuple):
    """Values that are refused unless the run claims privacy.

    Attributes:
        column: their name.
        what: the end of a sentence.
        first: row of the first one in the block.
        records: number of records that hold one.
    """

    column: str
    what: str
    first: int
    records: int


class Encoded(NamedTuple):
    """A block as arrays, with bad values mapped record by record.

    Attributes:
        features: (rows, features) float32.
        labels: (rows,) int64, (rows, labels) int64, or (rows, targets) float32.
        sites: (rows,) int64; None without a site column.
        splits: (rows,) int64, index into the schema's splits; None without a split column.
        groups: None without a group column.
        keep: (rows,), which records are not left out.
        flaws: values that are bad.
        missing: number of missing values, by column.
        clamped: number of values outside the range, by column.
        outside: the same values, for those who refuse them.
    """

    features: NDArray[np.float32]
    labels: Codes | NDArray[np.float32]
    sites: Codes | None
    splits: Codes | None
    groups: Levels | None
    keep: Mask
    flaws: list[Flaw]
    missing: Mapping[str, int]
    clamped: Mapping[str, int]
    outside: list[Flaw]


def encode(schema: Schema, block: Block, *, site: str | None = None) -> Encoded:
    """Returns a block of a table that has the schema's columns.

    Args:
        schema: of the table.
        block: as the file has it, in the words and units of its sites.
        site: of the whole file, where its records bear none.
    """
    return _Encoder(schema, block, site).encoded()


class _Encoder:
    """Turns columns into arrays and collects on the way what is wrong with them."""

    def __init__(self, schema: Schema, block: Block, site: str | None) -> None:
        self._schema = schema
        self._given = block
        common = translated(schema, block, site)
        self._block = common.block
        self._unmapped = common.unmapped
        self._unlabelled = common.unlabelled
        self._unobserved = common.unobserved
        self._keep = np.ones(block.rows, dtype=np.bool_)
        self._flaws: list[Flaw] = []
        self._missing: dict[str, int] = {}
        self._clamped: dict[str, int] = {}
        self._outside: list[Flaw] = []

    def encoded(self) -> Encoded:
        """Returns the arrays."""
        self._note_other_encodings()
        self._note_unmapped()
        schema = self._schema
        group = None if schema.group is None else self._group(schema.group)
        return Encoded(
            self._features(),
            self._labels(),
            self._optional_codes(schema.site, schema.sites or (), "is no declared site"),
            self._optional_codes(schema.split, schema.splits, "is no declared split"),
            group,
            self._keep,
            self._flaws,
            self._missing,
            self._clamped,
            self._outside,
        )

    def _note_other_encodings(self) -> None:
        for name, levels in self._given.levels.items():
            if None in levels.values:
                is_wrong = np.array([*(value is None for value in levels.values), False])
                wrong = is_wrong[levels.codes]
                self._flaw(name, "is not UTF-8 text: save the file in this encoding", wrong)

    def _note_unmapped(self) -> None:
        """Leaves out records with a word that the crosswalk does not know."""
        for unlabelled in self._unlabelled.values():
            # Declared missing by the crosswalk: no flaw, and nothing to train on or to judge with.
            self._keep &= ~unlabelled
        for name, unmapped in self._unmapped.items():
            self._keep &= ~unmapped
            # What is dropped as the crosswalk says is no flaw, here and below.
            if unmapped.any() and self._refuses_words:
                what = (
                    "has a word that the crosswalk does not map; `securefl labels check` lists it"
                )
                self._flaws.append(Flaw(name, what, int(unmapped.argmax()), int(unmapped.sum())))

    @property
    def _refuses_words(self) -> bool:
        crosswalk = self._schema.crosswalk
        return crosswalk is not None and crosswalk.unmapped == "refuse"

    def _labels(self) -> Codes | NDArray[np.float32]:
        schema = self._schema
        if schema.label is not None:
            return self._codes(schema.label.column, schema.label_codes, "is in no declared class")
        return self._several() if schema.labels else self._targets()

    def _several(self) -> Codes:
        """Returns (rows, labels): 1 with a label, 0 without, -1 where the site never looked."""
        rows = self._block.rows
        labels = np.full((rows, len(self._schema.labels)), -1)
        for place, label in enumerate(self._schema.labels):
            unobserved = self._unobserved[label.column]
            # The file of a site that never looked need not have the column.
            if unobserved.all():
                continue
            codes = looked_up(self._block.levels[label.column], label.codes)
            wrong = (codes < 0) & ~unobserved
            self._flaw(label.column, "is neither with nor without the label", wrong)
            self._keep &= ~wrong
            labels[:, place] = np.where(unobserved | wrong, -1, codes)
        return labels

    def _features(self) -> NDArray[np.float32]:
        features = np.empty((self._block.rows, self._schema.task.features), dtype=np.float32)
        start = 0
        for column in self._schema.columns:
            self._write(column, features[:, start : start + column.features])
            start += column.features
        return features

    def _write(self, column: Column, features: NDArray[np.float32]) -> None:
        """Writes the features of one column, (rows, column.features)."""
        values = features[:, : column.value_features]
        if column.range is not None:
            unusable = self._write_numbers(column, column.range, values)
        else:
            unusable = self._write_levels(column, values)
        if column.missing == "indicator":
            values[unusable] = 0
            features[:, -1] = unusable
        elif isinstance(column.missing, Constant):
            values[unusable] = constant_features(column, column.missing.constant)
        else:
            self._keep &= ~unusable

    def _write_numbers(
        self, column: Column, limits: tuple[float, float], features: NDArray[np.float32]
    ) -> Mask:
        """Writes scaled numbers; returns which records have none."""
        numbers = self._block.numbers[column.name]
        missing = np.isnan(numbers)
        wrong = np.isinf(numbers)
        unusable: Mask = missing | wrong
        clamped = np.clip(numbers, *limits)
        self._note_outside(column.name, (clamped != numbers) & ~unusable)
        features[:, 0] = scaled(clamped, limits)
        self._flaw(column.name, "is not a number", wrong)
        self._note_missing(column, missing)
        return unusable

    def _write_levels(self, column: Column, features: NDArray[np.float32]) -> Mask:
        """Writes 0 or 1, or one feature a level; returns which records have no value."""
        levels = self._block.levels[column.name]
        codes = looked_up(levels, level_codes(column))
        missing: Mask = codes == MISSING
        unknown = codes == UNKNOWN
        self._note_missing(column, missing)
        if column.levels is None:
            features[:, 0] = codes == 1
            self._flaw(column.name, "is neither 0 nor 1", unknown)
            unusable: Mask = missing | unknown
            return unusable
        if column.other:
            codes[unknown] = len(column.levels)
        else:
            self._flaw(column.name, "has no declared level", unknown)
        # A level that is unknown is none of these: its features are zeros.
        features[:] = codes[:, None] == np.arange(column.value_features)
        return missing

    def _targets(self) -> NDArray[np.float32]:
        """Returns the targets, scaled; a record that lacks one is left out."""
        values = [self._target(target) for target in self._schema.targets]
        numbers = torch.from_numpy(np.stack(values, axis=1))
        scaled: NDArray[np.float32] = self._schema.task.labels(numbers).numpy()
        return scaled

    def _target(self, target: Target) -> NDArray[np.float64]:
        numbers = self._block.numbers[target.column]
        missing = np.isnan(numbers)
        wrong = np.isinf(numbers)
        low, high = target.range
        outside = ((numbers < low) | (numbers > high)) & ~wrong
        self._missing[target.column] = int(missing.sum())
        self._note_outside(target.column, outside)
        self._flaw(target.column, "is missing", missing)
        self._flaw(target.column, "is not a number", wrong)
        self._keep &= ~(missing | wrong)
        return numbers

    def _note_outside(self, name: str, outside: Mask) -> None:
        self._clamped[name] = int(outside.sum())
        if outside.any():
            what = "is outside its declared range"
            self._outside.append(Flaw(name, what, int(outside.argmax()), int(outside.sum())))

    def _note_missing(self, column: Column, missing: Mask) -> None:
        self._missing[column.name] = int(missing.sum())
        if column.missing is None:
            self._flaw(column.name, "is missing, and the schema does not say what to do", missing)

    def _optional_codes(self, name: str | None, values: tuple[str, ...], what: str) -> Codes | None:
        if name is None:
            return None
        return self._codes(name, {value: code for code, value in enumerate(values)}, what)

    def _codes(self, name: str, table: Mapping[str, int], what: str) -> Codes:
        """Returns the code of each value; a record that has none is left out."""
        codes = looked_up(self._block.levels[name], table)
        unknown = codes < 0
        self._flaw(name, what, unknown)
        self._keep &= ~unknown
        return codes

    def _group(self, name: str) -> Levels:
        levels = self._block.levels[name]
        known = np.array([*(value is not None for value in levels.values), False])
        unknown = ~known[levels.codes]
        self._flaw(name, "is missing", unknown)
        self._keep &= ~unknown
        return levels

    def _flaw(self, name: str, what: str, rows: Mask) -> None:
        for explained in (self._unmapped, self._unlabelled):
            if name in explained:
                rows = rows & ~explained[name]
        if rows.any():
            self._flaws.append(Flaw(name, what, int(rows.argmax()), int(rows.sum())))
