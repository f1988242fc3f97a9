"""Ways to deal the records of one data set to clients; every record goes to exactly one."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import gammaincinv
from torch import Tensor

from securefl.rng import Keystream

_TRIES = 1000


class Skew(NamedTuple):
    """How uneven a deal is: concentration, classes a client, fewest records of a client."""

    alpha: float
    classes: int
    minimum: int


def iid(records: int, *, clients: int, stream: Keystream) -> list[Tensor]:
    """Indices (n_k,) for each client, drawn at random; sizes as `iid_sizes`.

    Raises:
        ValueError: fewer records than clients.
    """
    if not 1 <= clients <= records:
        raise ValueError(f"iid needs 1 to {records} clients for {records} records, got {clients}")
    return _indices(np.array_split(stream.permutation(records), clients))


def iid_sizes(records: int, *, clients: int) -> tuple[int, ...]:
    """How many records each client gets: equal, the first ones one more where it does not divide."""
    share, extra = divmod(records, clients)
    return tuple(share + (index < extra) for index in range(clients))


def dirichlet(
    labels: Tensor, *, clients: int, alpha: float, minimum: int, stream: Keystream
) -> list[Tensor]:
    """Indices (n_k,) for each client; each class is divided in proportions drawn from Dirichlet(alpha).

    Args:
        labels: (n,) class of each record.
        clients: number of clients.
        alpha: concentration, > 0; small is skewed, large is close to iid.
        minimum: fewest records of a client; the draw is repeated until it holds.
        stream: gives the proportions and the order.

    Raises:
        ValueError: no draw out of 1000 leaves every client the minimum.

    Source: Yurochkin et al., ICML 2019, section 4; Li et al., ICDE 2022, section IV.
    """

    def draw() -> list[NDArray[np.int64]]:
        parts: list[list[NDArray[np.int64]]] = [[] for _ in range(clients)]
        for label in np.unique(labels.numpy()):
            members = np.flatnonzero(labels.numpy() == label)
            members = members[stream.permutation(len(members))]
            cuts = np.cumsum(_proportions(clients, alpha, stream))[:-1]
            for part, share in zip(
                parts, np.split(members, np.rint(cuts * len(members)).astype(int)), strict=True
            ):
                part.append(share)
        return [np.concatenate(part) for part in parts]

    return _until(minimum, draw, f"dirichlet with alpha={alpha:g}")


def quantity(
    records: int, *, clients: int, alpha: float, minimum: int, stream: Keystream
) -> list[Tensor]:
    """Indices (n_k,) for each client, drawn at random, in amounts drawn from Dirichlet(alpha).

    Raises:
        ValueError: no draw out of 1000 leaves every client the minimum.

    Source: Li et al., ICDE 2022, section IV ("quantity skew").
    """

    def draw() -> list[NDArray[np.int64]]:
        cuts = np.rint(np.cumsum(_proportions(clients, alpha, stream))[:-1] * records).astype(int)
        return np.split(stream.permutation(records), cuts)

    return _until(minimum, draw, f"quantity with alpha={alpha:g}")


def pathological(labels: Tensor, *, clients: int, classes: int, stream: Keystream) -> list[Tensor]:
    """Indices (n_k,) for each client: records sorted by class, cut into shards, `classes` shards a client.

    A shard may reach over the border of two classes, as in the source.

    Raises:
        ValueError: fewer records than shards.

    Source: McMahan et al., AISTATS 2017, section 3.
    """
    records, shards = len(labels), clients * classes
    if shards > records:
        raise ValueError(
            f"pathological needs clients x classes <= {records} records, got {clients} x {classes}"
        )
    order = stream.permutation(records)
    by_class = order[np.argsort(labels.numpy()[order], kind="stable")]
    pieces = np.array_split(by_class, shards)
    hands = stream.permutation(shards).reshape(clients, classes)
    return _indices([np.concatenate([pieces[shard] for shard in hand]) for hand in hands])


def _proportions(clients: int, alpha: float, stream: Keystream) -> NDArray[np.float64]:
    """(clients,) from Dirichlet(alpha): gamma variates by their inverse distribution, over their sum."""
    draws = stream.uniform(clients) - 2.0**-54  # in (0, 1), so that no variate is infinite
    gammas: NDArray[np.float64] = gammaincinv(alpha, draws)
    if gammas.sum() == 0:  # alpha so small that all underflow: the largest takes everything
        gammas[draws.argmax()] = 1.0
    return gammas / float(gammas.sum())


def _until(minimum: int, draw: Callable[[], list[NDArray[np.int64]]], name: str) -> list[Tensor]:
    """The first draw that leaves every client the minimum."""
    for _ in range(_TRIES):
        parts = draw()
        if min(map(len, parts)) >= minimum:
            return _indices(parts)
    raise ValueError(
        f"{name} left some of {len(parts)} clients below {minimum} records in {_TRIES} draws"
    )


def _indices(parts: list[NDArray[np.int64]]) -> list[Tensor]:
    return [torch.from_numpy(np.sort(part)) for part in parts]
