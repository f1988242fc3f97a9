"""Sites in turn: what is known of a site's update by the models before and after its visit.

    known models:   x0 -- site 1 -- site 2 -- x2 -- site 3 -- x3
    site 3 is known exactly:   x3 - x2
    sites 1 and 2 in sum:      x2 - x0

A model is known to the site that is handed it, and to the one that hands it on. The first model of
a run is public, and the last one is what the federation made.
"""

from dataclasses import dataclass, field

from torch import Tensor

from securefl.audit.knowledge import Knowledge, Sight, Watching
from securefl.audit.vantage.looking import Looking
from securefl.channels.protocol import Observation, Seen
from securefl.errors import ScenarioError
from securefl.federation.record import RoundRecord

MAX_SITES = 2  # on the adversary's side: these know the update between them exactly


@dataclass
class _Visit:
    """A visit of a site: the model (d,) that it was handed and its update, where they are seen."""

    site: int
    handed: Tensor | None
    own: Tensor | None = None


@dataclass
class _Stretch:
    """The way since the last model (d,) that is known: the rounds and sites of its visits."""

    model: Tensor | None = None
    visits: tuple[tuple[int, int], ...] = ()


@dataclass
class CyclicWatcher:
    """Collects the models before and after the visits of a site.

    A sight is of the first of the site's visits between two models that are known.

    Args:
        parties: of which the adversary has the Observations.
        target: the site that it looks at.
    """

    parties: frozenset[str]
    target: int
    _stretch: _Stretch = field(default_factory=_Stretch)
    _visits: list[_Visit] = field(default_factory=list)  # of this round
    _on_its_way: Tensor | None = None
    _models: dict[int, Tensor | None] = field(default_factory=dict)  # first one known in a round
    _sights: dict[int, Sight] = field(default_factory=dict)

    def begin(self, start: Tensor) -> None:
        """Takes the public model (d,) that the first site begins with."""
        self._stretch = _Stretch(start)

    def observe(self, observation: Observation) -> None:
        """Notes who is visited, which everybody knows, and the models and updates that are seen."""
        party, values = observation.party, observation.values
        seen = values if party in self.parties else None
        if observation.kind == Seen.OWN_UPDATE:
            self._visits[-1].own = seen
        elif observation.kind == Seen.GLOBAL_MODEL and party == "network":
            self._on_its_way = seen  # to the site that is visited next
        elif observation.kind == Seen.GLOBAL_MODEL:
            handed = self._on_its_way if seen is None else seen
            self._visits.append(_Visit(_site_of(party), handed))
            self._on_its_way = None

    def finish(self, record: RoundRecord) -> None:
        """Follows the model through the round. After an abandoned one it is what it was before."""
        before = self._stretch
        handed = [visit.handed for visit in self._visits if visit.handed is not None]
        self._models[record.round] = handed[0] if handed else None
        for visit in self._visits:
            if visit.handed is not None:
                self._know(visit.handed)
            # The model goes on without a site that failed.
            if visit.site in record.absent:
                continue
            visits = (*self._stretch.visits, (record.round, visit.site))
            self._stretch = _Stretch(self._stretch.model, visits)
            if visit.handed is not None and visit.own is not None:
                self._know(visit.handed + visit.own)
        if record.abandoned:
            self._stretch = before
        self._visits = []

    def known(self, final: Tensor) -> Knowledge:
        """Returns what is known once the run is over and final (d,) is its model."""
        self._know(final)
        return Knowledge(
            tuple(
                self._sights.get(round, Sight(round, model, None, alone=False))
                for round, model in self._models.items()
            ),
            final=final,
            asked=final,
        )

    def _know(self, model: Tensor) -> None:
        """Ends the stretch at a model (d,) that is known."""
        before, visits = self._stretch.model, self._stretch.visits
        self._stretch = _Stretch(model)
        rounds = [round for round, site in visits if site == self.target]
        if before is None or not rounds:
            return
        sites = [site for _, site in visits]
        # Two updates of one site are of two models, and no multiple of either.
        counts = dict.fromkeys(sites, 1.0) if len(set(sites)) == len(sites) else None
        alone = sites == [self.target]
        sight = Sight(rounds[0], before, model - before, alone, counts)
        # A round that was abandoned may have shown its first part already.
        self._sights.setdefault(rounds[0], sight)


def _site_of(party: str) -> int:
    return int(party.removeprefix("client "))


@dataclass(frozen=True)
class InTurn:
    """The vantage of one or two sites next to the target, or of the network.

    Args:
        looking: who looks at whom.
    """

    looking: Looking
    own_model: bool = False

    @property
    def why_not(self) -> str:
        """Says that a random order has no next site; "" for others."""
        looking = self.looking
        if not looking.threat.clients or looking.topology.order != "random":
            return ""
        return (
            f"--adversary: {looking.adversary!r} is one site, and with topology.order = 'random' "
            "another one is next in each round; use order = 'fixed', or 'network', which sees "
            "all models"
        )

    @property
    def coalition(self) -> tuple[int, ...]:
        """The site after the target in the fixed order, then the one before it."""
        if not self.looking.threat.clients:
            return ()
        target, sites = self.looking.target, self.looking.scenario.clients
        around = ((target + 1) % sites, (target - 1) % sites)
        return around[: self.looking.colluders]

    @property
    def parties(self) -> frozenset[str]:
        """The parties of the coalition, or the network."""
        return self.looking.threat.parties(self.coalition)

    @property
    def why_together(self) -> str:
        """Says that a single site sees sums; "" where nobody else is between two visits."""
        looking = self.looking
        sites_around = min(MAX_SITES, looking.scenario.clients - 1)
        if looking.threat.network or looking.colluders == sites_around:
            return ""
        return (
            "the sites between two visits of this adversary are seen in sum; with --colluders=2 "
            "the client's update is seen by itself"
        )

    def check(self) -> None:
        """Raises ScenarioError unless one or two sites collude."""
        looking = self.looking
        if looking.threat.clients and looking.colluders > MAX_SITES:
            raise ScenarioError(
                f"--colluders: the sites after and before client {looking.target} know its update "
                f"exactly, and no more are next to it; at most {MAX_SITES}, got "
                f"{looking.colluders}"
            )

    def watch(self, client: int) -> Watching:
        """Returns a collector of what the adversary sees of a site."""
        return CyclicWatcher(self.parties, client)
