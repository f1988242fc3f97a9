"""Whether a simulated clock, over-selection and a deadline fit the clients and the channel."""

from securefl.errors import ScenarioError
from securefl.scenario.declaration import Declaration
from securefl.scenario.facts import Facts
from securefl.scenario.making.rule import fewest_rows


def check_clock(declared: Declaration, facts: Facts) -> None:
    """Checks simulate.speed, and the keys of [cohort] that need it. Raises ScenarioError."""
    speed, cohort, topology = declared.simulate.speed, declared.cohort, declared.topology
    over_select = None if cohort is None else cohort.over_select
    deadline = None if cohort is None else cohort.deadline
    for key, value in (("over_select", over_select), ("deadline", deadline)):
        if value is not None and topology is not None:
            raise ScenarioError(
                f"cohort.{key} has no effect with topology.kind = {topology.kind!r}; remove it"
            )
        if value is not None and speed is None:
            raise ScenarioError(
                f"cohort.{key} needs a simulated clock: set simulate.speed, one number a client"
            )
    entry = facts.topology
    if topology is not None and entry is not None and speed is not None and not entry.has_clock:
        raise ScenarioError(
            f"simulate.speed has no effect with topology.kind = {topology.kind!r}; remove it"
        )
    if speed is not None and len(speed) != facts.clients:
        raise ScenarioError(
            f"simulate.speed has one number a client: {facts.clients} clients, got {len(speed)} "
            "numbers"
        )
    if over_select is not None and facts.invited > facts.clients:
        raise ScenarioError(
            f"cohort.over_select = {over_select:g} of size {facts.cohort_size} invites "
            f"{facts.invited} of {facts.clients} clients; lower one of them"
        )


def check_enough(declared: Declaration, facts: Facts) -> None:
    """Checks that the updates which come in time can be enough. Raises ScenarioError.

    It needs terms of the channel that fit.
    """
    speed, cohort = declared.simulate.speed, declared.cohort
    if speed is None or cohort is None:
        return
    fewest = facts.channel.fewest
    needed = facts.min_cohort if fewest is None else fewest(facts.terms, facts.invited)
    if facts.invited > facts.cohort_size and facts.cohort_size < needed:
        raise ScenarioError(
            f"cohort.over_select: of {facts.invited} invited clients channel "
            f"{declared.channel.kind!r} needs {needed} updates, and a round takes "
            f"{facts.cohort_size}; lower over_select"
        )
    if cohort.deadline is None:
        return
    if facts.channel.shows_every_update:
        needed = max(needed, fewest_rows(facts.rule), *map(fewest_rows, facts.prefilters))
    in_time = sum(time <= cohort.deadline for time in speed)
    if in_time < needed:
        raise ScenarioError(
            f"cohort.deadline = {cohort.deadline}: {in_time or 'no'} clients are in time by their "
            f"simulate.speed, and a round needs {needed}; raise it"
        )
