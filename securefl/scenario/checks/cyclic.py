"""Whether nothing in a scenario needs a server that there is none of."""

from securefl.errors import ScenarioError
from securefl.scenario.declaration import Declaration
from securefl.scenario.facts import Facts
from securefl.scenario.topology_table import Topology


def check_cyclic(declared: Declaration, topology: Topology, facts: Facts) -> None:
    """Checks a scenario whose sites hand the model on in turn. Raises ScenarioError."""
    check_serverless(declared, topology, facts)
    prefix = no_server(topology)
    if facts.prefilters or not facts.rule.entry.linear:
        raise ScenarioError(
            f"{prefix}nobody has rows to compare, as defense.rule = {facts.rule.name!r} does; the "
            "last site can write anything; remove the table [defense]"
        )
    if facts.attack is not None and facts.attack.entry.rows is not None:
        raise ScenarioError(
            f"{prefix}attack.name = {facts.attack.name!r} changes rows on their way to one; use an "
            "attack on records or gradients"
        )


def check_serverless(declared: Declaration, topology: Topology, facts: Facts) -> None:
    """Checks what all topologies without a server refuse. Raises ScenarioError."""
    prefix = no_server(topology)
    if declared.channel.kind != "plain":
        raise ScenarioError(
            f"{prefix}sites hand each other whole models, and channel.kind = "
            f"{declared.channel.kind!r} hides updates from a server; use 'plain'"
        )
    if not facts.step.entry.adds_estimate(facts.step.parameters):
        raise ScenarioError(f"{prefix}nobody takes server.step = {facts.step.name!r}; remove it")
    if declared.weights == "reported":
        raise ScenarioError(f"{prefix}nobody is told weights = 'reported'; remove it")
    if declared.engine is not None and declared.engine.stack not in (None, "off"):
        raise ScenarioError(
            f"{prefix}engine.stack has no effect, as sites do not train from one model; remove it"
        )


def no_server(topology: Topology) -> str:
    """Returns the beginning of a refusal."""
    return f"topology.kind = {topology.kind!r} has no server: "
