"""The contract of a source of records."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from securefl.data.own.digest import PUBLIC_KEY
from securefl.data.own.python_door import Returned
from securefl.data.own.records import Records, Source, Split, selected
from securefl.data.own.split import federated
from securefl.data.task import Examples, FederatedData
from securefl.testing.trial import contract, same

OTHER_KEY = bytes(32)
Sides = dict[str, Counter[bytes]]


def check_data(
    load: Callable[..., object],
    *,
    num_classes: int | None = None,
    sites: Sequence[str] | None = None,
    ranges: Sequence[Sequence[float]] | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> None:
    """Checks a function that returns records, as `data.name = "python:FILE.py:load"` names it.

    Guarantees, for a function that passes: those of `check_source`, with and without a DP claim
    where everything that a claim needs is declared.

    Args:
        load: the function.
        num_classes: as the scenario declares it.
        sites: as the scenario declares them.
        ranges: of real targets, as the scenario declares them.
        parameters: the function's keyword arguments.

    Raises:
        AssertionError: one sentence that says what it does not keep.
    """
    name = getattr(load, "__name__", type(load).__name__)

    def source() -> Source:
        return Returned(
            load(**(parameters or {})),
            name=name,
            num_classes=num_classes,
            sites=sites,
            ranges=ranges,
        )

    check_source(source)
    if sites is not None and (num_classes is not None or ranges is not None):
        check_source(source, claim=True)


def check_source(
    source: Callable[[], Source], *, claim: bool = False, test_share: float = 0.3
) -> None:
    """Checks that a source keeps what runs take for granted.

    Guarantees, for a source that passes:
        - Two readings give the same task, sites and records, in the same order.
        - The digest of the same content is the same, and depends on the key.
        - A record that is taken away moves no other between training and test.

    Args:
        source: opens the source; it is called twice.
        claim: read as under a DP claim.
        test_share: of the records that judge, where the source has no test records.

    Raises:
        AssertionError: one sentence that says what it does not keep.
    """
    with contract():
        first, second = source(), source()
        records, again = first.read(claim=claim), second.read(claim=claim)
        digest, same_digest = first.digest(PUBLIC_KEY), second.digest(PUBLIC_KEY)
        other_digest = first.digest(OTHER_KEY)
    _check_readings(records, again)
    if first.task != records.task or first.sites != records.sites:
        raise AssertionError("the source has another task or other sites than its records")
    if digest != same_digest:
        raise AssertionError("the source has another digest when it is read again")
    if digest == other_digest:
        raise AssertionError("the digest of the source does not depend on the key")
    _check_neighbours(records, claim, test_share)


def _check_readings(one: Records, other: Records) -> None:
    if (one.task, one.sites) != (other.task, other.sites):
        raise AssertionError("the source has another task or other sites when it is read again")
    for part in ("train", "validation", "test"):
        before, after = getattr(one, part), getattr(other, part)
        if not _same_split(before, after):
            raise AssertionError(f"the source has other {part} records when it is read again")


def _same_split(one: Split | None, other: Split | None) -> bool:
    if one is None or other is None:
        return one is other
    tensors = zip(_tensors(one), _tensors(other), strict=True)
    return one.groups == other.groups and all(same(before, after) for before, after in tensors)


def _tensors(split: Split) -> list[torch.Tensor]:
    sites = torch.zeros(0) if split.sites is None else split.sites
    return [*split.examples, sites]


def _check_neighbours(records: Records, claim: bool, test_share: float) -> None:
    """Takes the first, the middle and the last record away."""
    count = len(records.train.examples)
    if not count:
        raise AssertionError("the source has no record")
    before = _sides(records, claim, test_share)
    for index in sorted({0, count // 2, count - 1}):
        remains = torch.arange(count) != index
        smaller = replace(records, train=selected(records.train, remains))
        after = _sides(smaller, claim, test_share)
        gone = {side: before[side] - after[side] for side in before}
        new = {side: after[side] - before[side] for side in before}
        if any(new.values()) or sum(map(Counter.total, gone.values())) != 1:
            raise AssertionError(f"without record {index}, other records change sides")


def _sides(records: Records, claim: bool, test_share: float) -> Sides:
    """Returns which records train and which judge, whatever their order."""
    with contract():
        data: FederatedData = federated(
            records,
            partition="pooled",
            split_seed=0,
            test_share=test_share if records.test is None else None,
            test_on=None,
            fold=None,
            claim=claim,
        )
    return {"train": _counted(data.sites[0].train), "test": _counted(data.test)}


def _counted(examples: Examples) -> Counter[bytes]:
    pairs = zip(examples.features, examples.labels, strict=True)
    return Counter(
        features.numpy().tobytes() + labels.numpy().tobytes() for features, labels in pairs
    )
