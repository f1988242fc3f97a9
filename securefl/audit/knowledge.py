"""What an adversary knows about one client: gathered from its Observations, and from nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from securefl.audit.threats import FINAL, ThreatModel
from securefl.channels.protocol import Observation, Observer, Seen
from securefl.federation.record import RoundRecord

_SUMS = (Seen.SUM_OF_UPDATES, Seen.OPENED_SUM)


@dataclass(frozen=True)
class Sight:
    """What is known of one round.

    model: the global model (d,) that the clients started from; None where it is not seen.
    moved: along what the target's update went (d,): the update itself, or a sum or step that it is part of; None where
        nothing is seen, or the target took no part.
    alone: whether it is the target's own update.
    counts: client -> what its update counts in moved; None where moved is no sum of updates by known weights.
    """

    round: int
    model: Tensor | None
    moved: Tensor | None
    alone: bool
    counts: Mapping[int, float] | None = None


@dataclass(frozen=True)
class Knowledge:
    """What is known when the run is over.

    sights: of the rounds, in order. final: the final model (d,); None where it is not seen. asked: the final model
    where it may be asked, by who sees it or not: only its answers may be used.
    """

    sights: tuple[Sight, ...]
    final: Tensor | None
    asked: Tensor | None

    @property
    def moves(self) -> list[Sight]:
        """The rounds of which it is known where the target's update went."""
        return [sight for sight in self.sights if sight.moved is not None]


@dataclass
class Watcher:
    """Collects, round by round, what a coalition sees about one client.

    Args:
        threat: who looks.
        colluders: the clients among them.
        target: the client looked at, none of them.
        channel: kind of the channel.
        weights: of each client in the mean, where the rule is a mean and the step adds it; None elsewhere. Coalitions
            with clients of their own then take their updates out of the step.
        carried: what each client's update counts in a sum that a channel opens, of which coalitions take their own
            updates in the same way; None where that is not told.
    """

    threat: ThreatModel
    colluders: tuple[int, ...]
    target: int
    channel: str
    weights: Mapping[int, float] | None = None
    carried: Mapping[int, float] | None = None
    _models: dict[int, Tensor] = field(default_factory=dict)
    _single: dict[int, Tensor] = field(default_factory=dict)
    _sums: dict[int, tuple[Seen, tuple[int, ...], Tensor]] = field(default_factory=dict)
    _own: dict[int, dict[int, Tensor]] = field(default_factory=dict)
    _taken: dict[int, tuple[int, ...]] = field(default_factory=dict)
    _parties: frozenset[str] = field(init=False)
    _pending: list[Observation] = field(default_factory=list)
    _was_sent: bool = False  # whether the target's ciphertext of this round reached the server

    def __post_init__(self) -> None:
        self._parties = self.threat.parties(self.colluders)

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
        """Files the round's observations. Everybody who sees some of a round knows who took part."""
        if self._parties:
            self._taken[record.round] = record.survivors
        for observation in self._pending:
            self._file(record.round, observation)
        self._pending, self._was_sent = [], False

    def _file(self, round: int, observation: Observation) -> None:
        kind, about, values = observation.kind, observation.about, observation.values
        if values is None:
            return
        if observation.party not in self._parties:
            if self._was_sent:  # opened from the ciphertext that the server has
                self._single[round] = values
        elif kind == Seen.GLOBAL_MODEL:
            self._models[round] = values
        elif kind == Seen.CLEAR_UPDATE and about == (self.target,):
            self._single[round] = values
        elif kind in _SUMS and self.target in about:
            self._sums[round] = (kind, about, values)
        elif kind == Seen.OWN_UPDATE:
            self._own.setdefault(round, {})[about[0]] = values

    def known(self, final: Tensor) -> Knowledge:
        """Everything, once the run is over and final (d,) is its model."""
        ends_with = self.threat.ends_with(self.channel)
        known = final if ends_with == FINAL else None
        models = {**self._models} if known is None else {**self._models, len(self._taken): known}
        sights = tuple(self._sight(round, models) for round in sorted(self._taken))
        return Knowledge(sights, known, final if ends_with else None)

    def _sight(self, round: int, models: Mapping[int, Tensor]) -> Sight:
        model, took_part = models.get(round), self.target in self._taken[round]
        if round in self._single:  # also of a round that was abandoned later
            return Sight(round, model, self._single[round], alone=True, counts={self.target: 1.0})
        if round in self._sums:
            kind, members, moved = self._sums[round]
            return self._without_own(round, model, moved, members, self._counts(kind, members))
        if not took_part or not {round, round + 1} <= set(models):
            return Sight(round, model, None, alone=False)
        step, taken = models[round + 1] - models[round], self._taken[round]
        counts = None if self.weights is None else _mean(self.weights, taken)
        return self._without_own(round, model, step, taken, counts, step=True)

    def _counts(self, kind: Seen, members: tuple[int, ...]) -> dict[int, float] | None:
        """What the updates of its members count in an opened sum; key holders open the mean."""
        if self.carried is None:
            return None
        return (
            _mean(self.carried, members)
            if kind == Seen.OPENED_SUM
            else {one: self.carried[one] for one in members}
        )

    def _without_own(
        self,
        round: int,
        model: Tensor | None,
        moved: Tensor,
        members: tuple[int, ...],
        counts: dict[int, float] | None,
        *,
        step: bool = False,
    ) -> Sight:
        """A sum, or a step, less what the coalition's own clients added to it, then in the target's measure.

        That a step is one client's alone is said only where others were taken out of it: server steps scale.
        """
        own = {
            client: sent for client, sent in self._own.get(round, {}).items() if client in members
        }
        if counts is None or not own:
            alone = not step and members == (self.target,)
            return Sight(round, model, moved.float(), alone, counts)
        rest = moved.double() - sum(counts[client] * sent.double() for client, sent in own.items())
        others = {
            client: count / counts[self.target]
            for client, count in counts.items()
            if client not in own
        }
        return Sight(
            round, model, (rest / counts[self.target]).float(), set(others) == {self.target}, others
        )


class Watchers:
    """Lets several watchers observe one run; all of them share one copy of each observation."""

    def __init__(self, watchers: Sequence[Observer]) -> None:
        self._watchers = watchers

    def observe(self, observation: Observation) -> None:
        """Copies the values, which the run may overwrite later, and passes them to every watcher."""
        if observation.values is not None:
            observation = replace(observation, values=observation.values.clone())
        for watcher in self._watchers:
            watcher.observe(observation)


def _mean(weights: Mapping[int, float], members: tuple[int, ...]) -> dict[int, float]:
    total = sum(weights[client] for client in members)
    return {client: weights[client] / total for client in members}
