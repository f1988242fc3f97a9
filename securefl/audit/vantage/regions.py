"""Regions: what the server of a region and the one above it know of a client.

    region:   inside, what its channel shows a server, in each of its rounds
    top:      the region's change of the model, which contains the client's update

Inside a region a client trains once in each inner round. The top knows an update exactly where it
is all that is in a row: of one client, in one inner round, by a rule that is a mean.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from securefl.audit.knowledge import Knowledge, Sight, Watching, counts_in_mean
from securefl.audit.vantage.looking import Looking
from securefl.audit.weights import weights_in_sum
from securefl.channels.protocol import Observation, Seen
from securefl.federation.record import RoundRecord
from securefl.scenario import catalog
from securefl.scenario.facts import Facts
from securefl.scenario.regions import regions_of

_UPDATES = (Seen.CLEAR_UPDATE, Seen.SUM_OF_UPDATES)


@dataclass
class _Training:
    """A training of the target: the model that it began with, and what was seen of its update."""

    model: Tensor | None
    moved: Tensor | None = None
    about: tuple[int, ...] = ()


@dataclass
class RegionWatcher:
    """Collects what a server inside a region, or the network, sees of a client's trainings.

    Args:
        parties: of which the adversary has the Observations.
        target: the client that it looks at.
        inner_rounds: in each round of the top.
        carried: client -> how much its update counts in a sum that a channel opens.
    """

    parties: frozenset[str]
    target: int
    inner_rounds: int
    carried: Mapping[int, float]
    _model: Tensor | None = None
    _trainings: list[_Training] = field(default_factory=list)  # of this round
    _inside: bool = False  # whether a training of the target's is going on
    _sights: list[Sight] = field(default_factory=list)

    def begin(self, start: Tensor) -> None:
        """Does nothing: whoever sees models sees the first one."""

    def observe(self, observation: Observation) -> None:
        """Notes when the target trains, which everybody knows, and what is seen of it."""
        party, kind = observation.party, observation.kind
        seen = observation.values if party in self.parties else None
        if party == f"client {self.target}" and kind == Seen.GLOBAL_MODEL:
            self._trainings.append(_Training(self._model))
            self._inside = True
        elif kind == Seen.GLOBAL_MODEL and seen is not None:
            self._model = seen
        elif kind == Seen.OWN_UPDATE and party.startswith("region"):
            # The row of a region to the top: its rounds are over.
            self._inside = False
        elif kind in _UPDATES and seen is not None and self.target in observation.about:
            self._note(observation.about, seen.float())

    def _note(self, about: tuple[int, ...], moved: Tensor) -> None:
        training = self._trainings[-1] if self._inside else None
        if training is not None:
            training.moved, training.about = moved, about

    def finish(self, record: RoundRecord) -> None:
        """Files the round's trainings under the numbers of their inner rounds."""
        first = record.round * self.inner_rounds
        for number, training in enumerate(self._trainings, start=first):
            alone = training.about == (self.target,)
            counts = {self.target: 1.0} if alone else self._counts(training.about)
            self._sights.append(Sight(number, training.model, training.moved, alone, counts))
        self._trainings, self._inside = [], False

    def _counts(self, members: tuple[int, ...]) -> dict[int, float] | None:
        """How much the updates of a sum's members count in it; None without a sum."""
        return {client: self.carried[client] for client in members} or None

    def known(self, final: Tensor) -> Knowledge:
        """Returns what is known once the run is over and final (d,) is its model."""
        return Knowledge(tuple(self._sights), final=final, asked=final)


@dataclass
class TopWatcher:
    """Collects the changes of the model that a client's region hands to the top.

    Args:
        target: the client that is looked at.
        inner_rounds: in each round.
        weights: client -> how much its update counts in its region's change; None where that is no
            mean of updates of one model.
    """

    target: int
    inner_rounds: int
    weights: Mapping[int, float] | None
    _model: Tensor | None = None
    _row: Tensor | None = None  # of this round, with the target's update in it
    _about: tuple[int, ...] = ()
    _sights: list[Sight] = field(default_factory=list)

    def begin(self, start: Tensor) -> None:
        """Does nothing: the top sees the first model."""

    def observe(self, observation: Observation) -> None:
        """Notes the top's model, and the row that contains the target's update."""
        values, about = observation.values, observation.about
        if observation.party != "top" or values is None:
            return
        if observation.kind == Seen.GLOBAL_MODEL:
            self._model = values
        elif observation.kind == Seen.CLEAR_UPDATE and self.target in about:
            self._row, self._about = values, about

    def finish(self, record: RoundRecord) -> None:
        """Files the round under the number of its first inner round."""
        counts = None
        if self._row is not None and self.weights is not None:
            counts = counts_in_mean(self.weights, self._about)
        alone = counts is not None and self._about == (self.target,)
        number = record.round * self.inner_rounds
        self._sights.append(Sight(number, self._model, self._row, alone, counts))
        self._row, self._about = None, ()

    def known(self, final: Tensor) -> Knowledge:
        """Returns what is known once the run is over and final (d,) is its model."""
        return Knowledge(tuple(self._sights), final=final, asked=final)


@dataclass(frozen=True)
class OverRegions:
    """The vantage of the server of the target's region, of the top, or of the network.

    Args:
        looking: who looks at whom.
    """

    looking: Looking
    why_not: str = ""
    coalition: tuple[int, ...] = ()
    own_model: bool = False

    @property
    def parties(self) -> frozenset[str]:
        """The server of the target's region, the top or the network."""
        number, _ = self._region_of(self.looking.target)
        return self.looking.threat.parties((), number)

    @property
    def why_together(self) -> str:
        """Says that a sum or a change of the model is seen; "" where updates are."""
        looking = self.looking
        if looking.threat.level != "top":
            inside = catalog.CHANNELS[looking.scenario.channel.kind].sees["server"]
            return "" if Seen.CLEAR_UPDATE in inside else "inside the region sums are seen only"
        _, region = self._region_of(looking.target)
        if len(region.members) == 1 and self._weights(region) is not None:
            return ""
        return "the top sees changes of a region's model; audit the client by --adversary region"

    def check(self) -> None:
        """Does nothing: no clients collude."""

    def watch(self, client: int) -> Watching:
        """Returns a collector of what the adversary sees of a client."""
        _, region = self._region_of(client)
        if self.looking.threat.level == "top":
            return TopWatcher(client, self._inner_rounds, self._weights(region))
        carried = weights_in_sum(region.public_weights or {}, region.max_weight)
        return RegionWatcher(self.parties, client, self._inner_rounds, carried)

    @property
    def _inner_rounds(self) -> int:
        return len(self.looking.scenario.facts.numbers_of(0))

    def _region_of(self, client: int) -> tuple[int, Facts]:
        """The number and the facts of a client's region."""
        scenario = self.looking.scenario
        regions = regions_of(scenario, scenario.facts).items()
        (found,) = [(number, region) for number, region in regions if client in region.members]
        return found

    def _weights(self, region: Facts) -> Mapping[int, float] | None:
        """How much updates count in a region's change; None where it is no mean of them."""
        is_mean = region.rule.entry.linear and not region.prefilters
        weights = region.public_weights
        if self._inner_rounds > 1 or not is_mean or weights is None:
            return None
        return {client: float(weight) for client, weight in weights.items()}
