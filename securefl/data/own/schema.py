"""The schema of a table: TOML -> what every column means, declared before any record is read.

    label = { column = "num", classes = [["0"], ["1", "2", "3", "4"]] }
    site = "hospital"
    sites = ["cleveland", "hungarian"]
    columns = [
      { name = "age", range = [20, 90], missing = { constant = 55 } },
      { name = "sex", binary = true, missing = "drop" },
      { name = "cp", levels = ["1", "2", "3", "4"], other = true, missing = "indicator" },
    ]

Instead of a label, a regression has targets = [{ column = "days", range = [0, 40] }], one or
several, and may have loss = "huber". Records that may have several labels have labels =
[{ column = "effusion" }, { column = "mass" }] with 0 and 1, or with the words of either.

Columns become features in this order. A privacy claim rests on the constants here: ranges, levels,
classes and sites must be public, never read from the records.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from securefl.data.crosswalk.model import Crosswalk
from securefl.data.own.columns import (
    SPLITS,
    Column,
    Label,
    Section,
    SeveralLabel,
    Splits,
    Target,
    Values,
)
from securefl.data.own.units import Measured
from securefl.data.own.unlike import check_crosswalk, coarse_classes, codes_of, label_groups
from securefl.data.task import Task


class Schema(Section):
    """What a table's columns mean.

    label is the class to be predicted, or labels are those of which a record may have several, or
    targets are the real numbers. loss is that of targets.

    site is the column with a record's site, and sites are their names, in the order of the clients.
    Where each site has a file of its own, its name is the file's, and sites may be left out.

    split is a column that says "train", "validation" or "test" for each record; splits are those of
    the three words that it uses. group is a column whose records belong together, such as the
    patient. crosswalk is what the key data.crosswalk of a scenario reads.
    """

    label: Label | None = None
    labels: tuple[SeveralLabel, ...] = ()
    targets: tuple[Target, ...] = ()
    loss: Literal["mse", "huber"] | None = None
    columns: Annotated[tuple[Column, ...], Field(min_length=1)]
    site: str | None = None
    sites: Values | None = None
    group: str | None = None
    split: str | None = None
    splits: Splits = SPLITS
    crosswalk: Crosswalk | None = None

    @model_validator(mode="after")
    def _columns_have_one_part_each(self) -> "Schema":
        if [self.label is not None, bool(self.labels), bool(self.targets)].count(True) != 1:
            raise ValueError(
                "give a label with classes, or several labels, or targets with ranges, and not"
                " two of them"
            )
        if len(self.labels) == 1:
            raise ValueError("several labels are two or more; a single one is a label with classes")
        if self.loss is not None and not self.targets:
            raise ValueError("loss has no effect without targets; remove it")
        if self.site is not None and self.sites is None:
            raise ValueError(f"site column {self.site!r} needs its values: sites = [...]")
        if "train" not in self.splits:
            raise ValueError('splits need "train"')
        for name, count in Counter(self.names).items():
            if count > 1:
                raise ValueError(f"column {name!r} has two parts in the schema; a column has one")
        return self

    @model_validator(mode="after")
    def _sites_are_declared(self) -> "Schema":
        named = {site for column in self.measured.values() for site in column.units}
        if self.crosswalk is not None:
            check_crosswalk(self)
            named |= self.crosswalk.sites
        for site in sorted(named - set(self.sites or ())):
            raise ValueError(
                f"units or crosswalk name {site!r}, which is none of sites = [...] of the schema"
            )
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Every column that a file must have; names of features come first."""
        label = None if self.label is None else self.label.column
        others = [label, self.site, self.group, self.split]
        return (
            *(column.name for column in self.columns),
            *(target.column for target in self.targets),
            *(several.column for several in self.labels),
            *(name for name in others if name is not None),
        )

    def names_at(self, site: str | None) -> tuple[str, ...]:
        """Returns the columns that a site's file must have: no labels that it never looked for."""
        unseen = self.not_observed(site)
        return tuple(name for name in self.names if name not in unseen)

    def not_observed(self, site: str | None) -> tuple[str, ...]:
        """Returns the label columns that a site never looked for."""
        if self.crosswalk is None or site is None:
            return ()
        return self.crosswalk.not_observed.get(site, ())

    @property
    def numeric_names(self) -> tuple[str, ...]:
        """The columns that hold numbers with a range."""
        return tuple(self.measured)

    @property
    def measured(self) -> Mapping[str, Measured]:
        """The columns that hold numbers with a range, by name."""
        features = {column.name: column for column in self.columns if column.range is not None}
        return {**features, **{target.column: target for target in self.targets}}

    @property
    def label_columns(self) -> tuple[str, ...]:
        """The columns of labels."""
        single = () if self.label is None else (self.label.column,)
        return (*single, *(several.column for several in self.labels))

    @property
    def label_codes(self) -> Mapping[str, int]:
        """The label of each value: its class, or the number of classes plus that of its group."""
        if self.label is None:
            return {}
        return codes_of(self.label, coarse_classes(self))

    @property
    def task(self) -> Task:
        """The task, which follows from declared constants alone."""
        features = sum(column.features for column in self.columns)
        if self.label is not None:
            groups = label_groups(coarse_classes(self))
            return Task(features=features, classes=len(self.label.classes), groups=groups)
        if self.labels:
            partial = self.crosswalk is not None and bool(self.crosswalk.not_observed)
            return Task(features, len(self.labels), multilabel=True, partial=partial)
        ranges = tuple(target.range for target in self.targets)
        return Task(features=features, targets=ranges, huber=self.loss == "huber")
