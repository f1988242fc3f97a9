"""Whether groups, whose sums are the rows of a rule, are many enough and large enough."""

from securefl.channels.kind import Kind
from securefl.errors import ScenarioError
from securefl.scenario.checks.parameters import check_parameters
from securefl.scenario.chosen import Chosen
from securefl.scenario.entries import PrefilterEntry, RuleEntry
from securefl.scenario.facts import Facts
from securefl.scenario.making.rule import corrupt_rows

_MAX_GROUP = 128  # clients: each deals shares to all others of its sum


def check_groups(facts: Facts) -> None:
    """Checks channel.groups and channel.regroup, before the terms of the channel are computed.

    Raises:
        ScenarioError: one sentence that says what to change.
    """
    options = facts.channel_options
    groups: int | None = options.get("groups")
    if groups is None:
        if options.get("regroup") is not None:
            raise ScenarioError(
                "channel.regroup has an effect with channel.groups only; remove it, or set groups"
            )
        return
    if options.get("sketch") is not None:
        raise ScenarioError(
            "channel.groups and channel.sketch are two ways to apply a rule to masked updates; "
            "remove one of them"
        )
    if groups < 2:
        raise ScenarioError(
            "channel.groups = 1 is the one sum that there is without it; remove it, or use more"
        )
    _check_deal(facts)
    _check_sizes(groups, facts)
    for place, chosen in _with_f(facts):
        check_parameters(place, chosen)  # or there may be no f to compare
        if 2 * corrupt_rows(chosen) >= groups:
            raise ScenarioError(f"{place}: {_too_few(groups, chosen, facts)}")


def _check_deal(facts: Facts) -> None:
    """Checks that groups which are dealt once can stay the same."""
    if facts.channel_options.get("regroup") == "each_round" or facts.invited == len(facts.members):
        return
    if facts.buffer is not None:
        return  # refused with the topology
    # The invited are dealt in one order, so that other cohorts make other groups.
    raise ScenarioError(
        f"channel.groups: with {facts.invited} of {facts.clients} clients in a round, each round "
        "has other groups, which tell about single clients; remove the table [cohort], or accept "
        "that with channel.regroup = 'each_round'"
    )


def _check_sizes(groups: int, facts: Facts) -> None:
    """Checks that every group is a sum that hides its clients, and small enough for one."""
    smallest, largest = facts.invited // groups, -(-facts.invited // groups)
    needed = _fewest(facts)
    if smallest < needed:
        possible = facts.invited // needed
        way_out = f"channel.groups = {possible}" if possible > 1 else f"{2 * needed} clients"
        raise ScenarioError(
            f"channel.groups = {groups}: the smallest group of {facts.invited} clients has "
            f"{smallest}, and {_reason(facts)} takes {needed}; use {way_out}"
            f"{' or fewer' if possible > 1 else ' or more'}, or channel.sketch, which needs no "
            "groups"
        )
    if largest > _MAX_GROUP:
        raise ScenarioError(
            f"channel.groups = {groups}: a group has up to {largest} clients, and a sum takes "
            f"{_MAX_GROUP}; use channel.groups = {-(-facts.invited // _MAX_GROUP)} or more"
        )


def _reason(facts: Facts) -> str:
    """Returns which keys decide how many clients a sum takes."""
    corrupt = facts.channel_options.get("corrupt")
    if facts.min_cohort > usual_min_cohort(facts.channel, facts):
        return f"a sum with min_cohort = {facts.min_cohort}"
    return f"a sum with channel.corrupt = {corrupt}"


def usual_min_cohort(channel: Kind, facts: Facts) -> int:
    """Returns the fewest updates of a sum where the scenario names no number."""
    return channel.min_cohort(**facts.channel_options)


def _fewest(facts: Facts) -> int:
    """Returns how many clients a group must have."""
    return max(facts.min_cohort, usual_min_cohort(facts.channel, facts))


def _with_f(facts: Facts) -> list[tuple[str, Chosen[RuleEntry] | Chosen[PrefilterEntry]]]:
    """Returns rule and pre-filters, each with its place in the scenario."""
    return [
        ("defense.rule", facts.rule),
        *(("defense.prefilters", prefilter) for prefilter in facts.prefilters),
    ]


def _too_few(groups: int, chosen: Chosen[RuleEntry] | Chosen[PrefilterEntry], facts: Facts) -> str:
    """Returns why a rule cannot withstand so many liars in so few groups, and what to do."""
    f = corrupt_rows(chosen)
    liars = "1 liar" if f == 1 else f"{f} liars"
    return (
        f"{chosen.name} with f={f} withstands {liars}, each of which spoils one group, if there "
        f"are more than {2 * f} groups, and channel.groups = {groups}; use a smaller f, "
        f"{more_groups(2 * f + 1, facts)}"
    )


def more_groups(needed: int, facts: Facts) -> str:
    """Returns how a masked channel gets a rule so many rows, as the end of a sentence."""
    clients = needed * _fewest(facts)
    if clients <= facts.invited:
        return f"channel.groups = {needed} or more, or channel.sketch instead of groups"
    corrupt = facts.channel_options.get("corrupt")
    return (
        f"channel.groups = {needed} with {clients} clients or more, since a group has "
        f"{_fewest(facts)} with channel.corrupt = {corrupt}, or channel.sketch instead of groups"
    )
