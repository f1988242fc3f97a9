"""The sites in what a user's function returned, each with its training and test records."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from securefl.data.own.gather import Part, is_pair, is_part, part_of
from securefl.data.task import Examples, FederatedData, Task
from securefl.errors import DataError

EXPECTED = (
    "a list of sites or a mapping from names to sites, each a pair (features, labels) or a Dataset"
)


@dataclass(frozen=True)
class Members:
    """Sites with their records.

    Args:
        train: name of a site -> its training records.
        test: name of a site -> its test records; None where no site has its own.
        common_test: test records that belong to no site.
        task: stated by what was returned.
    """

    train: dict[str, Part]
    test: dict[str, Part] | None = None
    common_test: Part | None = None
    task: Task | None = None

    @property
    def parts(self) -> list[Part]:
        """All records."""
        tests = [*(self.test or {}).values()]
        common = [] if self.common_test is None else [self.common_test]
        return [*self.train.values(), *tests, *common]

    @property
    def are_bytes(self) -> bool:
        """Whether records are images of bytes."""
        arrays = [part.features for part in self.parts if part.features is not None]
        return bool(arrays) and arrays[0].dtype == np.uint8 and arrays[0].ndim > 2


def members_of(value: Any, name: str, declared_sites: tuple[str, ...] | None) -> Members:
    """Returns the sites in what a function returned.

    Args:
        value: what it returned.
        name: of the function, for refusals.
        declared_sites: names for the sites of a list, in its order.

    Raises:
        DataError: the value, or a site, has the wrong kind.
    """
    if isinstance(value, FederatedData):
        return _federated(value, name)
    values = _by_name(value, name, declared_sites)
    train = {}
    test = {}
    for site, records in values.items():
        place = f"{name}: site {site!r},"
        if is_part(records):
            train[site] = part_of(records, f"{place} training")
        elif is_pair(records) and is_part(records[0]) and is_part(records[1]):
            train[site] = part_of(records[0], f"{place} training")
            test[site] = part_of(records[1], f"{place} test")
        else:
            raise DataError(
                f"{name}: site {site!r} is {_kind(records)}, not a pair (features, labels) of "
                "arrays, a torch Dataset, or a pair (train, test) of these"
            )
    if test and len(test) < len(train):
        missing = next(site for site in train if site not in test)
        raise DataError(
            f"{name}: site {missing!r} has no test records and others have; give them to all "
            "sites or to none"
        )
    return Members(train, test or None)


def _by_name(value: Any, name: str, declared_sites: tuple[str, ...] | None) -> dict[str, Any]:
    """Returns name -> what was returned for the site."""
    if is_part(value):
        raise DataError(f"{name} returned one site by itself; return a list of sites, [site]")
    if isinstance(value, Mapping):
        names = [str(key) for key in value]
        sites = list(value.values())
    elif isinstance(value, list | tuple):
        sites = list(value)
        names = [f"site-{index}" for index in range(len(sites))]
        if declared_sites is not None:
            names = list(declared_sites)
    else:
        raise DataError(f"{name} returned {_value(value)}, not {EXPECTED}")
    if not sites:
        raise DataError(f"{name} returned no site")
    if len(names) != len(sites):
        raise DataError(f"{name} returned {len(sites)} sites, and data.sites names {len(names)}")
    _refuse_same_names(names, name)
    return dict(zip(names, sites, strict=True))


def _federated(data: FederatedData, name: str) -> Members:
    """Returns the sites of our own value, whose records are checked like any others."""
    _refuse_same_names([site.name for site in data.sites], name)
    train = {
        site.name: _part(site.train, f"{name}: site {site.name!r}, training") for site in data.sites
    }
    tests = {
        site.name: _part(site.test, f"{name}: site {site.name!r}, test")
        for site in data.sites
        if site.test is not None
    }
    if tests and len(tests) == len(train):
        return Members(train, tests, task=data.task)
    common = _part(data.test, f"{name}: test") if len(data.test) else None
    return Members(train, common_test=common, task=data.task)


def _part(examples: Examples, name: str) -> Part:
    return part_of((examples.features, examples.labels), name)


def _refuse_same_names(names: list[str], name: str) -> None:
    for site, count in Counter(names).items():
        if count > 1:
            raise DataError(f"{name} returned {count} sites of the name {site!r}")


def _value(value: object) -> str:
    return "None" if value is None else f"a value {_kind(value)}"


def _kind(value: object) -> str:
    """Returns the type of a value in words."""
    kind = type(value).__name__
    return "None" if value is None else f"of type {kind}"
