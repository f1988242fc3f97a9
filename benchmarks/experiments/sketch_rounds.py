"""Rounds of a small federation on digits, and sketches of its updates in the clear.

No protocol is played: these are the numbers that a server would see, without the cryptography.
"""

import math
from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.experiments.training import Sgd, part, update_of
from securefl import vector
from securefl.data.partition import Skew
from securefl.data.task import Examples, FederatedData, Task, concatenate
from securefl.learning.models import linear
from securefl.rng import Keystream, seeded_keystream
from securefl.scenario import catalog

CLIENTS = 20
SIZES = (16, 64, 256)  # of sketches
GROUP_SIZE = 4
DEALS = {"IID": None, "Dirichlet 0.3": 0.3}
_HIDDEN = (64,)
_FEWEST_RECORDS = 10  # of a client
_ENTRIES = np.array([0, 1, -1, 0], np.float32)  # by two bits
_FOUR_ENTRIES = _ENTRIES[(np.arange(256)[:, None] >> np.array([0, 2, 4, 6])) & 3]


class Sites(NamedTuple):
    """The records of all clients, and the model before the first round.

    Attributes:
        records: of each client.
        others: records of no client.
    """

    task: Task
    model: nn.Module
    weights: Tensor  # (d,)
    records: list[Examples]
    others: Examples

    @property
    def mixes(self) -> NDArray[np.float64]:
        """Each client's share of records of each class, (clients, classes)."""
        counts = [
            torch.bincount(own.labels, minlength=self.task.classes).double() / len(own)
            for own in self.records
        ]
        return torch.stack(counts).numpy()


class Moment(NamedTuple):
    """A round: its number, the weights before it, and all honest updates."""

    round: int
    weights: Tensor  # (d,)
    rows: Tensor  # (clients, d)


@cache
def _digits() -> FederatedData:
    return catalog.DATA["digits"].load(partition="pooled", split_seed=0)


def sites(seed: int, *, records: int, alpha: float | None) -> Sites:
    """Deals so many records of digits to twenty clients, evenly or by Dirichlet(alpha)."""
    data = _digits()
    pool = concatenate([data.sites[0].train, data.test])
    order = torch.from_numpy(seeded_keystream(seed, "deal").permutation(len(pool)))
    dealt = part(pool, order[:records])
    deal = catalog.DEALS["iid" if alpha is None else "dirichlet"].deal
    skew = Skew(alpha or 1.0, 1, _FEWEST_RECORDS)
    places = deal(dealt.labels, CLIENTS, skew, seeded_keystream(seed, "sites"))
    generator = seeded_keystream(seed, "initial weights").torch_generator()
    network = linear.mlp(data.task, hidden=_HIDDEN, generator=generator)
    model = nn.Sequential(*network.children())
    own = [part(dealt, chosen) for chosen in places]
    others = part(pool, order[records:])
    return Sites(data.task, model, vector.to_vector(model), own, others)


def moments(
    sites: Sites, how: Sgd, *, rounds: int, seed: int, estimate: Callable[[Moment], Tensor]
) -> Iterator[Moment]:
    """Plays rounds, in which all clients train and the model moves by an estimate (d,)."""
    weights = sites.weights
    for round in range(rounds):
        updates = [
            update_of(sites.model, sites.task, own, weights, how, seed, client, round)
            for client, own in enumerate(sites.records)
        ]
        moment = Moment(round, weights, torch.stack(updates))
        yield moment
        weights = weights + estimate(moment)


def mean(moment: Moment) -> Tensor:
    """Returns the mean of a round's honest updates, (d,)."""
    return moment.rows.mean(dim=0)


def groups(rows: Tensor) -> Tensor:
    """Returns for each client the mean (clients, d) of its group of four: the same for all four."""
    means = rows.reshape(-1, GROUP_SIZE, rows.shape[1]).mean(dim=1)
    return means.repeat_interleave(GROUP_SIZE, dim=0)


def matrix(size: int, d: int, stream: Keystream) -> Tensor:
    """Draws (size, d) entries 0, +1, -1 with probability 1/2, 1/4, 1/4.

    They are divided so that a sketch has the squared length of its row on average.
    """
    drawn = np.frombuffer(stream.bytes(size * (-(-d // 4))), np.uint8).reshape(size, -1)
    # Two bits an entry, four entries a byte.
    entries = _FOUR_ENTRIES[drawn].reshape(size, -1)[:, :d]
    return torch.from_numpy(entries) * math.sqrt(2 / size)


def apart(rows: Tensor) -> NDArray[np.float64]:
    """Returns squared distances (n, n) between rows, each from a difference."""
    exact = rows.double()
    return np.stack([(exact - row).square().sum(dim=1).numpy() for row in exact])
