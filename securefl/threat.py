"""Who is corrupt and what they see: the adversary inside a federation."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from securefl.types import Attack, ClientUpdate, Observation


@dataclass(frozen=True)
class Adversary:
    """Owns some clients and rewrites their updates from what it observed.

    With knows = "own" its Observation holds the honest updates of the clients it owns and nothing else.

    Args:
        clients: the ids it owns.
        attack: honest rows (f, d) and the round in, rows (f, d) out.
    """

    clients: frozenset[int]
    attack: Attack

    def observe(self, updates: Mapping[int, ClientUpdate]) -> Observation:
        """The honest updates of its own clients, as rows ascending by id."""
        owned = tuple(sorted(updates))
        rows = torch.stack([updates[client].delta for client in owned])
        return Observation("adversary", "own honest updates", owned, tuple(rows.shape), 4 * rows.numel(), rows)

    def rewrite(self, updates: Mapping[int, ClientUpdate], *, round: int) -> dict[int, ClientUpdate]:
        """Each owned client's update with the row that the attack made for it."""
        if not updates:
            return {}
        seen = self.observe(updates)
        if seen.values is None:
            raise ValueError("an observation without values cannot be attacked from")
        rows = self.attack(seen.values, round)
        return {client: replace(updates[client], delta=row) for client, row in zip(seen.about, rows, strict=True)}


NOBODY = Adversary(frozenset(), lambda rows, round: rows)
