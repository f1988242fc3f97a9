"""The channel takes its keys, the cohort is large enough, and simulated failures have a place."""

from securefl.errors import ScenarioError
from securefl.scenario import catalog
from securefl.scenario.declaration import Declaration
from securefl.scenario.facts import Facts
from securefl.scenario.making.channel import terms_of
from securefl.scenario.tables import Failure

_OPTIONS = ("ring", "clip", "rounding", "corrupt", "max_weight", "secrets", "reveal_counts")
_OF_REPORTED_WEIGHTS = ("max_weight", "reveal_counts")


def check_channel(declared: Declaration, facts: Facts) -> None:
    """The channel takes its keys, the cohort is large enough, and simulated failures have a place.

    Raises:
        ScenarioError: one sentence that says what to change.
    """
    kind = declared.channel.kind
    entry = catalog.CHANNELS[kind]
    takes = set(entry.options)
    if declared.weights == "reported":
        takes |= {"max_weight"} if entry.options else set()
        takes |= {"reveal_counts"} if entry.shows_reported_weights else set()
    for key in _OPTIONS:
        if getattr(declared.channel, key) is not None and key not in takes:
            beside = (
                f"{kind} and weights = {declared.weights!r}"
                if key in _OF_REPORTED_WEIGHTS
                else f"{kind}"
            )
            raise ScenarioError(f"channel.{key} has no effect with {beside}; remove it")
    if "reveal_counts" in takes and not declared.channel.reveal_counts:
        raise ScenarioError(
            f"weights = 'reported' shows the server each client's exact record count, under {kind}, too: say so with "
            "channel.reveal_counts = true, or use weights = 'equal' or 'declared'"
        )
    if facts.cohort_size > facts.clients:
        raise ScenarioError(
            f"cohort.size: {facts.cohort_size} of {facts.clients} clients cannot be invited"
        )
    if (least := facts.min_cohort) > facts.cohort_size:
        raise ScenarioError(
            f"channel.min_cohort: {least} exceeds the {facts.cohort_size} clients of a round"
        )
    try:
        terms_of(declared, facts)
    except ValueError as reason:
        raise ScenarioError(f"channel: {reason}") from None
    _check_failures(declared, facts, entry.stages)


def _check_failures(declared: Declaration, facts: Facts, stages: int) -> None:
    """Simulated failures happen to clients, rounds and stages that exist."""
    failures: tuple[Failure, ...] = (*declared.simulate.drop, *declared.simulate.late)
    for failure in failures:
        if failure.client >= facts.clients:
            raise ScenarioError(
                f"simulate: there is no client {failure.client} among {facts.clients}"
            )
        if failure.round >= declared.rounds:
            raise ScenarioError(
                f"simulate: there is no round {failure.round} among {declared.rounds} (from 0)"
            )
    if declared.simulate.missing and not catalog.CHANNELS[declared.channel.kind].set_up:
        raise ScenarioError(
            f"simulate.missing: {declared.channel.kind} has no set-up that a client could miss"
        )
    for client in declared.simulate.missing:
        if client >= facts.clients:
            raise ScenarioError(f"simulate: there is no client {client} among {facts.clients}")
    for drop in declared.simulate.drop:
        if drop.stage > stages:
            plural = "stage" if stages == 1 else "stages"
            raise ScenarioError(
                f"simulate.drop: {declared.channel.kind} has {stages} {plural}, got stage {drop.stage}"
            )
