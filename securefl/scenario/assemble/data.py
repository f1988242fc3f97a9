"""The records of a scenario: loaded, dealt to clients, changed for audits."""

from collections.abc import Collection, Iterator

from torch import Tensor

from securefl.data.download import OnBytes
from securefl.data.harmonise.entries import LocalStep, all_harmonised
from securefl.data.own.overview import count
from securefl.data.partition import Skew
from securefl.data.rehearsal import (
    Pool,
    mislabelled,
    rehearsed,
    shared,
    thinned,
)
from securefl.data.rehearsal import pool_of as pool_of_data
from securefl.data.scanners import Scanner, with_scanners
from securefl.data.task import FederatedData
from securefl.errors import DataError, ScenarioError
from securefl.rng import seeded_keystream
from securefl.scenario import catalog
from securefl.scenario.scenario import Scenario
from securefl.scenario.sites import DEFAULT_SKEW


def load_data(scenario: Scenario) -> FederatedData:
    """Returns the sites of the scenario: own, pooled, dealt, or one alone.

    Raises:
        DataError: a data file is damaged, or a site of a user's own cannot train.
        ScenarioError: the records cannot be dealt as the scenario says, or leave a client without
            any.
    """
    data = dealt_data(scenario)
    for fault in _faults(scenario, data):
        raise DataError(fault)
    if scenario.data.label_noise is not None:
        data = mislabelled(
            data, label_noise=scenario.data.label_noise, seed=scenario.data.split_seed
        )
    return _rehearsed(scenario, all_harmonised(data, local_steps(scenario)))


def local_steps(scenario: Scenario) -> tuple[LocalStep, ...]:
    """Returns the record-local steps of `data.harmonise`, in order."""
    steps = [step.local() for step in scenario.data.harmonise or ()]
    return tuple(step for step in steps if step is not None)


def check_own_records(scenario: Scenario) -> None:
    """Reads a user's own records, so that a refusal comes before a run folder is made.

    Raises:
        DataError: see `load_data`.
        ScenarioError: see `load_data`.
    """
    if not scenario.facts.data_set.published:
        load_data(scenario)


def dealt_data(scenario: Scenario) -> FederatedData:
    """Returns the clients' records before any label is changed, also where a site cannot train.

    Raises:
        DataError: a data file is damaged.
        ScenarioError: the records cannot be dealt, or `share` leaves a client without any.
    """
    # A client's place names the stream of its coins: the order of these steps is part of a result.
    data = _scanned(scenario, reduced(scenario, _dealt(scenario, _loaded(scenario))))
    if scenario.data.only is not None and scenario.partition != "pooled":
        data = data.alone(scenario.facts.place(scenario.data.only))
    return data


def _faults(scenario: Scenario, data: FederatedData) -> Iterator[str]:
    """Yields what keeps a site of a user's own from training.

    Under a claim a refusal would depend on records, and ways to deal may skew as they like.
    """
    is_own = not scenario.facts.data_set.published and scenario.partition not in catalog.DEALS
    if scenario.claims_dp or not is_own:
        return
    for site in data.sites:
        fault = count(site.train, data.task).fault(data.task)
        if fault is not None:
            yield (
                f"site {site.name!r} {fault}, so it cannot take part; take it out of the data, "
                "or deal all records by another data.partition"
            )


def fetch_data(scenario: Scenario, on_bytes: OnBytes) -> None:
    """Downloads the published file unless this disk has it. Raises DataError."""
    fetch = scenario.facts.data_set.fetch
    if fetch is not None:
        fetch(scenario.facts.data_options["size"], on_bytes)


def pool_of(scenario: Scenario, data: FederatedData, client: int) -> Pool:
    """Returns the client's training records and as many test records.

    Their labels are wrong as often. Under a claim the number of test records is the declared one:
    the real number is never read.

    Args:
        scenario: without a rehearsal.
        data: of that scenario.
        client: its id.
    """
    own = len(data.sites[client].train)
    return pool_of_data(
        data,
        client,
        lent=scenario.site_records[client] if scenario.claims_dp else own,
        seed=scenario.data.split_seed,
        label_noise=scenario.data.label_noise,
    )


def _loaded(scenario: Scenario) -> FederatedData:
    """Returns the data set's own sites, but the one that is held out."""
    entry = scenario.facts.data_set
    # A partition that deals records has no file of its own; it starts from the first that has.
    own = scenario.partition
    if own not in entry.partitions:
        own = next(iter(entry.partitions))
    data = entry.load(
        partition=own,
        split_seed=scenario.data.split_seed,
        **scenario.facts.data_options,
    )
    if scenario.data.held_out is None:
        return data
    return data.without(scenario.data.held_out, unseen=scenario.data.test_on == "validation")


def _dealt(scenario: Scenario, data: FederatedData) -> FederatedData:
    """Returns the same records, dealt to the sites that the partition says."""
    if scenario.partition == "pooled":
        return data.pooled()
    if scenario.partition in catalog.DEALS:
        return data.dealt(_deal(scenario, data.pooled().sites[0].train.labels))
    return data


def _scanned(scenario: Scenario, data: FederatedData) -> FederatedData:
    """Returns the same sites, some of them with a simulated scanner."""
    if scenario.simulate.scanners is None:
        return data
    scanners = {
        declared.client: Scanner(declared.gain, declared.gamma, declared.blur)
        for declared in scenario.simulate.scanners
    }
    return with_scanners(data, scanners, seed=scenario.data.split_seed)


def _deal(scenario: Scenario, labels: Tensor) -> list[Tensor]:
    """Returns the indices of each client's records, by the scenario's partition."""
    declared = scenario.data
    clients = declared.clients or catalog.DEFAULT_CLIENTS
    skew = Skew(
        declared.alpha or DEFAULT_SKEW.alpha,
        declared.classes or DEFAULT_SKEW.classes,
        declared.minimum or DEFAULT_SKEW.minimum,
    )
    stream = seeded_keystream(declared.split_seed, scenario.partition, clients)
    try:
        return catalog.DEALS[scenario.partition].deal(labels, clients, skew, stream)
    except ValueError as reason:
        raise ScenarioError(f"data.partition: {reason}") from None


def reduced(
    scenario: Scenario, data: FederatedData, sites: Collection[int] | None = None
) -> FederatedData:
    """Returns the same data, with as few training records as `share` and `most` leave.

    Args:
        scenario: says how few.
        data: of all sites.
        sites: those that have records here; None for all.

    Raises:
        ScenarioError: `share` leaves one of them without a record.
    """
    declared = scenario.data
    if declared.share is not None:
        data = shared(data, share=declared.share, seed=declared.split_seed)
        for index in _without_records(scenario, data):
            if sites is not None and index not in sites:
                continue
            raise ScenarioError(f"data.share leaves client {index} without a record; raise it")
    if declared.most is not None:
        data = thinned(data, max_records=declared.most, seed=declared.split_seed)
    return data


def _rehearsed(scenario: Scenario, data: FederatedData) -> FederatedData:
    """Returns the same data, one client's records drawn from its pool."""
    rehearsal = scenario.rehearsal
    if rehearsal is None:
        return data
    pool = pool_of(scenario, data, rehearsal.client)
    data = rehearsed(data, rehearsal.client, pool, seed=rehearsal.seed)
    if rehearsal.client in _without_records(scenario, data):
        raise ScenarioError(
            "rehearsal: no record came in; use another seed, or a client with more records"
        )
    return data


def _without_records(scenario: Scenario, data: FederatedData) -> list[int]:
    """Returns the clients that have no record to train on, where that may be said.

    Under noise a refusal would give the number of records away, and training needs none.
    """
    if scenario.has_noise:
        return []
    return [index for index, site in enumerate(data.sites) if not len(site.train)]
