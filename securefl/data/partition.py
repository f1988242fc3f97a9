"""Ways to deal the records of one data set to clients; every record goes to exactly one."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from securefl.rng import Keystream

MAX_DRAWS = 1000


class Skew(NamedTuple):
    """How uneven a deal is.

    Attributes:
        alpha: concentration of the Dirichlet distribution, > 0; small is skewed.
        classes: classes, or shards, of a client.
        minimum: fewest records of a client.
    """

    alpha: float
    classes: int
    minimum: int


def iid(records: int, *, clients: int, stream: Keystream) -> list[Tensor]:
    """Returns indices (n_k,) for each client, drawn at random; sizes as `iid_sizes`.

    Raises:
        ValueError: fewer records than clients.
    """
    if not 1 <= clients <= records:
        raise ValueError(f"iid needs 1 to {records} clients for {records} records, got {clients}")
    return _indices(np.array_split(stream.permutation(records), clients))


def iid_sizes(records: int, *, clients: int) -> tuple[int, ...]:
    """Returns the records of each client: equal, or one more for the first ones."""
    share, extra = divmod(records, clients)
    return (share + 1,) * extra + (share,) * (clients - extra)


def dirichlet(
    labels: Tensor,
    *,
    clients: int,
    alpha: float,
    minimum: int,
    stream: Keystream,
) -> list[Tensor]:
    """Divides each class in proportions drawn from Dirichlet(alpha).

    Args:
        labels: (n,) class of each record.
        clients: number of clients.
        alpha: concentration, > 0; small is skewed, large is close to iid.
        minimum: fewest records of a client; the draw is repeated until it holds.
        stream: gives the proportions and the order.

    Returns:
        Indices (n_k,) for each client.

    Raises:
        ValueError: no draw out of 1000 leaves every client the minimum.

    Source: Yurochkin et al., ICML 2019, section 4; Li et al., ICDE 2022, section IV.
    """

    def draw() -> list[NDArray[np.int64]]:
        parts: list[list[NDArray[np.int64]]] = [[] for _ in range(clients)]
        classes = labels.numpy()
        for label in np.unique(classes):
            members = np.flatnonzero(classes == label)
            # The order of these two draws is part of what a seed means.
            members = members[stream.permutation(len(members))]
            cuts = _cuts(len(members), clients, alpha, stream)
            for part, share in zip(parts, np.split(members, cuts), strict=True):
                part.append(share)
        return [np.concatenate(part) for part in parts]

    return _until(minimum, draw, f"dirichlet with alpha={alpha:g}")


def quantity(
    records: int,
    *,
    clients: int,
    alpha: float,
    minimum: int,
    stream: Keystream,
) -> list[Tensor]:
    """Deals records at random, in amounts drawn from Dirichlet(alpha).

    Returns:
        Indices (n_k,) for each client.

    Raises:
        ValueError: no draw out of 1000 leaves every client the minimum.

    Source: Li et al., ICDE 2022, section IV ("quantity skew").
    """

    def draw() -> list[NDArray[np.int64]]:
        cuts = _cuts(records, clients, alpha, stream)
        return np.split(stream.permutation(records), cuts)

    return _until(minimum, draw, f"quantity with alpha={alpha:g}")


def pathological(labels: Tensor, *, clients: int, classes: int, stream: Keystream) -> list[Tensor]:
    """Sorts records by class, cuts them into shards, and deals `classes` shards to each client.

    A shard may reach over the border of two classes, as in the source.

    Returns:
        Indices (n_k,) for each client.

    Raises:
        ValueError: fewer records than shards.

    Source: McMahan et al., AISTATS 2017, section 3.
    """
    records = len(labels)
    shards = clients * classes
    if shards > records:
        raise ValueError(
            f"pathological needs clients x classes <= {records} records, got {clients} x {classes}"
        )
    # Shuffled first, so that the records of a class come in random order.
    order = stream.permutation(records)
    by_class = order[np.argsort(labels.numpy()[order], kind="stable")]
    pieces = np.array_split(by_class, shards)
    hands = stream.permutation(shards).reshape(clients, classes)
    return _indices([np.concatenate([pieces[shard] for shard in hand]) for hand in hands])


def _cuts(records: int, clients: int, alpha: float, stream: Keystream) -> NDArray[np.int64]:
    """Returns (clients - 1,) places to cut the records at, in random proportions."""
    ends = np.cumsum(_proportions(clients, alpha, stream))[:-1]
    cuts: NDArray[np.int64] = np.rint(ends * records).astype(np.int64)
    return cuts


def _proportions(clients: int, alpha: float, stream: Keystream) -> NDArray[np.float64]:
    """Returns (clients,) proportions from Dirichlet(alpha).

    They are gamma variates, by their inverse distribution, over their sum.
    """
    from scipy.special import gammaincinv  # SciPy takes long to import

    # In (0, 1), so that no variate is infinite.
    draws = stream.uniform(clients) - 2.0**-54
    gammas: NDArray[np.float64] = gammaincinv(alpha, draws)
    # With a tiny alpha all variates underflow: the largest one takes everything.
    if gammas.sum() == 0:
        gammas[draws.argmax()] = 1.0
    return gammas / float(gammas.sum())


def _until(minimum: int, draw: Callable[[], list[NDArray[np.int64]]], name: str) -> list[Tensor]:
    """Returns the first draw that leaves every client the minimum."""
    for _ in range(MAX_DRAWS):
        parts = draw()
        if min(map(len, parts)) >= minimum:
            return _indices(parts)
    raise ValueError(
        f"{name} left some of {len(parts)} clients below {minimum} records in {MAX_DRAWS} draws"
    )


def _indices(parts: list[NDArray[np.int64]]) -> list[Tensor]:
    return [torch.from_numpy(np.sort(part)) for part in parts]
