"""Which records train and which judge, by coins that belong to records and groups.

A coin follows from the record's content, or from its group's name, and from the split seed. It
depends neither on a position nor on the number of records. So adding or removing one record moves
no other, and all records of a group are on the same side, at whatever site they are.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from securefl.data.coins import NUMBERS_PER_RECORD, below, coins, record_numbers
from securefl.data.own.records import Records, Split, selected
from securefl.data.task import Examples, FederatedData, Site, concatenate
from securefl.errors import DataError, ScenarioError
from securefl.rng import seeded_keystream

# Training records are cut into this many parts, and one of them chooses learning rates.
FOLDS = 4


class _Sides(NamedTuple):
    train: Split
    judging: Split


def federated(
    records: Records,
    *,
    partition: str,
    split_seed: int,
    test_share: float | None,
    test_on: str | None,
    fold: int | None,
    claim: bool,
    needs_judges: bool = True,
) -> FederatedData:
    """Returns the sites of a federation, with the records that train and those that judge.

    Args:
        records: as a source read them.
        partition: "natural": each site has its own records and is judged on its own test records,
            where these bear sites; or "pooled": one site, to be dealt to clients.
        split_seed: keys the coins.
        test_share: of the training records, in (0, 1); needed where there are no test records.
        test_on: "validation" judges on the validation records, else on a quarter of the training
            records, which then train nothing; no test record is used.
        fold: which quarter judges, 0 to 3; 0 by default.
        claim: nothing is refused for what is in a record, nor for how many there are.
        needs_judges: whether some record has to judge; false where only one site is looked at.

    Raises:
        ScenarioError: a key is missing or has no effect.
        DataError: without a claim, no record judges, or a group both trains and judges.
    """
    _check_keys(records, partition, test_share, test_on, fold)
    sides = _sides(records, split_seed, test_share, test_on, fold or 0)
    if not claim:
        _refuse_bad_sides(sides, needs_judges=needs_judges)
    train, judging = sides
    if partition == "pooled" or train.sites is None:
        site = Site("pooled", train.examples, None)
        return FederatedData(records.task, (site,), judging.examples)
    count = len(records.sites)
    tests: Sequence[Examples | None] = [None] * count
    common = judging.examples
    if judging.sites is not None:
        by_site = _by_site(judging, judging.sites, count)
        common = concatenate(by_site)
        tests = by_site
    parts = zip(records.sites, _by_site(train, train.sites, count), tests, strict=True)
    return FederatedData(records.task, tuple(Site(*part) for part in parts), common)


def check_test_share(test_share: float | None, *, has_test: bool) -> None:
    """Raises ScenarioError where no record would judge, or two kinds of records would."""
    if not has_test and test_share is None:
        raise ScenarioError(
            "the data have no test records: set data.test_share, the share of records that judge"
        )
    if has_test and test_share is not None:
        raise ScenarioError(
            "data.test_share has no effect: the data have test records of their own; remove it"
        )


def _check_keys(
    records: Records,
    partition: str,
    test_share: float | None,
    test_on: str | None,
    fold: int | None,
) -> None:
    """Raises ScenarioError where keys and records do not fit; no record is looked at."""
    check_test_share(test_share, has_test=records.test is not None)
    if fold is not None and test_on == "validation" and records.validation is not None:
        raise ScenarioError(
            "data.fold has no effect: the data have validation records of their own; remove it"
        )
    if partition == "natural" and records.train.sites is None:
        raise ScenarioError(
            "partition 'natural' needs records that bear sites; choose another data.partition"
        )


def _sides(
    records: Records, split_seed: int, test_share: float | None, test_on: str | None, fold: int
) -> _Sides:
    """Returns the records that train and those that judge."""
    train = records.train
    judging = records.validation if test_on == "validation" else records.test
    if judging is not None and test_share is None:
        return _Sides(train, judging)
    numbers = _numbers(train, records.sites, split_seed)
    is_test = torch.zeros(len(train.examples), dtype=torch.bool)
    if test_share is not None:
        is_test = coins(numbers[:, 0], probability=test_share)
    if judging is not None:
        return _Sides(selected(train, ~is_test), judging)
    if test_on != "validation":
        return _Sides(selected(train, ~is_test), selected(train, is_test))
    # A number of its own: the quarter must not depend on the test coin.
    in_fold = below(numbers[:, 1], FOLDS) == fold
    return _Sides(selected(train, ~is_test & ~in_fold), selected(train, ~is_test & in_fold))


def _numbers(split: Split, sites: tuple[str, ...], split_seed: int) -> NDArray[np.uint64]:
    """Returns uniform numbers for each record, (n, 4): its group's, or its own."""
    if split.groups is not None:
        return _group_numbers(split.groups, split_seed)
    if split.sites is None:
        return record_numbers(split.examples, seeded_keystream(split_seed, "own split"))
    numbers = np.zeros((len(split.examples), NUMBERS_PER_RECORD), dtype=np.uint64)
    for index, name in enumerate(sites):
        # Copies are counted within a site. By name: another site that goes moves no record here.
        key = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
        stream = seeded_keystream(split_seed, f"own split of {key}")
        members = split.sites == index
        numbers[members.numpy()] = record_numbers(selected(split, members).examples, stream)
    return numbers


def _group_numbers(groups: tuple[bytes, ...], split_seed: int) -> NDArray[np.uint64]:
    """Returns uniform numbers for each record, (n, 4), the same ones for a whole group."""
    key = seeded_keystream(split_seed, "own split of groups").bytes(32)
    digest_of = {group: hashlib.sha256(key + group).digest() for group in set(groups)}
    digests = b"".join(digest_of[group] for group in groups)
    return np.frombuffer(digests, dtype="<u8").reshape(-1, NUMBERS_PER_RECORD)


def _refuse_bad_sides(sides: _Sides, *, needs_judges: bool) -> None:
    """Raises DataError where no record judges, or a group is on both sides."""
    if needs_judges and not len(sides.judging.examples):
        raise DataError("no record judges: raise data.test_share, or take another split_seed")
    shared = set(sides.train.groups or ()) & set(sides.judging.groups or ())
    if shared:
        group = min(shared).decode("utf-8", "backslashreplace")
        raise DataError(
            f"the group {group!r} has training records and records that judge; leave it on one side"
        )


def _by_site(split: Split, sites: Tensor, count: int) -> list[Examples]:
    """Returns the records of each site."""
    return [selected(split, sites == index).examples for index in range(count)]
