"""An adversary that looks at a client of a federation in a topology."""

from dataclasses import dataclass
from typing import Protocol

from securefl.audit.knowledge import Watching
from securefl.audit.threats import ThreatModel
from securefl.scenario.scenario import Scenario
from securefl.scenario.topology_table import Topology


@dataclass(frozen=True)
class Looking:
    """Who looks at whom.

    Attributes:
        scenario: what the adversary looks at.
        topology: of the scenario.
        adversary: its name among the threat models.
        threat: its threat model.
        colluders: clients on its side, where it has any.
        target: the client that it looks at.
    """

    scenario: Scenario
    topology: Topology
    adversary: str
    threat: ThreatModel
    colluders: int = 1
    target: int = 0


class Vantage(Protocol):
    """The place from which an adversary looks at a client of a topology."""

    @property
    def why_not(self) -> str:
        """Why the scenario has no such adversary, in a sentence; "" where it has."""

    @property
    def coalition(self) -> tuple[int, ...]:
        """The clients on the adversary's side."""

    @property
    def parties(self) -> frozenset[str]:
        """The parties whose Observations it has."""

    @property
    def why_together(self) -> str:
        """Why no check from inside can use its sight of the target's updates; "" where one can."""

    @property
    def own_model(self) -> bool:
        """Whether it ends with a model of the target's own, and not with that of the run."""

    def check(self) -> None:
        """Raises ScenarioError for a coalition that there cannot be."""

    def watch(self, client: int) -> Watching:
        """Returns a collector of what the adversary sees of a client."""
