"""The adversary inside a federation: it owns clients, sees updates and rewrites its own."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from securefl.channels.protocol import UNWATCHED, ClientUpdate, Observation, Observer, Seen

# own honest rows (f, d), known honest rows (h, d), round -> rows to send (f, d)
Attack = Callable[[Tensor, Tensor, int], Tensor]

# client, features (n, ...), labels (n,) -> new features, new labels
Poison = Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]]

# test features, test labels -> features (k, ...), the class that the adversary wants for them
Goal = Callable[[Tensor, Tensor], tuple[Tensor, int]]


class Rows(NamedTuple):
    """Updates and the clients that made them.

    Attributes:
        clients: of each row; a client may have several.
        values: (n, d).
    """

    clients: tuple[int, ...]
    values: Tensor


class RewrittenRows(NamedTuple):
    """The rows (f, d) that corrupt clients send, and how far they were pushed."""

    values: Tensor
    push: float | None


class Rewritten(NamedTuple):
    """The updates that corrupt clients send, and how far they were pushed (`RoundRecord.push`)."""

    updates: dict[int, ClientUpdate]
    push: float | None


@dataclass(frozen=True)
class Adversary:
    """Owns some clients and rewrites their updates.

    It sees the honest updates of its own clients. An omniscient adversary also sees the updates
    of all other clients of the round. No channel shows these to a client: that is a fiction, for
    the worst case.

    Args:
        clients: the ids it owns.
        attack: makes the rows that its clients send. The known rows are the other clients' rows
            for an omniscient adversary, if there are any, and its own rows otherwise.
        omniscient: whether it sees the other clients' updates.
    """

    clients: frozenset[int]
    attack: Attack
    omniscient: bool = False

    def rewrite(
        self,
        owned: Mapping[int, ClientUpdate],
        others: Mapping[int, ClientUpdate],
        *,
        round: int,
        observer: Observer = UNWATCHED,
    ) -> Rewritten:
        """Returns each owned client's update with the row that the attack made for it.

        Args:
            owned: client -> its honest update.
            others: client -> the update that another client sent; used if omniscient.
            round: the round's number.
            observer: gets the updates that the adversary sees, rows ascending by client.
        """
        if not owned:
            return Rewritten({}, None)
        known = _rows(others) if self.omniscient and others else None
        sent = self.rewrite_rows(_rows(owned), known, round=round, observer=observer)
        updates = {
            client: replace(owned[client], delta=row)
            for client, row in zip(sorted(owned), sent.values, strict=True)
        }
        return Rewritten(updates, sent.push)

    def rewrite_rows(
        self, own: Rows, others: Rows | None, *, round: int, observer: Observer = UNWATCHED
    ) -> RewrittenRows:
        """Returns the rows that the attack makes of the honest rows of the adversary's clients.

        Args:
            own: their rows (f, d), at least one.
            others: rows (h, d) of other clients; used if omniscient, None without.
            round: the round's number.
            observer: as for `rewrite`.
        """
        observer.observe(_observation(Seen.OWN_HONEST_UPDATES, own))
        known = own.values  # (h, d)
        if self.omniscient and others is not None:
            known = others.values
            observer.observe(_observation(Seen.OTHERS_HONEST_UPDATES, others))
        mean, spread = _center(known)
        before = own.values.clone()  # an attack may write into the rows it is given
        rows = self.attack(own.values, known, round)
        # Without knowledge of others, rows sent as they are have been pushed by nobody.
        untouched = known is own.values and torch.equal(rows, before)
        if spread == 0 or untouched:
            return RewrittenRows(rows, None)
        push = float((rows.double() - mean).norm(dim=1).mean()) / spread
        return RewrittenRows(rows, push if math.isfinite(push) else None)


def _center(rows: Tensor) -> tuple[Tensor, float]:
    """Returns the mean (d,) of rows (h, d), and their root mean square distance from it."""
    # One copy, written over at every step: an omniscient adversary knows the rows of all clients.
    values = rows.to(torch.float64, copy=True)
    mean = values.mean(dim=0)
    squares = values.sub_(mean).square_()
    return mean, float(squares.sum(dim=1).mean().sqrt())


def _rows(updates: Mapping[int, ClientUpdate]) -> Rows:
    """Returns the updates as rows, ascending by client."""
    clients = tuple(sorted(updates))
    return Rows(clients, torch.stack([updates[client].delta for client in clients]))


def _observation(kind: Seen, rows: Rows) -> Observation:
    return Observation.of("adversary", kind, rows.clients, rows.values)


NOBODY = Adversary(frozenset(), lambda own, known, round: own)
