"""What peers agree on, and how a node puts its own row together with those that it hears."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from securefl.channels.protocol import ClientUpdate, Seen
from securefl.federation.adversary import Adversary
from securefl.federation.log import RoundLog
from securefl.federation.topologies.graphs import Graph
from securefl.federation.values import State

# own row (d,), rows of neighbours (m, d), their weights (m,) -> own row (d,)
Around = Callable[[Tensor, Tensor, Tensor], Tensor]

MODELS = "models"  # of all nodes, (n, d), in a state
MOMENTA = "momenta"  # of all nodes, (n, d), in a state


@dataclass(frozen=True)
class Meeting:
    """What nodes without a server agree on.

    Args:
        graph: who is whose neighbour.
        rule: combines a node's row with those of its neighbours.
        adversaries: node -> the adversary that writes the rows which this node is sent.
        momentum: share of the momentum before in that of a round; 0 without.
        beside: whether nodes send the models that they began with.
        statistics: the coordinate from which a model has running statistics and no parameters.
            These have no momentum, which could make a variance negative.
    """

    graph: Graph
    rule: Around
    adversaries: Mapping[int, Adversary]
    momentum: float = 0.0
    beside: bool = False
    statistics: int | None = None


def models_of(state: State, n: int) -> Tensor:
    """Returns (n, d), the models of all nodes; at first all have the same."""
    return state.step_state.get(MODELS, state.weights.expand(n, -1))


def add_momentum(updates: dict[int, ClientUpdate], momenta: Tensor, meeting: Meeting) -> None:
    """Replaces each update by the node's momentum, which it becomes a part of."""
    if not meeting.momentum:
        return
    for node, update in updates.items():
        momenta[node] = moved_by(meeting, momenta[node], update.delta)
        updates[node] = replace(update, delta=momenta[node].clone())


def moved_by(meeting: Meeting, momentum: Tensor, update: Tensor) -> Tensor:
    """Returns what a node adds to its model (d,): an update, with the momentum from before."""
    moved, share = update.clone(), meeting.momentum
    if share:
        parameters = momentum[: meeting.statistics].clone()
        moved[: meeting.statistics] = parameters.mul_(share).add_(
            update[: meeting.statistics], alpha=1 - share
        )
    return moved


def update_behind(meeting: Meeting, momentum: Tensor, moved: Tensor) -> Tensor:
    """Returns the update (d,) behind what a node added to its model, up to rounding."""
    update, share = moved.clone(), meeting.momentum
    parameters = moved[: meeting.statistics] - share * momentum[: meeting.statistics]
    update[: meeting.statistics] = parameters / (1 - share)
    return update


def mixed_by(meeting: Meeting, node: int, own: Tensor, heard: Mapping[int, Tensor]) -> Tensor:
    """Returns what a node's rule makes of its own row (d,) and of those that it heard.

    Args:
        meeting: what nodes agree on.
        node: whose rows these are.
        own: its row.
        heard: neighbour -> its row, ascending.
    """
    weights = [meeting.graph.metropolis(node, other) for other in heard]
    rows = torch.stack([own, *heard.values()])[1:]
    try:
        return meeting.rule(own, rows, torch.tensor(weights, dtype=torch.float64))
    except ValueError:  # it heard too few, and goes on by itself
        return own


def heard_by(
    adversary: Adversary,
    node: int,
    own: ClientUpdate,
    around: Mapping[int, ClientUpdate],
    round: int,
    log: RoundLog,
) -> dict[int, Tensor]:
    """Returns neighbour -> the row (d,) that a node is sent, as the adversary rewrites it.

    A corrupt node may send every neighbour another row. What an omniscient adversary knows are the
    honest rows that this node puts together.
    """
    owned = {other: row for other, row in around.items() if other in adversary.clients}
    others = {other: row for other, row in around.items() if other not in owned}
    rewritten = adversary.rewrite(owned, {**others, node: own}, round=round, observer=log)
    if rewritten.push is not None:
        log.push = max(rewritten.push, log.push or 0.0)
    rows = {other: row.delta for other, row in sorted({**others, **rewritten.updates}.items())}
    for other, row in rows.items():
        for party in ("network", f"client {node}"):
            log.tell(party, Seen.PEER_MODEL, (other,), row)
    return rows
