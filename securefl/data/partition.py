"""Ways to deal the records of one data set to clients; every record goes to exactly one."""

import numpy as np
import torch
from torch import Tensor

from securefl.rng import Keystream


def iid(records: int, *, clients: int, stream: Keystream) -> list[Tensor]:
    """Indices (n_k,) for each client, drawn at random; sizes as `iid_sizes`.

    Raises:
        ValueError: fewer records than clients.
    """
    if not 1 <= clients <= records:
        raise ValueError(f"iid needs 1 to {records} clients for {records} records, got {clients}")
    return [torch.from_numpy(np.sort(part)) for part in np.array_split(stream.permutation(records), clients)]


def iid_sizes(records: int, *, clients: int) -> tuple[int, ...]:
    """How many records each client gets: equal, the first ones one more where it does not divide."""
    share, extra = divmod(records, clients)
    return tuple(share + (index < extra) for index in range(clients))
