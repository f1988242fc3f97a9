"""What an adversary knows about one client: gathered from its Observations, and from nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from securefl.federation import Played
from securefl.threat_models import FINAL, ThreatModel
from securefl.types import Observation

_SINGLE, _ENCRYPTED = "update in the clear", "encrypted update"
_OPENED = "opened sum"
_SUMS = ("sum of updates", _OPENED)


@dataclass(frozen=True)
class Sight:
    """What is known of one round.

    model: the global model (d,) that the clients started from; None where it is not seen.
    moved: along what the target's update went (d,): the update itself, or a sum or step that it is part of, up to a
        factor; None where nothing is seen, or the target took no part.
    alone: whether it is the target's own update. about: the clients whose updates it is made of.
    share: what each of these counts in moved, where they count the same.
    """

    round: int
    model: Tensor | None
    moved: Tensor | None
    alone: bool
    about: tuple[int, ...] = ()
    share: float = 1.0


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
    """

    threat: ThreatModel
    colluders: tuple[int, ...]
    target: int
    channel: str
    weights: Mapping[int, float] | None = None
    _models: dict[int, Tensor] = field(default_factory=dict)
    _single: dict[int, Tensor] = field(default_factory=dict)
    _sums: dict[int, tuple[tuple[int, ...], Tensor, float]] = field(default_factory=dict)
    _own: dict[int, dict[int, Tensor]] = field(default_factory=dict)
    _taken: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def watch(self, played: Played) -> None:
        """Keep what the coalition sees of a round; who took part is known to everybody who sees anything of it."""
        round, parties = played.record.round, self.threat.parties(self.colluders)
        if parties:
            self._taken[round] = played.record.survivors
        sent = any(seen.kind == _ENCRYPTED and seen.about == (self.target,) for seen in played.observed)
        opened = sent and self.threat.opens(self.channel)  # from the ciphertext that the server has
        for seen in played.observed:
            if seen.values is None:
                continue
            if seen.party in parties:
                self._note(round, seen)
            elif opened and seen.kind == "own update" and seen.about == (self.target,):
                self._single[round] = seen.values

    def _note(self, round: int, seen: Observation) -> None:
        if seen.values is None:
            return
        if seen.kind == "global model":
            self._models[round] = seen.values
        elif seen.kind == _SINGLE and seen.about == (self.target,):
            self._single[round] = seen.values
        elif seen.kind in _SUMS and self.target in seen.about:
            share = 1 / len(seen.about) if seen.kind == _OPENED else 1.0  # key holders open the mean
            self._sums[round] = (seen.about, seen.values, share)
        elif seen.kind == "own update":
            self._own.setdefault(round, {})[seen.about[0]] = seen.values

    def known(self, final: Tensor) -> Knowledge:
        """Everything, once the run is over and final (d,) is its model."""
        ends_with = self.threat.ends_with(self.channel)
        known = final if ends_with == FINAL else None
        models = {**self._models} if known is None else {**self._models, len(self._taken): known}
        sights = tuple(self._sight(round, models) for round in sorted(self._taken))
        return Knowledge(sights, known, final if ends_with else None)

    def _sight(self, round: int, models: Mapping[int, Tensor]) -> Sight:
        model, took_part = models.get(round), self.target in self._taken[round]
        if round in self._single:
            return Sight(round, model, self._single[round], True, (self.target,))  # also of a round abandoned later
        if not took_part and round not in self._sums:
            return Sight(round, model, None, alone=False)
        step = models[round + 1] - models[round] if {round, round + 1} <= set(models) else None
        rest = self._rest(round, step)
        if rest is not None:
            others = tuple(client for client in self._taken[round] if client not in self._own[round])
            return Sight(round, model, *rest, others)
        if round in self._sums:
            members, moved, share = self._sums[round]
            return Sight(round, model, moved.float(), members == (self.target,), members, share)
        taken = self._taken[round]
        return Sight(round, model, step, alone=False, about=taken, share=1 / len(taken))

    def _rest(self, round: int, step: Tensor | None) -> tuple[Tensor, bool] | None:
        """The step without what the coalition's own clients sent, in the target's measure, and if nobody else is in."""
        own = {client: update for client, update in self._own.get(round, {}).items() if client in self._taken[round]}
        if step is None or self.weights is None or not own:
            return None
        total = sum(self.weights[client] for client in self._taken[round])
        sent = sum((self.weights[client] * update.double() for client, update in own.items()), start=0 * step.double())
        rest = (total * step.double() - sent) / self.weights[self.target]
        return rest.float(), {*own, self.target} == set(self._taken[round])
