"""Peers: what is known of a node's update by the models that it sends to its neighbours.

    update = sent - start                  # in D-PSGD's order: the next model sent - mixed

All nodes start from one public model. Later a node starts from what its rule made of its own row
and of those that it heard. An adversary that knows all of these computes the rule again, and knows
the update exactly. For others the way from one model to the next contains the update, and what the
neighbours added to it.

The adversary's own nodes know their models in the same way: from the rows that they heard.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from securefl import vector
from securefl.audit.knowledge import Knowledge, Sight
from securefl.channels.protocol import Observation, Seen
from securefl.federation.record import RoundRecord
from securefl.federation.topologies.meeting import Meeting, mixed_by, moved_by, update_behind


@dataclass
class _Node:
    """A node as the adversary knows it; None where it does not.

    Attributes:
        base: (d,), what the next change of its model is counted from: the model that it starts
            with, or in D-PSGD's order what its rule made of the rows that it had.
        momentum: (d,), the last one.
    """

    base: Tensor | None
    momentum: Tensor | None


class _Began(NamedTuple):
    """A training whose update is sent a round later, and the model (d,) that it began with."""

    round: int
    model: Tensor | None


@dataclass
class PeerWatcher:
    """Collects the models that a node sends, and what the adversary can compute from them.

    Args:
        parties: of which the adversary has the Observations.
        coalition: its own nodes.
        target: the node that it looks at, none of these.
        meeting: what nodes agree on.
        liars: nodes that may send each neighbour another row.
    """

    parties: frozenset[str]
    coalition: tuple[int, ...]
    target: int
    meeting: Meeting
    liars: Set[int] = frozenset()
    _nodes: dict[int, _Node] = field(default_factory=dict)
    _start: Tensor | None = None  # until the first rows were sent, all nodes have this model
    _on_its_way: Tensor | None = None
    _heard: dict[int, dict[int, Tensor]] = field(default_factory=dict)  # node -> neighbour -> row
    _updates: dict[int, Tensor] = field(default_factory=dict)  # of the adversary's own nodes
    _last: Tensor | None = None  # the target's last row that is known
    _began: _Began | None = None
    _sights: list[Sight] = field(default_factory=list)

    def begin(self, start: Tensor) -> None:
        """Takes the public model (d,) that all nodes start from."""
        self._start = start
        zero = torch.zeros_like(start)
        self._nodes = {node: _Node(start, zero) for node in (*self.coalition, self.target)}

    def observe(self, observation: Observation) -> None:
        """Keeps the rows that were sent to the adversary's nodes, or that the network saw."""
        party = observation.party
        seen = observation.values if party in self.parties else None
        if observation.kind == Seen.OWN_UPDATE and seen is not None:
            self._updates[observation.about[0]] = seen
        elif observation.kind == Seen.PEER_MODEL and party == "network":
            self._on_its_way = seen  # to the node that is named next
        elif observation.kind == Seen.PEER_MODEL:
            row = self._on_its_way if seen is None else seen
            node, (other,) = int(party.removeprefix("client ")), observation.about
            if row is not None and (seen is not None or self.target in (node, other)):
                self._heard.setdefault(node, {})[other] = row
            self._on_its_way = None

    def finish(self, record: RoundRecord) -> None:
        """Follows the models through the round. An abandoned one changes none."""
        if not record.abandoned:
            took_part = frozenset(record.survivors)
            rows = self._rows_of_own(took_part)
            if self.target in took_part:
                self._follow_target(record.round, rows, took_part)
            for node in took_part.intersection(self.coalition):
                self._follow_own(node, rows.get(node))
            self._start = None
        self._heard, self._updates = {}, {}

    def known(self, final: Tensor) -> Knowledge:
        """Returns what is known once the run is over. It ends with the target's last row."""
        return Knowledge(tuple(self._sights), final=self._last, asked=self._last)

    # The adversary's own nodes.

    def _rows_of_own(self, took_part: Set[int]) -> dict[int, Tensor]:
        """The rows that the adversary's nodes sent; their updates become their momenta."""
        rows = {}
        for node in took_part & set(self.coalition):
            known = self._nodes[node]
            if known.momentum is None or known.base is None:
                continue
            moved = moved_by(self.meeting, known.momentum, self._updates[node])
            known.momentum = moved
            rows[node] = known.base if self.meeting.beside else known.base + moved
        return rows

    def _follow_own(self, node: int, row: Tensor | None) -> None:
        """Combines a row of the adversary's with those that this node heard."""
        known = self._nodes[node]
        if row is None or known.momentum is None:
            known.base = None
            return
        after = self._mixed(node, row, self._heard.get(node, {}))
        if self.meeting.beside:
            after = after + known.momentum
        if vector.is_finite(after):
            known.base = after

    # The target.

    def _follow_target(self, round: int, rows: Mapping[int, Tensor], took_part: Set[int]) -> None:
        """Files what the target's row says of an update, and what it goes on from."""
        row = self._row_of_target()
        known = self._nodes[self.target]
        if not self.meeting.beside:
            self._file(_Began(round, self._last if known.base is None else known.base), row)
        elif self._began is not None:
            self._file(self._began, row)
        self._began = _Began(round, self._last if row is None else row)
        heard = self._heard_by_target(rows, took_part)
        known.base = None
        if row is not None:
            self._last = row
        if row is not None and heard is not None:
            mixed = self._mixed(self.target, row, heard)
            # A node keeps its model where the rule gives none.
            known.base = mixed if vector.is_finite(mixed) else None

    def _file(self, began: _Began, row: Tensor | None) -> None:
        """Files the sight of a training that the target's row (d,) shows the outcome of."""
        known = self._nodes[self.target]
        before = known.momentum
        known.momentum = None
        if row is None:
            return
        if known.base is None:
            if self._last is not None:
                self._sights.append(Sight(began.round, began.model, row - self._last, alone=False))
            return
        moved = row - known.base
        known.momentum = moved
        alone = not self.meeting.momentum or before is not None
        if self.meeting.momentum and before is not None:
            moved = update_behind(self.meeting, before, moved)
        counts = {self.target: 1.0} if alone else None
        self._sights.append(Sight(began.round, began.model, moved, alone, counts))

    def _row_of_target(self) -> Tensor | None:
        """The row that the target sent; None where none was seen."""
        seen = [rows[self.target] for rows in self._heard.values() if self.target in rows]
        if not seen and self.meeting.beside:
            return self._start
        return seen[0] if seen else None

    def _heard_by_target(
        self, rows: Mapping[int, Tensor], took_part: Set[int]
    ) -> dict[int, Tensor] | None:
        """Neighbour -> the row that the target heard; None where one of them is unknown."""
        if "network" in self.parties:
            return self._heard.get(self.target, {})
        heard = {}
        for other in self.meeting.graph.neighbors[self.target]:
            if other not in took_part:
                continue
            row = self._row_of(other, rows)
            if row is None or other in self.liars:
                return None
            heard[other] = row
        return heard

    def _row_of(self, node: int, rows: Mapping[int, Tensor]) -> Tensor | None:
        """The row that a neighbour of the target sent to all of its own; None where unknown."""
        if node in rows:
            return rows[node]
        seen = [heard[node] for heard in self._heard.values() if node in heard]
        if not seen and self.meeting.beside:
            return self._start
        return seen[0] if seen else None

    def _mixed(self, node: int, own: Tensor, heard: Mapping[int, Tensor]) -> Tensor:
        """(d,) of a node's rule, which everybody knows."""
        return mixed_by(self.meeting, node, own, dict(sorted(heard.items())))
