"""The channel of a scenario: its keys in force, what it needs, and the plan that it is built from."""

from typing import TYPE_CHECKING, Any

import torch

from securefl.channels.protocol import Plan
from securefl.errors import ScenarioError
from securefl.rng import StreamFor, system_keystream
from securefl.scenario import catalog
from securefl.scenario.sites import task_of

if TYPE_CHECKING:
    from securefl.scenario.scenario import Scenario
    from securefl.scenario.tables import Failure

_OPTIONS = ("ring", "clip", "rounding", "corrupt", "max_weight", "secrets", "reveal_counts")
_OF_REPORTED_WEIGHTS = ("max_weight", "reveal_counts")
_LEAST_HONEST = 2  # of a sum that hides anything


def options(scenario: "Scenario") -> dict[str, Any]:
    """The options in force of the channel's kind, defaults filled in."""
    given = {key: getattr(scenario.channel, key) for key in catalog.CHANNELS[scenario.channel.kind].options}
    defaults = catalog.CHANNELS[scenario.channel.kind].options
    return {key: defaults[key] if value is None else value for key, value in given.items()}


def min_cohort(scenario: "Scenario") -> int:
    """Fewest updates that make a round: declared, or the channel's own, or two honest clients beside the corrupt."""
    if scenario.channel.min_cohort is not None:
        return scenario.channel.min_cohort
    corrupt: int | None = options(scenario).get("corrupt")
    return catalog.CHANNELS[scenario.channel.kind].min_cohort if corrupt is None else corrupt + _LEAST_HONEST


def client_weight(scenario: "Scenario", client: int, real_records: int | None) -> int:
    """The weight a client states: its real count only where weights are reported, a public number elsewhere."""
    if real_records is not None:
        return real_records
    return 1 if scenario.weights == "equal" else scenario.site_records[client]


def public_weights(scenario: "Scenario") -> dict[int, int] | None:
    """The weights the server goes by, whatever clients state; None where they are reported."""
    if scenario.weights == "reported":
        return None
    return {client: client_weight(scenario, client, None) for client in range(scenario.clients)}


def max_weight(scenario: "Scenario") -> int:
    """The largest weight a client may carry: of the public ones, or declared, or all records of the data set."""
    if (weights := public_weights(scenario)) is not None:
        return max(weights.values())
    return scenario.channel.max_weight or catalog.DATA[scenario.data.name].records


def plan(scenario: "Scenario", *, session: bytes, d: int, stream_for: StreamFor, config: bytes = b"") -> Plan:
    """What the channel of this scenario is built from."""
    return Plan(
        session=session,
        d=d,
        clients=tuple(range(scenario.clients)),
        cohort=scenario.cohort_size,
        rounds=scenario.rounds,
        min_cohort=min_cohort(scenario),
        weights=public_weights(scenario),
        max_weight=max_weight(scenario),
        stream_for=stream_for,
        config=config,
        missing=frozenset(scenario.simulate.missing),
    )


def check(scenario: "Scenario") -> None:
    """The channel takes its keys, the cohort is large enough, and simulated failures have a place.

    Raises:
        ScenarioError: one sentence that says what to change.
    """
    kind = scenario.channel.kind
    entry = catalog.CHANNELS[kind]
    takes = set(entry.options)
    if scenario.weights == "reported":
        takes |= {"max_weight"} if entry.options else set()
        takes |= {"reveal_counts"} if entry.shows_reported_weights else set()
    for key in _OPTIONS:
        if getattr(scenario.channel, key) is not None and key not in takes:
            beside = f"{kind} and weights = {scenario.weights!r}" if key in _OF_REPORTED_WEIGHTS else f"{kind}"
            raise ScenarioError(f"channel.{key} has no effect with {beside}; remove it")
    if "reveal_counts" in takes and not scenario.channel.reveal_counts:
        raise ScenarioError(
            f"weights = 'reported' shows the server each client's exact record count, under {kind}, too: say so with "
            "channel.reveal_counts = true, or use weights = 'equal' or 'declared'"
        )
    if scenario.cohort_size > scenario.clients:
        raise ScenarioError(f"cohort.size: {scenario.cohort_size} of {scenario.clients} clients cannot be invited")
    if (least := min_cohort(scenario)) > scenario.cohort_size:
        raise ScenarioError(f"channel.min_cohort: {least} exceeds the {scenario.cohort_size} clients of a round")
    try:
        terms(scenario)
    except ValueError as reason:
        raise ScenarioError(f"channel: {reason}") from None
    _check_failures(scenario, entry.stages)


def terms(scenario: "Scenario") -> Any:
    """What the clients of this scenario agree on, but for identities. Raises ValueError where it does not fit."""
    sketch = plan(
        scenario, session=b"", d=coordinates(scenario), stream_for=lambda purpose, client, round: system_keystream()
    )
    return catalog.CHANNELS[scenario.channel.kind].check(sketch, **options(scenario))


def coordinates(scenario: "Scenario") -> int:
    """How many an update has; the model is built without memory for its weights."""
    with torch.device("meta"):
        build = catalog.MODELS[scenario.model.name]
        model = build(task_of(scenario), generator=None, **scenario.model.parameters)
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _check_failures(scenario: "Scenario", stages: int) -> None:
    """Simulated failures happen to clients, rounds and stages that exist."""
    failures: tuple[Failure, ...] = (*scenario.simulate.drop, *scenario.simulate.late)
    for failure in failures:
        if failure.client >= scenario.clients:
            raise ScenarioError(f"simulate: there is no client {failure.client} among {scenario.clients}")
        if failure.round >= scenario.rounds:
            raise ScenarioError(f"simulate: there is no round {failure.round} among {scenario.rounds} (from 0)")
    if scenario.simulate.missing and not catalog.CHANNELS[scenario.channel.kind].set_up:
        raise ScenarioError(f"simulate.missing: {scenario.channel.kind} has no set-up that a client could miss")
    for client in scenario.simulate.missing:
        if client >= scenario.clients:
            raise ScenarioError(f"simulate: there is no client {client} among {scenario.clients}")
    for drop in scenario.simulate.drop:
        if drop.stage > stages:
            plural = "stage" if stages == 1 else "stages"
            raise ScenarioError(f"simulate.drop: {scenario.channel.kind} has {stages} {plural}, got stage {drop.stage}")
