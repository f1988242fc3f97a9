"""The partition belongs to the data set, its keys to the partition, and no client is left without records."""

from securefl.errors import ScenarioError
from securefl.scenario import catalog
from securefl.scenario.checks.names import known
from securefl.scenario.declaration import Declaration
from securefl.scenario.facts import DEFAULT_SKEW, Facts


def check_data(declared: Declaration, facts: Facts) -> None:
    """The partition belongs to the data set, its keys to the partition, and no client is left without records."""
    data, entry, how = declared.data, catalog.DATA[declared.data.name], facts.partition
    known(
        "data.partition", how, tuple(dict.fromkeys((*entry.partitions, "pooled", *catalog.DEALS)))
    )
    sites = facts.site_count
    if data.clients is not None and data.clients != sites:
        raise ScenarioError(
            f"data.clients: {data.name} with partition {how!r} has {sites} clients, got {data.clients}"
        )
    if data.only is not None and (how == "pooled" or data.only >= sites):
        raise ScenarioError(
            f"data.only: there is no site {data.only} among {sites} with partition {how!r}"
        )
    _held_out(declared, facts)
    _check_keys(declared, facts)
    if how in catalog.DEALS and catalog.DEALS[how].by_class and facts.task.multilabel:
        raise ScenarioError(
            f"data.partition: {how} goes by the one class of a record, those of {data.name} bear several; "
            "use iid or quantity"
        )
    _check_enough(declared, facts)


def _check_keys(declared: Declaration, facts: Facts) -> None:
    """Every key has an effect with this data set and this partition."""
    data, entry, how = declared.data, catalog.DATA[declared.data.name], facts.partition
    for key in ("alpha", "classes", "minimum"):
        if getattr(data, key) is not None and key not in _taken_by(how):
            raise ScenarioError(f"data.{key} has no effect with partition {how!r}; remove it")
    for key in ("size", "test_on", "fold"):
        if getattr(data, key) is not None and key not in entry.options:
            raise ScenarioError(f"data.{key} has no effect with {data.name}; remove it")
    if data.fold is not None and data.test_on != "validation":
        raise ScenarioError("data.fold has no effect unless data.test_on = 'validation'; remove it")
    if data.size is not None and data.size not in entry.sizes:
        raise ScenarioError(
            f"data.size: {data.name} is published in {', '.join(map(str, entry.sizes))}, got {data.size}"
        )


def _taken_by(partition: str) -> tuple[str, ...]:
    """The keys that shape a partition."""
    return catalog.DEALS[partition].takes if partition in catalog.DEALS else ()


def _check_enough(declared: Declaration, facts: Facts) -> None:
    """There are records for every client."""
    data, sites, takes = declared.data, facts.site_count, _taken_by(facts.partition)
    least = (
        data.classes or DEFAULT_SKEW.classes
        if "classes" in takes
        else data.minimum or DEFAULT_SKEW.minimum
    )
    records = facts.training_records
    if sites * least > records:
        ways = f"use at most {records // least} clients"
        if least > 1 and records >= sites:
            ways += f" or data.{'classes' if 'classes' in takes else 'minimum'} of at most {records // sites}"
        raise ScenarioError(
            f"data.clients: {sites} clients with {least} or more records each take {sites * least}, "
            f"{data.name} has {records} training records; {ways}"
        )


def _held_out(declared: Declaration, facts: Facts) -> None:
    """The site held out is one of the data set's own, and no part of it trains."""
    data, entry, how = declared.data, catalog.DATA[declared.data.name], facts.partition
    if data.held_out is None:
        return
    sites = len(entry.partitions.get(entry.usual, ()))
    if how not in (entry.usual, "pooled") or sites < 2:
        raise ScenarioError(
            f"data.held_out needs sites of the data set's own, not {data.name} with partition {how!r}"
        )
    if data.held_out >= sites or data.held_out == data.only:
        what = (
            "it is the only one that trains"
            if data.held_out == data.only
            else f"there are {sites} sites"
        )
        raise ScenarioError(f"data.held_out: site {data.held_out} cannot be held out, {what}")


def check_rehearsal(declared: Declaration, facts: Facts) -> None:
    """The client exists; labels that can be wrong are one a record."""
    if declared.data.label_noise and facts.task.multilabel:
        raise ScenarioError(
            "data.label_noise: the records bear several labels each; use another data set"
        )
    if declared.rehearsal is not None and declared.rehearsal.client >= facts.clients:
        raise ScenarioError(
            f"rehearsal.client: there is no client {declared.rehearsal.client} among {facts.clients}"
        )
