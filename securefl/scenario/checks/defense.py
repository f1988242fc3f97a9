"""The rule gets the rows it needs, and the server's step its hyper-parameters."""

import torch

from securefl.errors import ScenarioError
from securefl.scenario import catalog
from securefl.scenario.checks.parameters import parameters, tried
from securefl.scenario.declaration import Declaration
from securefl.scenario.entries import PrefilterEntry, RuleEntry
from securefl.scenario.facts import Facts
from securefl.scenario.making.rule import make_rule, make_step
from securefl.scenario.tables import Named


def check_defense(declared: Declaration, facts: Facts) -> None:
    """The rule gets the rows it needs."""
    rule = declared.defense.rule
    entry = catalog.RULES[rule.name]
    kind, clients = declared.channel.kind, facts.cohort_size
    rows = catalog.CHANNELS[kind].rows(clients)
    _takes("defense.rule", rule, entry, declared, facts)
    for prefilter in declared.defense.prefilters:
        if rows < clients:
            raise ScenarioError(
                f"defense.prefilters: {prefilter.name} takes every update, and {kind} reveals one sum: use "
                "prefilters = [], or channel.kind = 'plain'"
            )
        _takes("defense.prefilters", prefilter, catalog.PREFILTERS[prefilter.name], declared, facts)
    if rows < clients and not entry.weighted:
        raise ScenarioError(
            f"{rule.name} of the one sum that {kind} reveals would be the mean: use rule = 'mean', or "
            "channel.kind = 'plain', which shows every update"
        )
    before = [(one.name, one.parameters) for one in declared.defense.prefilters]
    defend = make_rule(rule.name, rule.parameters, before)
    tried("defense", lambda: defend(torch.zeros(rows, 1), torch.ones(rows)))


def _takes(
    place: str,
    chosen: Named,
    entry: RuleEntry | PrefilterEntry,
    declared: Declaration,
    facts: Facts,
) -> None:
    """A rule or pre-filter has its parameters, and the rows it needs."""
    parameters(place, chosen.name, chosen.parameters, entry.function)
    f = chosen.parameters.get("f", 0)
    if f < 0:
        raise ScenarioError(f"{place}: f must be >= 0, got {f}")
    kind, clients = declared.channel.kind, facts.cohort_size
    rows, needed = catalog.CHANNELS[kind].rows(clients), entry.minimum_rows(f)
    ways = (
        "a smaller f, more clients in a round, or"
        if rows == clients
        else "channel.kind = 'plain', or"
    )
    if needed > rows:
        raise ScenarioError(
            f"{chosen.name} with f={f} needs {needed} rows, {kind} with {clients} clients reveals {rows}: "
            f"use {ways} a rule that needs fewer rows"
        )


def check_server(declared: Declaration, facts: Facts) -> None:
    """The step's hyper-parameters are its own."""
    step, given = declared.server.step, declared.server.parameters
    parameters("server", step, given, catalog.STEPS[step])
    tried("server", lambda: make_step(step, given)(torch.zeros(1), torch.zeros(1), {}))
