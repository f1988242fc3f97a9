"""Whether a federation without a server can be the rest of the scenario."""

from securefl.errors import ScenarioError
from securefl.scenario.declaration import Declaration
from securefl.scenario.facts import Facts

_NO_SERVER = "topology.kind = {!r} has no server: "


def check_topology(declared: Declaration, facts: Facts) -> None:
    """Checks that nothing in the scenario needs a server that there is none of.

    Raises:
        ScenarioError: one sentence that says what to change.
    """
    topology, entry = declared.topology, facts.topology
    if topology is None or entry is None:
        return
    if topology.order is not None and not entry.ordered:
        raise ScenarioError(f"topology.order has no effect with {topology.kind!r}; remove it")
    prefix = _NO_SERVER.format(topology.kind)
    if declared.channel.kind != "plain":
        raise ScenarioError(
            f"{prefix}sites hand each other whole models, and channel.kind = "
            f"{declared.channel.kind!r} hides updates from a server; use 'plain'"
        )
    if facts.prefilters or not facts.rule.entry.linear:
        raise ScenarioError(
            f"{prefix}nobody has rows to compare, as defense.rule = {facts.rule.name!r} does; the "
            "last site can write anything; remove the table [defense]"
        )
    if not facts.step.entry.adds_estimate(facts.step.parameters):
        raise ScenarioError(f"{prefix}nobody takes server.step = {facts.step.name!r}; remove it")
    if not facts.algorithm.averages:
        raise ScenarioError(
            f"{prefix}training.algorithm = {declared.training.algorithm!r} needs one; use 'fedavg' "
            "or 'fedprox'"
        )
    if declared.weights == "reported":
        raise ScenarioError(f"{prefix}nobody is told weights = 'reported'; remove it")
    if declared.engine is not None and declared.engine.stack not in (None, "off"):
        raise ScenarioError(
            f"{prefix}engine.stack has no effect, as sites train in turn; remove it"
        )
    if facts.attack is not None and facts.attack.entry.rows is not None:
        raise ScenarioError(
            f"{prefix}attack.name = {facts.attack.name!r} changes rows on their way to one; use an "
            "attack on records or gradients"
        )
