"""Training records made fewer, mislabelled, or drawn from a pool by coins.

Audits need them: records that an attacker has to tell apart from others, and labels that can only
be learned by heart. Each choice about a record (whether it stays, which label it gets, whether a
rehearsal takes it) follows from the record's own content, see `securefl.data.coins`. So one record
removed from a client changes no other, which a claim about one record rests on. `thinned` is the
exception, and no claim goes with it.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from securefl.data.coins import below, coins, record_numbers
from securefl.data.task import Examples, FederatedData, Site, concatenate
from securefl.rng import seeded_keystream


class Pool(NamedTuple):
    """Records that an audit draws a client's from.

    Attributes:
        examples: the client's own records first, then test records.
        own: number of the client's own.
    """

    examples: Examples
    own: int


def pool_of(
    data: FederatedData, client: int, *, lent: int, seed: int, label_noise: float | None
) -> Pool:
    """Returns the client's training records, then test records drawn at random.

    Args:
        data: of a federation without a rehearsal.
        client: its index among the sites.
        lent: number of test records; fewer where the site, or the federation, has fewer.
        seed: of the split; decides which test records come in, and their labels.
        label_noise: the share of wrong labels among the client's own records. The test records get
            as many, or a wrong label would give away that a record was trained on.
    """
    site = data.sites[client]
    test = data.test if site.test is None else site.test
    order = torch.from_numpy(seeded_keystream(seed, "pool", client).permutation(len(test)))
    borrowed = _selected(test, order[:lent])
    if label_noise:
        # The place after all sites names a stream of its own.
        borrowed = _relabelled(
            borrowed,
            probability=label_noise,
            classes=data.task.classes,
            seed=seed,
            place=len(data.sites),
        )
    return Pool(concatenate([site.train, borrowed]), len(site.train))


def drawn(pool: Pool, seed: int) -> Tensor:
    """Returns (n,) bool: the records of a pool that a rehearsal trains on.

    A fair coin decides for each. An odd seed takes exactly the records that the even seed below it
    leaves, so that each record is in one of two such rehearsals.
    """
    numbers = record_numbers(pool.examples, seeded_keystream(seed // 2, "rehearsal"))
    return coins(numbers[:, 0], probability=0.5) ^ bool(seed % 2)


def rehearsed(data: FederatedData, client: int, pool: Pool, *, seed: int) -> FederatedData:
    """Returns the same data, with the client's training records drawn from its pool."""
    site = data.sites[client]
    train = _selected(pool.examples, drawn(pool, seed))
    changed = list(data.sites)
    changed[client] = Site(site.name, train, site.test)
    return replace(data, sites=tuple(changed))


def shared(data: FederatedData, *, share: float, seed: int) -> FederatedData:
    """Returns the same data; each training record stays with this probability."""

    def shortened(index: int, train: Examples) -> Examples:
        numbers = record_numbers(train, seeded_keystream(seed, "share", index))
        return _selected(train, coins(numbers[:, 0], probability=share))

    return _changed(data, shortened)


def thinned(data: FederatedData, *, max_records: int, seed: int) -> FederatedData:
    """Returns the same data, with at most `max_records` training records a site, picked at random.

    Not for use under a claim: a record that leaves lets another in, so that two change.
    """

    def shortened(index: int, train: Examples) -> Examples:
        order = seeded_keystream(seed, "most", index).permutation(len(train))
        return _selected(train, torch.from_numpy(order[:max_records]).sort().values)

    return _changed(data, shortened)


def mislabelled(data: FederatedData, *, label_noise: float, seed: int) -> FederatedData:
    """Returns the same data; each training label is wrong with this probability.

    A wrong label is uniform among the other classes.
    """

    def relabelled(index: int, train: Examples) -> Examples:
        return _relabelled(
            train, probability=label_noise, classes=data.task.classes, seed=seed, place=index
        )

    return _changed(data, relabelled)


def _relabelled(
    examples: Examples, *, probability: float, classes: int, seed: int, place: int
) -> Examples:
    numbers = record_numbers(examples, seeded_keystream(seed, "label noise", place))
    wrong = coins(numbers[:, 0], probability=probability)
    # A step of 1 to classes - 1 around the circle of classes never comes back to the true label.
    step = 1 + below(numbers[:, 1], classes - 1)
    labels = torch.where(wrong, (examples.labels + step) % classes, examples.labels)
    return Examples(examples.features, labels)


def _changed(data: FederatedData, change: Callable[[int, Examples], Examples]) -> FederatedData:
    """Returns the same data, with every site's training records changed."""
    sites = [
        Site(site.name, change(index, site.train), site.test)
        for index, site in enumerate(data.sites)
    ]
    return replace(data, sites=tuple(sites))


def _selected(examples: Examples, chosen: Tensor) -> Examples:
    """Returns the chosen records: indices, or one bool a record."""
    return Examples(examples.features[chosen], examples.labels[chosen])
