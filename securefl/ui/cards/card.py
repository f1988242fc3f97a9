"""Gathers a model card from the files of a run; what is not in them was not measured."""

from collections.abc import Mapping
from typing import Any

from securefl.audit.lint import examine
from securefl.audit.threats import SERVER, THREATS, adversaries_in
from securefl.data.task import Task
from securefl.errors import ScenarioError, SecureflError
from securefl.files import read_json
from securefl.privacy.terms import place_called
from securefl.runs.folder import RunFolder
from securefl.runs.metrics import RunMetrics
from securefl.runs.refining.series import Series
from securefl.scenario import catalog
from securefl.scenario.adversary_words import adversary_words
from securefl.scenario.scenario import make_scenario
from securefl.ui.cards.intervals import Interval, auc_interval, wilson
from securefl.ui.cards.limits import Ground, limits

Resolved = Mapping[str, Any]
Card = dict[str, Any]  # ready for JSON

_TABLES = ("model", "training", "channel", "defense", "server", "topology")
_METRICS = ("accuracy", "balanced_accuracy", "auc", "mae", "rmse", "r2")


def card_of(series: Series, version: int) -> Card:
    """Returns the card of a version.

    Args:
        series: the versions of the model; a run that was never refined is the first of its own.
        version: its number.

    Raises:
        ScenarioError: there is no such version, or its run has not ended.
        RunFolderError: a file is damaged.
    """
    series.require(version)
    folder = RunFolder.open(series.run_of(version))
    _, scenario, cell = series.cell(version)
    metrics = cell.metrics()
    if metrics is None or not cell.status().state.ended:
        raise ScenarioError(f"{folder.path} did not end, so that there is nothing to say about it")
    environment = read_json(folder.path / "env.json")
    decision = series.decision(version)
    history = series.history()
    is_noisy = series.has_noisy_gate(version)
    (mistakes,) = examine(folder.path)
    task = _task(scenario)
    ground = Ground(
        scenario=scenario,
        metrics=metrics,
        end=cell.status().reason or "",
        is_audited=any(folder.path.glob("audit-*.json")),
        later=max(series.versions) > version,
        mistakes=tuple(finding.message for finding in mistakes.findings),
        withholds=is_noisy,
    )
    card: Card = {
        "version": version,
        "in_force": series.released == version,
        "starts_from": None if decision is None else decision.facts.get("start"),
        "decision": None if decision is None else {"kind": decision.kind, **decision.facts},
        "history": [[line.at, line.version, line.kind] for line in history],
        "run": cell.hash,
        "code": {key: environment.get(key) for key in ("securefl", "code", "python")},
        "data": _data(scenario),
        "scenario": {"rounds": scenario["rounds"], **{key: scenario.get(key) for key in _TABLES}},
        "metrics": _figures(metrics, task),
        "sites": {
            name: _figures(values, task) for name, values in metrics.get("sites", {}).items()
        },
        "privacy": _privacy(scenario, metrics),
        "who_saw": _who_saw(scenario),
        "limits": list(limits(ground)),
    }
    # What a noisy gate paid for would lie next to its exact value.
    return {**card, "metrics": {}, "sites": {}} if is_noisy else card


def _data(scenario: Resolved) -> dict[str, Any]:
    """Returns which records there were: names, digests and declared numbers, never real ones."""
    data = scenario["data"]
    privacy = scenario.get("privacy") or {}
    return {
        "name": data["name"],
        "digest": data.get("digest"),
        "partition": data["partition"],
        "clients": data["clients"],
        "share": data.get("share"),
        "harmonise": data.get("harmonise"),
        "crosswalk": data.get("crosswalk") is not None,
        "declared_records": privacy.get("records"),
    }


def _task(scenario: Resolved) -> Task | None:
    """Returns the task of the records; None where they are gone, as those of an early version."""
    try:
        return make_scenario(dict(scenario)).facts.task
    except SecureflError:
        return None


def _figures(values: Mapping[str, Any], task: Task | None) -> dict[str, Any]:
    """Returns metric -> value and interval, for the metrics that the run measured."""
    figures: dict[str, Any] = {"records": values.get("records")}
    for name in _METRICS:
        value = values.get(name)
        if value is not None:
            interval = _interval(name, value, values, task)
            ends = None if interval is None else list(interval)
            figures[name] = {"value": value, "interval": ends}
    return figures


def _interval(
    name: str, value: float, values: Mapping[str, Any], task: Task | None
) -> Interval | None:
    """Returns the interval of a metric; None where the figures do not give one."""
    records, majority = values.get("records"), values.get("majority")
    # Means over the models of several nodes are no shares of records.
    if records is None or majority is None or "worst" in values:
        return None
    # The mean over several labels is no share of records either, and some may judge nothing.
    if task is None or task.multilabel:
        return None
    if name == "accuracy":
        return wilson(value, records)
    if name == "auc" and task.classes == 2:
        largest = round(majority * records)
        return auc_interval(value, largest, records - largest)
    return None


def _privacy(scenario: Resolved, metrics: RunMetrics) -> dict[str, Any] | None:
    """Returns the claim, and what each client has spent of it and has left; None without."""
    if metrics.get("epsilon") is None:
        return None
    budget = scenario["privacy"]["epsilon"]
    clients = {
        client: {"spent": spent, "left": max(0.0, budget - spent)}
        for client, spent in metrics.get("epsilons", {}).items()
    }
    keys = ("unit", "place", "corrupt", "n_min", "delta", "noise", "seeded_before")
    channel = scenario["channel"]
    place = place_called(metrics.get("place") or "local", channel.get("corrupt"))
    return {
        "budget": budget,
        **{key: metrics.get(key) for key in keys},
        "adversary": adversary_words(place, catalog.CHANNELS[channel["kind"]]),
        "clients": clients,
    }


def _who_saw(scenario: Resolved) -> dict[str, list[str]]:
    """Returns who could see what: adversary -> kinds, of the run's channel and topology."""
    topology = scenario.get("topology") or {}
    kind = topology.get("kind", SERVER)
    # Where the server only waits for fewer clients, it sees what every server sees.
    entry = catalog.TOPOLOGIES.get(kind)
    reported = scenario["weights"] == "reported"
    channel = scenario["channel"]["kind"]
    choice = scenario["channel"].get("sketch") is not None
    seen = {}
    for name in adversaries_in(kind):
        model = THREATS[name]
        kinds = model.sees(channel, reported=reported, topology=entry, choice=choice)
        seen[f"{name}: {model.who}"] = [str(what) for what in kinds]
    return seen
