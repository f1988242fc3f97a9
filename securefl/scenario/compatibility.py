"""Cross-checks: what cannot work together is refused before anything runs, with the ways out in the message."""

import inspect
import math
from typing import TYPE_CHECKING, Any

import torch

from securefl.data.partition import Skew
from securefl.errors import ScenarioError
from securefl.scenario import adversary, catalog, channel, checks
from securefl.scenario.entries import PrefilterEntry, RuleEntry, parameters_of
from securefl.scenario.making.rule import make_rule, make_step
from securefl.scenario.planned import planned
from securefl.scenario.practice import check_practice, practice_of
from securefl.scenario.sites import data_options, partition_of, site_count, site_records, task_of, training_records

if TYPE_CHECKING:
    from securefl.scenario.scenario import Scenario
    from securefl.scenario.tables import Named


DEFAULT_SKEW = Skew(alpha=0.5, classes=2, minimum=1)


def check(scenario: "Scenario") -> None:
    """Refuse a scenario whose parts do not fit together.

    Raises:
        ScenarioError: one sentence that says what to change.
    """
    for step in (
        _names,
        _data,
        _model,
        _privacy,
        check_practice,
        _weights,
        channel.check,
        _defense,
        adversary.check,
        _server,
        _rehearsal,
    ):
        step(scenario)


def refuse_planned_channel(values: object) -> None:
    """Say that a channel is still to come, before its keys are found unknown. Raises ScenarioError."""
    table = values.get("channel") if isinstance(values, dict) else None
    if isinstance(table, dict) and table.get("kind") in planned("channel.kind"):
        checks.known("channel.kind", table["kind"], catalog.CHANNELS)


def fill_in(scenario: "Scenario", values: dict[str, Any]) -> None:
    """Write into the dumped scenario what partition, model, rule, attack and step do where nothing is said."""
    how = partition_of(scenario)
    takes = catalog.DEALS[how].takes if how in catalog.DEALS else ()
    skew = {key: getattr(scenario.data, key) or getattr(DEFAULT_SKEW, key) for key in takes}
    values["practice"] = practice_of(scenario)
    values["channel"] |= {"min_cohort": channel.min_cohort(scenario), **channel.options(scenario)}
    if scenario.weights == "reported" and catalog.CHANNELS[scenario.channel.kind].options:
        values["channel"]["max_weight"] = channel.max_weight(scenario)
    values["data"] |= {"partition": how, "clients": site_count(scenario), **skew, **data_options(scenario)}
    tables = [
        (values["model"], catalog.MODELS[scenario.model.name]),
        (values["defense"]["rule"], catalog.RULES[scenario.defense.rule.name].function),
        (values["server"], catalog.STEPS[scenario.server.step]),
    ]
    for table, one in zip(values["defense"]["prefilters"], scenario.defense.prefilters, strict=True):
        tables.append((table, catalog.PREFILTERS[one.name].function))
    if scenario.attack is not None:
        tables += [(values["attack"], function) for function in catalog.ATTACKS[scenario.attack.name].functions]
    for table, function in tables:
        for name, parameter in parameters_of(function).items():
            if (default := parameter.default) not in (inspect.Parameter.empty, None):
                table.setdefault(name, list(default) if isinstance(default, tuple) else default)


def _names(scenario: "Scenario") -> None:
    """Every name exists; what the design has for later says so."""
    checks.known("data.name", scenario.data.name, catalog.DATA)
    checks.known("model.name", scenario.model.name, catalog.MODELS)
    checks.known("training.kind", scenario.training.kind, ("sgd", "dp_sgd"))
    checks.known("channel.kind", scenario.channel.kind, catalog.CHANNELS)
    checks.known("defense.rule", scenario.defense.rule.name, catalog.RULES)
    checks.known("server.step", scenario.server.step, catalog.STEPS)
    if scenario.privacy is not None:
        checks.known("privacy.unit", scenario.privacy.unit, ("example",))
        checks.known("privacy.place", scenario.privacy.place, ("local",))
    if scenario.attack is not None:
        checks.known("attack.name", scenario.attack.name, catalog.ATTACKS)
    for prefilter in scenario.defense.prefilters:
        checks.known("defense.prefilters", prefilter.name, catalog.PREFILTERS)


def _model(scenario: "Scenario") -> None:
    """The model takes its parameters, and records of this kind; it is built without memory for its weights."""
    builder, parameters = catalog.MODELS[scenario.model.name], scenario.model.parameters
    checks.parameters("model", scenario.model.name, parameters, builder)

    def build() -> None:
        with torch.device("meta"):
            builder(task_of(scenario), generator=None, **parameters)

    checks.tried("model", build)


def _data(scenario: "Scenario") -> None:
    """The partition belongs to the data set, its keys to the partition, and no client is left without records."""
    data, entry, how = scenario.data, catalog.DATA[scenario.data.name], partition_of(scenario)
    checks.known("data.partition", how, tuple(dict.fromkeys((*entry.partitions, "pooled", *catalog.DEALS))))
    sites = site_count(scenario)
    if data.clients is not None and data.clients != sites:
        raise ScenarioError(f"data.clients: {data.name} with partition {how!r} has {sites} clients, got {data.clients}")
    if data.only is not None and (how == "pooled" or data.only >= sites):
        raise ScenarioError(f"data.only: there is no site {data.only} among {sites} with partition {how!r}")
    _held_out(scenario)
    takes = catalog.DEALS[how].takes if how in catalog.DEALS else ()
    for key in ("alpha", "classes", "minimum"):
        if getattr(data, key) is not None and key not in takes:
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
    if how in catalog.DEALS and catalog.DEALS[how].by_class and task_of(scenario).multilabel:
        raise ScenarioError(
            f"data.partition: {how} goes by the one class of a record, those of {data.name} bear several; "
            "use iid or quantity"
        )
    least = data.classes or DEFAULT_SKEW.classes if "classes" in takes else data.minimum or DEFAULT_SKEW.minimum
    records = training_records(scenario)
    if sites * least > records:
        ways = f"use at most {records // least} clients"
        if least > 1 and records >= sites:
            ways += f" or data.{'classes' if 'classes' in takes else 'minimum'} of at most {records // sites}"
        raise ScenarioError(
            f"data.clients: {sites} clients with {least} or more records each take {sites * least}, "
            f"{data.name} has {records} training records; {ways}"
        )


def _held_out(scenario: "Scenario") -> None:
    """The site held out is one of the data set's own, and no part of it trains."""
    data, entry, how = scenario.data, catalog.DATA[scenario.data.name], partition_of(scenario)
    if data.held_out is None:
        return
    sites = len(entry.partitions.get(entry.usual, ()))
    if how not in (entry.usual, "pooled") or sites < 2:
        raise ScenarioError(f"data.held_out needs sites of the data set's own, not {data.name} with partition {how!r}")
    if data.held_out >= sites or data.held_out == data.only:
        what = "it is the only one that trains" if data.held_out == data.only else f"there are {sites} sites"
        raise ScenarioError(f"data.held_out: site {data.held_out} cannot be held out, {what}")


def _privacy(scenario: "Scenario") -> None:
    """A finite epsilon has noise behind it, public counts, and a delta below 1/n."""
    privacy = scenario.privacy
    if privacy is None:
        return
    if not (0.01 <= privacy.epsilon <= 100 or privacy.epsilon == math.inf):
        raise ScenarioError(
            f"privacy.epsilon must be from 0.01 to 100, got {privacy.epsilon:g}; inf runs without a claim"
        )
    if scenario.training.kind == "sgd" and math.isfinite(privacy.epsilon):
        raise ScenarioError(
            f"privacy.epsilon = {privacy.epsilon:g} has no noise behind it with training.kind = 'sgd'; "
            "use 'dp_sgd', or remove the privacy table"
        )
    if scenario.training.kind == "sgd" and privacy.noise_multiplier is not None:
        raise ScenarioError("privacy.noise_multiplier has no effect with training.kind = 'sgd'; use 'dp_sgd'")
    if privacy.records is not None and len(privacy.records) != scenario.clients:
        raise ScenarioError(
            f"privacy.records has one entry a client: {scenario.clients} clients, got {len(privacy.records)} entries"
        )
    if scenario.training.kind == "sgd":
        return
    most = scenario.data.most
    if most is not None and scenario.claims_dp:
        raise ScenarioError(
            "data.most keeps an exact number of records: without one of them another would come in, "
            "two would change, and epsilon is for one; set data.share, which keeps each by a coin of "
            "its own, or privacy.epsilon = inf"
        )
    if most is not None and privacy.records is not None and max(privacy.records) > most:
        raise ScenarioError(
            f"privacy.records declares {max(privacy.records)} for a client, of which data.most keeps {most} at the most"
        )
    largest = max(scenario.site_records)
    if scenario.claims_dp and privacy.delta >= 1 / largest:
        raise ScenarioError(
            f"privacy.delta must be below 1/n = {1 / largest:g} for {largest} records, got {privacy.delta:g}; "
            "1e-5 is a usual choice"
        )


def _weights(scenario: "Scenario") -> None:
    """What clients report about themselves is never part of a DP run."""
    if scenario.weights == "reported" and scenario.claims_dp:
        raise ScenarioError(
            "weights = 'reported' would tell the real record counts beside a DP claim; use 'declared' or 'equal'"
        )
    if scenario.weights == "declared":
        site_records(scenario)


def _defense(scenario: "Scenario") -> None:
    """The rule gets the rows it needs."""
    rule = scenario.defense.rule
    entry = catalog.RULES[rule.name]
    kind, clients = scenario.channel.kind, scenario.cohort_size
    rows = catalog.CHANNELS[kind].rows(clients)
    _takes("defense.rule", rule, entry, scenario)
    for prefilter in scenario.defense.prefilters:
        if rows < clients:
            raise ScenarioError(
                f"defense.prefilters: {prefilter.name} takes every update, and {kind} reveals one sum: use "
                "prefilters = [], or channel.kind = 'plain'"
            )
        _takes("defense.prefilters", prefilter, catalog.PREFILTERS[prefilter.name], scenario)
    if rows < clients and not entry.weighted:
        raise ScenarioError(
            f"{rule.name} of the one sum that {kind} reveals would be the mean: use rule = 'mean', or "
            "channel.kind = 'plain', which shows every update"
        )
    before = [(one.name, one.parameters) for one in scenario.defense.prefilters]
    defend = make_rule(rule.name, rule.parameters, before)
    checks.tried("defense", lambda: defend(torch.zeros(rows, 1), torch.ones(rows)))


def _takes(place: str, chosen: "Named", entry: RuleEntry | PrefilterEntry, scenario: "Scenario") -> None:
    """A rule or pre-filter has its parameters, and the rows it needs."""
    checks.parameters(place, chosen.name, chosen.parameters, entry.function)
    f = chosen.parameters.get("f", 0)
    if f < 0:
        raise ScenarioError(f"{place}: f must be >= 0, got {f}")
    kind, clients = scenario.channel.kind, scenario.cohort_size
    rows, needed = catalog.CHANNELS[kind].rows(clients), entry.minimum_rows(f)
    ways = "a smaller f, more clients in a round, or" if rows == clients else "channel.kind = 'plain', or"
    if needed > rows:
        raise ScenarioError(
            f"{chosen.name} with f={f} needs {needed} rows, {kind} with {clients} clients reveals {rows}: "
            f"use {ways} a rule that needs fewer rows"
        )


def _server(scenario: "Scenario") -> None:
    """The step's hyper-parameters are its own."""
    step, parameters = scenario.server.step, scenario.server.parameters
    checks.parameters("server", step, parameters, catalog.STEPS[step])
    checks.tried("server", lambda: make_step(step, parameters)(torch.zeros(1), torch.zeros(1), {}))


def _rehearsal(scenario: "Scenario") -> None:
    """The client exists; labels that can be wrong are one a record."""
    if scenario.data.label_noise and task_of(scenario).multilabel:
        raise ScenarioError("data.label_noise: the records bear several labels each; use another data set")
    if scenario.rehearsal is not None and scenario.rehearsal.client >= scenario.clients:
        raise ScenarioError(
            f"rehearsal.client: there is no client {scenario.rehearsal.client} among {scenario.clients}"
        )
