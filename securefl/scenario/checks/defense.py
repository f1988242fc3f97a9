"""Whether pre-filters and rule get the rows they need."""

import torch

from securefl.errors import ScenarioError
from securefl.scenario import catalog
from securefl.scenario.checks.groups import more_groups
from securefl.scenario.checks.parameters import check_parameters, tried
from securefl.scenario.checks.sketch import check_choice
from securefl.scenario.chosen import Chosen
from securefl.scenario.declaration import Declaration
from securefl.scenario.entries import PrefilterEntry, RuleEntry
from securefl.scenario.facts import Facts
from securefl.scenario.making.rule import corrupt_rows, fewest_rows, rule_of


def check_defense(declared: Declaration, facts: Facts) -> None:
    """Checks that pre-filters and rule get the parameters and rows they need.

    Raises:
        ScenarioError: one sentence that says what to change.
    """
    if facts.topology is not None and facts.topology.around:
        return  # each node has a rule of its own, which is checked with the topology
    if facts.selects:
        check_choice(declared, facts)
        return
    rule, channel = facts.rule, declared.channel.kind
    if rule.entry.for_peers_only:
        raise ScenarioError(
            f"defense.rule = {rule.name!r} takes a row of a node's own, which no server has: set "
            "topology.kind = 'peer', or use another rule"
        )
    # Over a single row every rule returns that row, whatever protection its name promises.
    one_sum = facts.rows == 1 < facts.cohort_size
    _check_rows("defense.rule", facts.rule, channel, facts)
    for prefilter in facts.prefilters:
        if one_sum:
            raise ScenarioError(
                f"defense.prefilters: {prefilter.name} takes every update, and {channel} reveals "
                f"one sum: use prefilters = [], or {_open_channels()}{_or_groups(facts)}"
            )
        _check_rows("defense.prefilters", prefilter, channel, facts)
    if one_sum and not rule.entry.weighted:
        raise ScenarioError(
            f"{rule.name} of the one sum that {channel} reveals would be the mean: "
            f"use rule = 'mean', or {_open_channels()}, which shows every update"
            f"{_or_groups(facts)}"
        )
    # Zeros reach the checks of the rule itself, and tell nothing about records.
    defend = rule_of(facts)
    tried("defense", lambda: defend(torch.zeros(facts.rows, 1), torch.ones(facts.rows)))


def _check_rows(
    place: str, chosen: Chosen[RuleEntry] | Chosen[PrefilterEntry], channel: str, facts: Facts
) -> None:
    """Checks that a rule or pre-filter has its parameters, and rows for its f."""
    check_parameters(place, chosen)
    f = corrupt_rows(chosen)
    if f < 0:
        raise ScenarioError(f"{place}: f must be >= 0, got {f}")
    needed = tried(place, lambda: fewest_rows(chosen))
    if needed <= facts.rows:
        return
    ways = ["a smaller f", "more clients in a round"]
    if facts.rows == 1 < facts.cohort_size:
        ways = [f"{_open_channels()}{_or_groups(facts)}"]
    reveals = f"{channel} with {facts.cohort_size} clients reveals {facts.rows}"
    if facts.channel_options.get("groups") is not None:
        ways = ["a smaller f", more_groups(needed, facts)]
        reveals = f"{channel} with {facts.invited} clients reveals {facts.rows} groups"
    if facts.buffer is not None:
        ways = ["a smaller f", "a larger topology.buffer"]
        reveals = f"a buffer has {facts.buffer}"
    raise ScenarioError(
        f"{chosen.name} with f={f} needs {needed} rows, {reveals}: "
        f"use {', '.join(ways)}, or a rule that needs fewer rows"
    )


def _open_channels() -> str:
    """Returns the setting that lets a rule see every update."""
    names = [name for name, kind in catalog.CHANNELS.items() if kind.shows_every_update]
    return f"channel.kind = {' or '.join(map(repr, names))}"


def _or_groups(facts: Facts) -> str:
    """Returns the other way to get rows, where the channel has it."""
    return (
        ", or channel.groups, whose sums are the rows" if "groups" in facts.channel.options else ""
    )
