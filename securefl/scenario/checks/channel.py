"""Whether the channel takes its keys, and cohorts and failures are possible."""

from securefl.errors import ScenarioError
from securefl.scenario.checks.clock import check_clock, check_enough
from securefl.scenario.checks.groups import check_groups
from securefl.scenario.declaration import Declaration
from securefl.scenario.facts import Facts
from securefl.scenario.simulate_table import Simulate
from securefl.scenario.tables import OPTIONS_OF_CHANNELS

_OF_REPORTED_WEIGHTS = ("max_weight", "reveal_counts")


def check_channel(declared: Declaration, facts: Facts) -> None:
    """Checks the tables [channel], [cohort] and [simulate].

    Raises:
        ScenarioError: one sentence that says what to change.
    """
    _check_keys(declared, facts)
    check_groups(facts)
    if declared.cohort is not None and declared.cohort.size > facts.clients:
        raise ScenarioError(
            f"cohort.size: {declared.cohort.size} of {facts.clients} clients cannot be invited"
        )
    check_clock(declared, facts)
    if facts.min_cohort > facts.cohort_size:
        raise ScenarioError(_too_few(declared, facts))
    try:
        _ = facts.terms  # a channel checks its terms itself
    except ValueError as reason:
        raise ScenarioError(f"channel: {reason}") from None
    _check_failures(declared, facts)
    check_enough(declared, facts)


def _too_few(declared: Declaration, facts: Facts) -> str:
    """Returns why a round has fewer clients than a sum needs, and what to do."""
    channel, needed, clients = declared.channel, facts.min_cohort, facts.cohort_size
    if channel.min_cohort is not None:
        return f"channel.min_cohort: {needed} exceeds the {clients} clients of a round"
    asks = f"channel.kind = {channel.kind!r}"
    way_out = "channel.kind = 'plain'"
    if declared.privacy is not None and declared.privacy.place == "distributed":
        way_out += " and privacy.place = 'local'"
    corrupt = facts.channel_options.get("corrupt")
    if corrupt is not None:
        asks += f" with channel.corrupt = {corrupt}"
        lower = corrupt - (needed - clients)  # each corrupt client asks for one more
        if lower >= 1:
            way_out = f"channel.corrupt = {lower}"
    return (
        f"{asks} needs {needed} clients or more in a round, and there are {clients}; "
        f"use {way_out}, or more clients"
    )


def _check_keys(declared: Declaration, facts: Facts) -> None:
    """Checks that options have an effect, and that counts are shown by consent."""
    channel, kind = declared.channel, facts.channel
    # A key without effect is refused: its author believes in a protection that is not there.
    takes = set(kind.options)
    if declared.weights == "reported" and kind.bounds_weights:
        takes.add("max_weight")
    if declared.weights == "reported" and kind.shows_reported_weights:
        takes.add("reveal_counts")
    for key in OPTIONS_OF_CHANNELS:
        if getattr(channel, key) is None or key in takes:
            continue
        situation = channel.kind
        if key in _OF_REPORTED_WEIGHTS:
            situation += f" and weights = {declared.weights!r}"
        raise ScenarioError(f"channel.{key} has no effect with {situation}; remove it")
    if "reveal_counts" in takes and not channel.reveal_counts:
        raise ScenarioError(
            "weights = 'reported' shows the server each client's exact record count, "
            f"under {channel.kind}, too: say so with channel.reveal_counts = true, "
            "or use weights = 'equal' or 'declared'"
        )


def _check_failures(declared: Declaration, facts: Facts) -> None:
    """Checks that simulated failures happen to clients, rounds and stages that exist."""
    simulate, kind = declared.simulate, declared.channel.kind
    stages = facts.channel.stages(**facts.channel_options)
    for client in _clients_of(simulate):
        if client >= facts.clients:
            raise ScenarioError(f"simulate: there is no client {client} among {facts.clients}")
    for failure in (*simulate.drop, *simulate.late):
        if failure.round >= declared.rounds:
            raise ScenarioError(
                f"simulate: there is no round {failure.round} among {declared.rounds} (from 0)"
            )
    if simulate.missing and not facts.channel.set_up:
        raise ScenarioError(f"simulate.missing: {kind} has no set-up that a client could miss")
    for drop in simulate.drop:
        if drop.stage > stages:
            plural = "stage" if stages == 1 else "stages"
            raise ScenarioError(
                f"simulate.drop: {kind} has {stages} {plural}, got stage {drop.stage}"
            )


def _clients_of(simulate: Simulate) -> list[int]:
    failures = [failure.client for failure in (*simulate.drop, *simulate.late)]
    return [*failures, *simulate.missing]
