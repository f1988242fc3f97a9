"""The records of a scenario: loaded, dealt to sites, and for audits mislabelled or drawn anew.

What is drawn for a record after the deal (whether it stays, which label it gets, whether a rehearsal
takes it) follows from its own content, so that one record removed from a client changes no other:
`securefl.data.coins`. The deal itself, and the data set's split into training and test records, come
before any claim and are taken as given.
"""

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from securefl.data.coins import below, coins, record_numbers
from securefl.data.download import OnBytes
from securefl.data.partition import Skew
from securefl.data.task import Examples, FederatedData, Site, concatenate
from securefl.errors import ScenarioError
from securefl.rng import seeded_keystream
from securefl.scenario import catalog
from securefl.scenario.facts import DEFAULT_SKEW
from securefl.scenario.scenario import Scenario


class Pool(NamedTuple):
    """Records that an audit draws a client's from: its own first, then test records; how many are its own."""

    examples: Examples
    own: int


def load_data(scenario: Scenario) -> FederatedData:
    """The sites of the scenario: the data set's own, pooled, dealt anew, or one alone.

    Raises:
        DataError: a data file is damaged.
        ScenarioError: the records cannot be dealt as asked.
    """
    entry, config, how = catalog.DATA[scenario.data.name], scenario.data, scenario.partition
    own = how if how in entry.partitions else next(iter(entry.partitions))
    data = entry.load(partition=own, split_seed=config.split_seed, **scenario.facts.data_options)
    if config.held_out is not None:
        data = data.without(config.held_out, unseen=config.test_on == "validation")
    if how == "pooled":
        data = data.pooled()
    elif how in catalog.DEALS:
        data = data.dealt(_deal(scenario, data.pooled().sites[0].train.labels))
    data = _thinned(scenario, _shared(scenario, data))
    if config.only is not None and how != "pooled":
        data = data.alone(scenario.facts.place(config.only))
    data = _mislabelled(scenario, data)
    return data if scenario.rehearsal is None else _rehearsed(scenario, data)


def fetch_data(scenario: Scenario, on_bytes: OnBytes) -> None:
    """See to it that the scenario's published file is on this disk. Raises DataError."""
    if (fetch := catalog.DATA[scenario.data.name].fetch) is not None:
        fetch(scenario.facts.data_options["size"], on_bytes)


def pool_of(scenario: Scenario, data: FederatedData, client: int) -> Pool:
    """The client's training records and as many test records, mislabelled as often as training records are.

    Under a claim the number of test records is the declared one: the real number is never read.

    Args:
        scenario: without a rehearsal.
        data: of that scenario.
        client: whose.
    """
    site = data.sites[client]
    others = data.test if site.test is None else site.test
    order = torch.from_numpy(
        seeded_keystream(scenario.data.split_seed, "pool", client).permutation(len(others))
    )
    chosen = order[: scenario.site_records[client] if scenario.claims_dp else len(site.train)]
    more = _noisy(scenario, _taken(others, chosen), data.task.classes, len(data.sites))
    return Pool(concatenate([site.train, more]), len(site.train))


def drawn(pool: Pool, seed: int) -> Tensor:
    """(n,) bool, the records of a pool that a rehearsal of this seed trains on; a fair coin each.

    An odd seed takes what the even one below it leaves, so that of two such rehearsals each record is in one.
    """
    numbers = record_numbers(pool.examples, seeded_keystream(seed // 2, "rehearsal"))
    return coins(numbers[:, 0], probability=0.5) ^ bool(seed % 2)


def _rehearsed(scenario: Scenario, data: FederatedData) -> FederatedData:
    """The same data, one client's training records drawn from its pool; raises as `_refuse_none`."""
    rehearsal = scenario.rehearsal
    if rehearsal is None:
        return data
    pool = pool_of(scenario, data, rehearsal.client)
    inside = drawn(pool, rehearsal.seed)
    way_out = "use another seed, or a client with more records"
    _refuse_none(scenario, inside, f"rehearsal: no record came in; {way_out}")
    site = data.sites[rehearsal.client]
    changed = list(data.sites)
    changed[rehearsal.client] = Site(site.name, _taken(pool.examples, inside), site.test)
    return replace(data, sites=tuple(changed))


def _refuse_none(scenario: Scenario, inside: Tensor, message: str) -> None:
    """Refuse a client without records, but not under DP-SGD: the refusal would tell their number."""
    if scenario.training.kind == "sgd" and not bool(inside.any()):
        raise ScenarioError(message)


def _shared(scenario: Scenario, data: FederatedData) -> FederatedData:
    """The same data, each training record kept by a coin of its own; raises as `_refuse_none`."""
    if scenario.data.share is None:
        return data
    kept = []
    for index, site in enumerate(data.sites):
        stream = seeded_keystream(scenario.data.split_seed, "share", index)
        inside = coins(record_numbers(site.train, stream)[:, 0], probability=scenario.data.share)
        _refuse_none(
            scenario, inside, f"data.share leaves client {index} without a record; raise it"
        )
        kept.append(Site(site.name, _taken(site.train, inside), site.test))
    return replace(data, sites=tuple(kept))


def _thinned(scenario: Scenario, data: FederatedData) -> FederatedData:
    """The same data, with at most so many training records a site; never under a claim."""
    if scenario.data.most is None:
        return data
    kept = []
    for index, site in enumerate(data.sites):
        order = seeded_keystream(scenario.data.split_seed, "most", index).permutation(
            len(site.train)
        )
        chosen = torch.from_numpy(order[: scenario.data.most]).sort().values
        kept.append(Site(site.name, _taken(site.train, chosen), site.test))
    return replace(data, sites=tuple(kept))


def _mislabelled(scenario: Scenario, data: FederatedData) -> FederatedData:
    """The same data, with a share of each site's training labels drawn anew among the other classes."""
    if not scenario.data.label_noise:
        return data
    noisy = [
        Site(site.name, _noisy(scenario, site.train, data.task.classes, index), site.test)
        for index, site in enumerate(data.sites)
    ]
    return replace(data, sites=tuple(noisy))


def _noisy(scenario: Scenario, examples: Examples, classes: int, place: int) -> Examples:
    """Examples with other labels where a coin of the record's own says so."""
    if not scenario.data.label_noise:
        return examples
    stream = seeded_keystream(scenario.data.split_seed, "label noise", place)
    numbers = record_numbers(examples, stream)
    wrong = coins(numbers[:, 0], probability=scenario.data.label_noise)
    step = 1 + below(numbers[:, 1], classes - 1)
    labels = torch.where(wrong, (examples.labels + step) % classes, examples.labels)
    return Examples(examples.features, labels)


def _taken(examples: Examples, chosen: Tensor) -> Examples:
    """The chosen records: indices, or one bool a record."""
    return Examples(examples.features[chosen], examples.labels[chosen])


def _deal(scenario: Scenario, labels: Tensor) -> list[Tensor]:
    """Indices for each client by the scenario's partition."""
    config, usual = scenario.data, DEFAULT_SKEW
    clients = config.clients or catalog.DEFAULT_CLIENTS
    skew = Skew(
        config.alpha or usual.alpha,
        config.classes or usual.classes,
        config.minimum or usual.minimum,
    )
    stream = seeded_keystream(config.split_seed, scenario.partition, clients)
    try:
        return catalog.DEALS[scenario.partition].deal(labels, clients, skew, stream)
    except ValueError as reason:
        raise ScenarioError(f"data.partition: {reason}") from None
