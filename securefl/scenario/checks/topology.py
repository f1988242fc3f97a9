"""Whether a federation in another topology than a server's can be the rest of the scenario."""

from collections.abc import Callable, Mapping

from securefl.errors import ScenarioError
from securefl.scenario.checks.cyclic import check_cyclic
from securefl.scenario.checks.fedbuff import check_fedbuff
from securefl.scenario.checks.hierarchical import check_hierarchical
from securefl.scenario.checks.peer import check_peer
from securefl.scenario.declaration import Declaration
from securefl.scenario.facts import Facts
from securefl.scenario.topology_table import Topology

CHECKS: Mapping[str, Callable[[Declaration, Topology, Facts], None]] = {
    "cyclic": check_cyclic,
    "peer": check_peer,
    "hierarchical": check_hierarchical,
    "fedbuff": check_fedbuff,
}


def check_topology(declared: Declaration, facts: Facts) -> None:
    """Checks that nothing in the scenario needs what its topology does not have.

    Raises:
        ScenarioError: one sentence that says what to change.
    """
    topology, entry = declared.topology, facts.topology
    if topology is None or entry is None:
        return
    for key in topology.given:
        if key not in entry.takes:
            raise ScenarioError(f"topology.{key} has no effect with {topology.kind!r}; remove it")
    if topology.order is not None and topology.order not in entry.orders:
        raise ScenarioError(
            f"topology.order = {topology.order!r} is none of {topology.kind!r}; use "
            f"{' or '.join(map(repr, entry.orders))}"
        )
    CHECKS[topology.kind](declared, topology, facts)


def check_algorithm(declared: Declaration, facts: Facts) -> None:
    """Checks that the algorithm can do without one server and all its clients in lockstep.

    It comes before whatever is computed from the algorithm, which takes one server for granted.

    Raises:
        ScenarioError: it cannot.
    """
    topology = declared.topology
    if topology is None or facts.algorithm.averages:
        return
    raise ScenarioError(
        f"topology.kind = {topology.kind!r}: training.algorithm = "
        f"{declared.training.algorithm!r} needs one server, of whose model all clients train in "
        "each round; use 'fedavg' or 'fedprox'"
    )
