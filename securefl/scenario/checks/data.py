"""Whether the data set, its partition and the other keys of [data] fit."""

from securefl.errors import ScenarioError
from securefl.scenario import catalog
from securefl.scenario.data_table import OWN_KEYS
from securefl.scenario.declaration import Declaration
from securefl.scenario.facts import Facts
from securefl.scenario.sites import DEFAULT_SKEW


def check_data(declared: Declaration, facts: Facts) -> None:
    """Checks that keys of [data] have an effect, and that clients get records.

    Raises:
        ScenarioError: one sentence that says what to change.
    """
    data, how, sites = declared.data, facts.partition, facts.site_count
    if data.clients is not None and data.clients != sites:
        raise ScenarioError(
            f"data.clients: {data.name} with partition {how!r} has {sites} clients, "
            f"got {data.clients}"
        )
    if data.only is not None and (how == "pooled" or data.only >= sites):
        raise ScenarioError(
            f"data.only: there is no site {data.only} among {sites} with partition {how!r}"
        )
    _check_own(declared, facts)
    _check_held_out(declared, facts)
    _check_keys(declared, facts)
    _check_labels(declared, facts)
    _check_enough(declared, facts)
    if declared.rehearsal is not None and declared.rehearsal.client >= facts.clients:
        raise ScenarioError(
            f"rehearsal.client: there is no client {declared.rehearsal.client} "
            f"among {facts.clients}"
        )


def _check_own(declared: Declaration, facts: Facts) -> None:
    """Checks what only a user's own records can get wrong."""
    data, entry = declared.data, facts.data_set
    if facts.partition == "natural" and "natural" not in entry.partitions:
        raise ScenarioError(
            "data.partition: the records bear no sites, which 'natural' needs; "
            f"use {', '.join(['pooled', *catalog.DEALS])}"
        )
    if data.digest is not None and data.digest != facts.data_digest:
        raise ScenarioError(
            f"data: the records of {data.name} are not those that this run began with; "
            "put them back, or run the scenario again under another --out"
        )
    if data.grouped is not None and data.grouped is not entry.grouped:
        raise ScenarioError(
            "data.grouped is filled in, from whether the records have groups; remove it"
        )
    reported = declared.weights == "reported" and facts.channel.bounds_weights
    if reported and not entry.published and declared.channel.max_weight is None:
        raise ScenarioError(
            "channel.max_weight: nobody has published how many records a client may have; "
            "declare the largest number"
        )


def _check_held_out(declared: Declaration, facts: Facts) -> None:
    """Checks that the site held out is the data set's own, and others train."""
    data = declared.data
    if data.held_out is None:
        return
    entry = facts.data_set
    sites = len(entry.partitions.get(entry.usual, ()))
    if facts.partition not in (entry.usual, "pooled") or sites < 2:
        raise ScenarioError(
            f"data.held_out needs sites of the data set's own, "
            f"not {data.name} with partition {facts.partition!r}"
        )
    refused = f"data.held_out: site {data.held_out} cannot be held out"
    if data.held_out == data.only:
        raise ScenarioError(f"{refused}, it is the only one that trains")
    if data.held_out >= sites:
        raise ScenarioError(f"{refused}, there are {sites} sites")


def _check_keys(declared: Declaration, facts: Facts) -> None:
    """Checks that every key has an effect with this data set and this partition."""
    data, entry = declared.data, facts.data_set
    for key in ("alpha", "classes", "minimum"):
        if getattr(data, key) is not None and key not in _taken_by(facts.partition):
            raise ScenarioError(
                f"data.{key} has no effect with partition {facts.partition!r}; remove it"
            )
    for key in ("size", "test_on", "fold", *OWN_KEYS):
        # Keys of own records were looked at when these were opened.
        is_known = not entry.published and key not in entry.options
        if data.given(key) is not None and key not in entry.options and not is_known:
            raise ScenarioError(f"data.{key} has no effect with {data.name}; remove it")
    if data.fold is not None and data.test_on != "validation":
        raise ScenarioError("data.fold has no effect unless data.test_on = 'validation'; remove it")
    if data.size is not None and entry.published and data.size not in entry.sizes:
        sizes = ", ".join(map(str, entry.sizes))
        raise ScenarioError(f"data.size: {data.name} is published in {sizes}, got {data.size}")


def _check_labels(declared: Declaration, facts: Facts) -> None:
    """Checks that records bear one class each where something goes by it."""
    task = facts.task
    if task.groups:
        _check_coarse(declared, facts)
    if not (task.multilabel or task.regression):
        return
    deal = catalog.DEALS.get(facts.partition)
    if deal is not None and deal.by_class:
        labels = "real targets" if task.regression else "several"
        raise ScenarioError(
            f"data.partition: {facts.partition} goes by the one class of a record, "
            f"those of {declared.data.name} bear {labels}; use iid or quantity"
        )
    if declared.data.label_noise:
        labels = "real targets" if task.regression else "several labels each"
        raise ScenarioError(f"data.label_noise: the records bear {labels}; use another data set")


def _check_coarse(declared: Declaration, facts: Facts) -> None:
    """Checks that nothing goes by the one class of a record, which a coarse label does not say."""
    deal = catalog.DEALS.get(facts.partition)
    if deal is not None and deal.by_class:
        raise ScenarioError(
            f"data.partition: {facts.partition} goes by the one class of a record, and a coarse"
            " label stands for several; use iid or quantity"
        )
    if declared.data.label_noise:
        raise ScenarioError(
            "data.label_noise: a coarse label stands for several classes, so that none of them is"
            " wrong; remove it, or the hierarchy"
        )
    if declared.rehearsal is not None:
        raise ScenarioError(
            "rehearsal: audits go by the one class of a record, and a coarse label stands for"
            " several; remove the table [rehearsal], or the hierarchy"
        )


def _check_enough(declared: Declaration, facts: Facts) -> None:
    """Checks that there are records for every client."""
    if not facts.data_set.published:
        return
    data, sites, records = declared.data, facts.site_count, facts.training_records
    # A client of a pathological partition holds a record of each of its classes.
    key = "classes" if "classes" in _taken_by(facts.partition) else "minimum"
    least = getattr(data, key) or getattr(DEFAULT_SKEW, key)
    if sites * least <= records:
        return
    ways = f"use at most {records // least} clients"
    if least > 1 and records >= sites:
        ways += f" or data.{key} of at most {records // sites}"
    raise ScenarioError(
        f"data.clients: {sites} clients with {least} or more records each take {sites * least}, "
        f"{data.name} has {records} training records; {ways}"
    )


def _taken_by(partition: str) -> tuple[str, ...]:
    """Returns the keys that shape a partition."""
    return catalog.DEALS[partition].takes if partition in catalog.DEALS else ()
