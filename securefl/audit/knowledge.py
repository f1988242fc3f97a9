"""What an adversary knows about one client, from its Observations and from nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from torch import Tensor

from securefl.audit.threats import FINAL, ThreatModel
from securefl.channels.protocol import Observation, Observer, Seen
from securefl.federation.record import RoundRecord

SUMS = (Seen.SUM_OF_UPDATES, Seen.OPENED_SUM)


@dataclass(frozen=True)
class Sight:
    """What is known of one round.

    Attributes:
        round: its number; inside a region that of the inner round, under which its clients train.
        model: (d,), the global model that the clients started from; None where it is not seen. In
            topologies without one, the last model that is known before the target trained.
        moved: (d,), the target's update, or a sum or step that contains it; None where nothing is
            seen, or the target took no part.
        alone: whether moved is the target's own update.
        counts: client -> how much its update counts in moved; None where moved is no sum of
            updates by known weights.
    """

    round: int
    model: Tensor | None
    moved: Tensor | None
    alone: bool
    counts: Mapping[int, float] | None = None


@dataclass(frozen=True)
class Knowledge:
    """What is known when the run is over.

    Attributes:
        sights: of the rounds, in order.
        final: (d,), the final model; None where it is not seen.
        asked: (d,), the final model of which only answers may be used; None where it may not be
            asked.
    """

    sights: tuple[Sight, ...]
    final: Tensor | None
    asked: Tensor | None

    @property
    def moves(self) -> list[Sight]:
        """The rounds of which it is known where the target's update went."""
        return [sight for sight in self.sights if sight.moved is not None]


class Watching(Protocol):
    """Collects, round by round, what an adversary sees about one client.

    Attributes:
        target: the client.
    """

    target: int

    def begin(self, start: Tensor) -> None:
        """Takes the model (d,) that the run starts from, which all parties of a run agree on."""

    def observe(self, observation: Observation) -> None:
        """Keeps what the adversary may learn from."""

    def finish(self, record: RoundRecord) -> None:
        """Ends a round."""

    def known(self, final: Tensor) -> Knowledge:
        """Returns everything that is known once the run is over and final (d,) is its model."""


@dataclass
class Watcher:
    """Collects, round by round, what a coalition sees about one client.

    Args:
        threat: the adversary.
        colluders: the clients on its side.
        target: the client that it looks at, none of these.
        channel: kind of the channel.
        weights: client -> how much its update counts in a server step; None where a step is no
            mean. A coalition with clients of its own subtracts their updates from the step.
        carried: client -> how much its update counts in a sum that a channel opens, of which
            coalitions subtract their own in the same way; None where that is unknown.
    """

    threat: ThreatModel
    colluders: tuple[int, ...]
    target: int
    channel: str
    weights: Mapping[int, float] | None = None
    carried: Mapping[int, float] | None = None
    _models: dict[int, Tensor] = field(default_factory=dict)
    _alone: dict[int, Tensor] = field(default_factory=dict)
    _sums: dict[int, tuple[Seen, tuple[int, ...], Tensor]] = field(default_factory=dict)
    _own: dict[int, dict[int, Tensor]] = field(default_factory=dict)
    _survivors: dict[int, tuple[int, ...]] = field(default_factory=dict)
    _parties: frozenset[str] = field(init=False)
    _pending: list[Observation] = field(default_factory=list)
    _was_sent: bool = False  # whether the target's ciphertext of this round reached the server

    def __post_init__(self) -> None:
        self._parties = self.threat.parties(self.colluders)

    def begin(self, start: Tensor) -> None:
        """Does nothing: whoever sees models sees the first one."""

    def observe(self, observation: Observation) -> None:
        """Keeps an observation until its round ends, if the coalition may learn from it."""
        if observation.about == (self.target,) and observation.kind == Seen.ENCRYPTED_UPDATE:
            self._was_sent = True
        is_its_own = observation.party in self._parties
        if observation.values is not None and (is_its_own or self._may_open(observation)):
            self._pending.append(observation)

    def _may_open(self, observation: Observation) -> bool:
        """Whether this is the target's update, and the coalition has the key to its ciphertext."""
        is_targets = observation.kind == Seen.OWN_UPDATE and observation.about == (self.target,)
        return is_targets and self.threat.opens(self.channel)

    def finish(self, record: RoundRecord) -> None:
        """Files the round's observations. Every party that sees some of it knows who took part."""
        if self._parties:
            self._survivors[record.round] = record.survivors
        for observation in self._pending:
            self._file(record.round, observation)
        self._pending = []
        self._was_sent = False

    def _file(self, round: int, observation: Observation) -> None:
        kind = observation.kind
        about = observation.about
        values = observation.values
        if values is None:
            return
        if observation.party not in self._parties:
            # Another party's update is kept only to stand for the ciphertext that the server has
            # of it: without that ciphertext a key opens nothing.
            if self._was_sent:
                self._alone[round] = values
        elif kind == Seen.GLOBAL_MODEL:
            self._models[round] = values
        elif kind == Seen.CLEAR_UPDATE and about == (self.target,):
            self._alone[round] = values
        elif kind in SUMS and self.target in about:
            self._sums[round] = (kind, about, values)
        elif kind == Seen.OWN_UPDATE:
            client = about[0]
            own = self._own.setdefault(round, {})
            own[client] = values

    def known(self, final: Tensor) -> Knowledge:
        """Returns everything that is known once the run is over and final (d,) is its model."""
        ends_with = self.threat.ends_with(self.channel)
        models = dict(self._models)
        if ends_with == FINAL:
            # The final model is where the last round's step ended.
            rounds = len(self._survivors)
            models[rounds] = final
        sights = tuple(self._sight(round, models) for round in sorted(self._survivors))
        return Knowledge(
            sights,
            final=final if ends_with == FINAL else None,
            asked=final if ends_with else None,
        )

    def _sight(self, round: int, models: Mapping[int, Tensor]) -> Sight:
        """The target's update if it is seen, else a sum with it, else the step between models."""
        model = models.get(round)
        if round in self._alone:  # also in a round that was abandoned later
            update = self._alone[round]
            return Sight(round, model, update, alone=True, counts={self.target: 1.0})
        if round in self._sums:
            return self._sight_of_sum(round, model)
        took_part = self.target in self._survivors[round]
        after = models.get(round + 1)
        if not took_part or model is None or after is None:
            return Sight(round, model, None, alone=False)
        return self._sight_of_step(round, model, after)

    def _sight_of_sum(self, round: int, model: Tensor | None) -> Sight:
        """A sum of updates that the adversary saw, the target's among them."""
        kind, members, moved = self._sums[round]
        counts = self._counts(kind, members)
        own = self._own_in(round, members)
        if counts is None or not own:
            alone = members == (self.target,)
            return Sight(round, model, moved.float(), alone, counts)
        sight = Sight(round, model, moved, alone=False, counts=counts)
        return self._without(own, sight)

    def _sight_of_step(self, round: int, before: Tensor, after: Tensor) -> Sight:
        """The step of the server between two models, in a round of the target's."""
        survivors = self._survivors[round]
        step = after - before
        counts = None if self.weights is None else counts_in_mean(self.weights, survivors)
        own = self._own_in(round, survivors)
        if counts is None or not own:
            # Not even a single client's step is its update: server steps scale.
            return Sight(round, before, step.float(), alone=False, counts=counts)
        sight = Sight(round, before, step, alone=False, counts=counts)
        return self._without(own, sight)

    def _own_in(self, round: int, members: tuple[int, ...]) -> dict[int, Tensor]:
        """The updates of the coalition's own clients that a sum or step contains."""
        own = self._own.get(round, {})
        return {client: update for client, update in own.items() if client in members}

    def _counts(self, kind: Seen, members: tuple[int, ...]) -> dict[int, float] | None:
        """How much the updates of its members count in a sum; key holders open the mean."""
        if self.carried is None:
            return None
        if kind == Seen.OPENED_SUM:
            return counts_in_mean(self.carried, members)
        return {client: self.carried[client] for client in members}

    def _without(self, own: Mapping[int, Tensor], sight: Sight) -> Sight:
        """A sum or step less the coalition's own updates, scaled so that the target's counts 1."""
        counts = sight.counts
        if counts is None or sight.moved is None:
            return sight
        # In float64: the rest can be much smaller than the sum that it is taken from.
        subtracted = sum(counts[client] * update.double() for client, update in own.items())
        rest = sight.moved.double() - subtracted
        scale = counts[self.target]
        remaining_counts = {
            client: count / scale  # the target's is 1
            for client, count in counts.items()
            if client not in own
        }
        return Sight(
            round=sight.round,
            model=sight.model,
            moved=(rest / scale).float(),
            alone=set(remaining_counts) == {self.target},
            counts=remaining_counts,
        )


class Watchers:
    """Lets several watchers observe one run; all of them share one copy of each observation."""

    def __init__(self, watchers: Sequence[Observer]) -> None:
        self._watchers = watchers

    def observe(self, observation: Observation) -> None:
        """Copies the values, which the run may overwrite later, and passes them to each watcher."""
        if observation.values is not None:
            observation = replace(observation, values=observation.values.clone())
        for watcher in self._watchers:
            watcher.observe(observation)


def counts_in_mean(weights: Mapping[int, float], members: tuple[int, ...]) -> dict[int, float]:
    """Returns client -> how much its update counts in the weighted mean of some members."""
    total = sum(weights[client] for client in members)
    return {client: weights[client] / total for client in members}
