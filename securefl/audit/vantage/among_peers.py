"""The vantage of a node's neighbours, or of the network between peers."""

from dataclasses import dataclass

from securefl.audit.knowledge import Watching
from securefl.audit.vantage.looking import Looking
from securefl.audit.vantage.peers import PeerWatcher
from securefl.errors import ScenarioError
from securefl.federation.topologies.meeting import Meeting
from securefl.scenario.making.graph import meeting_of


@dataclass(frozen=True)
class AmongPeers:
    """The vantage of neighbours of the target, the first ones in the graph, or of the network.

    Args:
        looking: who looks at whom.
    """

    looking: Looking
    why_not: str = ""

    @property
    def coalition(self) -> tuple[int, ...]:
        """The first neighbours of the target."""
        if not self.looking.threat.clients:
            return ()
        return self._around[: self.looking.colluders]

    @property
    def parties(self) -> frozenset[str]:
        """The parties of the coalition, or the network."""
        return self.looking.threat.parties(self.coalition)

    @property
    def why_together(self) -> str:
        """Says what hides an update behind a mixture, or more rounding than a check can have."""
        meeting, network = self._meeting, self.looking.threat.network
        if meeting.momentum:
            return "nodes send momenta, from which updates follow with too much rounding"
        if meeting.beside:
            return "in the order of D-PSGD nobody is sent the last update"
        heard = {other for node in self.coalition for other in meeting.graph.neighbors[node]}
        around = set(self._around)
        if network or (around <= heard.union(self.coalition) and not around & self._liars):
            return ""
        return (
            "of all that the node hears some rows are unknown to these neighbours, so that they "
            "see its updates mixed with those; take more --colluders or another graph"
        )

    @property
    def own_model(self) -> bool:
        """Whether it is a party: these end with the last model that the target sent."""
        return bool(self.parties)

    def check(self) -> None:
        """Raises ScenarioError for more neighbours than the target has."""
        looking, degree = self.looking, len(self._around)
        if looking.threat.clients and looking.colluders > degree:
            raise ScenarioError(
                f"--colluders: client {looking.target} has {degree} neighbours, got "
                f"{looking.colluders}"
            )

    def watch(self, client: int) -> Watching:
        """Returns a collector of what the adversary sees of a node."""
        return PeerWatcher(self.parties, self.coalition, client, self._meeting, self._liars)

    @property
    def _meeting(self) -> Meeting:
        scenario = self.looking.scenario
        return meeting_of(scenario, self.looking.topology, scenario.facts, {})

    @property
    def _around(self) -> tuple[int, ...]:
        """The neighbours of the target."""
        return self._meeting.graph.neighbors[self.looking.target]

    @property
    def _liars(self) -> frozenset[int]:
        """The nodes that may send each neighbour another row: what one heard says nothing then."""
        scenario = self.looking.scenario
        attack = scenario.facts.attack
        if scenario.attack is None or attack is None or attack.entry.rows is None:
            return frozenset()
        return frozenset(scenario.attack.clients)
