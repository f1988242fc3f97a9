"""How many records each site and class have, for a command that shows somebody their own data.

These are facts about records. No run writes them anywhere.
"""

from dataclasses import dataclass
from typing import NamedTuple

from securefl.data.own.records import Records, Split, selected
from securefl.data.task import Examples, FederatedData, Task

# The row of records that bear no site.
NO_SITE = "all records"


class Count(NamedTuple):
    """The records of one site in one split.

    Attributes:
        records: in all.
        classes: records of each class; a record with several labels counts for each. Empty where
            records have real targets.
        coarse: records with a coarse label, which stands for several classes.
    """

    records: int
    classes: tuple[int, ...]
    coarse: int = 0

    @property
    def present(self) -> int:
        """Number of classes with a record."""
        return sum(count > 0 for count in self.classes)

    def fault(self, task: Task) -> str | None:
        """Returns why a site cannot train on these records, or None where it can."""
        if not self.records:
            return "has no training record"
        if self.records == 1:
            return "has one training record only"
        if self.present == 1 and not (task.multilabel or self.coarse):
            return "has training records of one class only"
        return None


@dataclass(frozen=True)
class Overview:
    """Records of each site and class, and the groups.

    Args:
        sites: names, in order; one row for all records where they bear no site.
        train: of each site.
        validation: likewise; None where there are none.
        test: likewise; one row where test records bear no site, though training records do.
        groups: number of groups, for example patients; None where records bear none.
        shared_groups: groups with training records and records of another split.
    """

    sites: tuple[str, ...]
    train: tuple[Count, ...]
    validation: tuple[Count, ...] | None
    test: tuple[Count, ...] | None
    groups: int | None
    shared_groups: int


def overview(records: Records) -> Overview:
    """Returns what a source holds, in numbers."""
    held_out = [split for split in (records.validation, records.test) if split is not None]
    train_groups = set(records.train.groups or ())
    held_out_groups = {group for split in held_out for group in split.groups or ()}
    groups = None
    if records.train.groups is not None:
        groups = len(train_groups | held_out_groups)
    return Overview(
        records.sites or (NO_SITE,),
        _counts(records.train, records),
        None if records.validation is None else _counts(records.validation, records),
        None if records.test is None else _counts(records.test, records),
        groups,
        len(train_groups & held_out_groups),
    )


def overview_of_sites(data: FederatedData) -> Overview:
    """Returns what the sites of a federation hold, in numbers; groups are not known."""
    names = tuple(site.name for site in data.sites)
    tests = [site.test for site in data.sites if site.test is not None]
    if len(tests) < len(data.sites):
        tests = [data.test]
    return Overview(
        names,
        tuple(count(site.train, data.task) for site in data.sites),
        None,
        tuple(count(test, data.task) for test in tests),
        None,
        0,
    )


def count(examples: Examples, task: Task) -> Count:
    """Returns the number of records, in all and of each class."""
    labels = examples.labels
    if task.regression:
        return Count(len(labels), ())
    if task.multilabel:
        return Count(len(labels), tuple((labels == 1).sum(dim=0).tolist()))
    fine = labels[labels < task.classes]
    classes = tuple(fine.bincount(minlength=task.classes).tolist())
    return Count(len(labels), classes, len(labels) - len(fine))


def _counts(split: Split, records: Records) -> tuple[Count, ...]:
    """Returns the records of each site in one split."""
    if split.sites is None:
        return (count(split.examples, records.task),)
    parts = [selected(split, split.sites == index) for index in range(len(records.sites))]
    return tuple(count(part.examples, records.task) for part in parts)
