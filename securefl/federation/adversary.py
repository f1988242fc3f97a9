"""Who is corrupt and what they see: the adversary inside a federation."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from securefl.channels.protocol import ClientUpdate, Observation

Attack = Callable[
    [Tensor, Tensor, int], Tensor
]  # own honest rows (f, d), those known (h, d), round -> rows (f, d)
Poison = Callable[
    [int, Tensor, Tensor], tuple[Tensor, Tensor]
]  # client, features (n, ...), labels (n,) -> both, new
Goal = Callable[
    [Tensor, Tensor], tuple[Tensor, int]
]  # test features, labels -> features (k, ...), the class wanted


class Rewritten(NamedTuple):
    """What the corrupt clients send, how far it was pushed (`RoundRecord.push`), and what was observed for it."""

    updates: dict[int, ClientUpdate]
    push: float | None
    observed: tuple[Observation, ...]


@dataclass(frozen=True)
class Adversary:
    """Owns some clients and rewrites their updates from what it observed.

    Its Observation holds the honest updates of the clients it owns. If it is omniscient, another one holds those of
    all other clients of the round, which no channel shows to a client: a fiction, for the worst case.

    Args:
        clients: the ids it owns.
        attack: its clients' honest rows (f, d), the honest rows that it knows (h, d) and the round in, rows (f, d) out.
            What it knows are the rows of the others if it is omniscient and there are any, and its own otherwise.
        omniscient: whether it sees what the others send.
    """

    clients: frozenset[int]
    attack: Attack
    omniscient: bool = False

    def observe(
        self, owned: Mapping[int, ClientUpdate], others: Mapping[int, ClientUpdate]
    ) -> tuple[Observation, ...]:
        """The honest updates of its own clients, then of the others if it sees them; rows ascending by id."""
        seen = [_seen("own honest updates", owned)]
        return (
            (*seen, _seen("honest updates of the others", others))
            if self.omniscient and others
            else (*seen,)
        )

    def rewrite(
        self, owned: Mapping[int, ClientUpdate], others: Mapping[int, ClientUpdate], *, round: int
    ) -> Rewritten:
        """Each owned client's update with the row that the attack made for it."""
        if not owned:
            return Rewritten({}, None, ())
        seen = self.observe(owned, others)
        own, known = seen[0], seen[-1]
        if own.values is None or known.values is None:
            raise ValueError("an observation without values cannot be attacked from")
        honest = known.values.double()
        mean, spread = honest.mean(dim=0), _distance(honest, honest.mean(dim=0))
        before = own.values.clone()
        rows = self.attack(own.values, known.values, round)
        untouched = known is own and torch.equal(
            rows, before
        )  # such rows are no push among themselves
        updates = {
            client: replace(owned[client], delta=row)
            for client, row in zip(own.about, rows, strict=True)
        }
        push = (
            float((rows.double() - mean).norm(dim=1).mean()) / spread
            if spread > 0 and not untouched
            else math.inf
        )
        return Rewritten(updates, push if math.isfinite(push) else None, seen)


def _distance(rows: Tensor, mean: Tensor) -> float:
    """Root mean square distance of rows (h, d) from mean (d,)."""
    return float((rows - mean).square().sum(dim=1).mean().sqrt())


def _seen(kind: str, updates: Mapping[int, ClientUpdate]) -> Observation:
    about = tuple(sorted(updates))
    rows = torch.stack([updates[client].delta for client in about])
    return Observation("adversary", kind, about, tuple(rows.shape), 4 * rows.numel(), rows)


NOBODY = Adversary(frozenset(), lambda own, known, round: own)
