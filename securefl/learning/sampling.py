"""Draws the records of each local step."""

from collections.abc import Iterator

import torch
from torch import Tensor

from securefl.rng import Keystream


def shuffled_batches(records: int, *, batch: int, stream: Keystream) -> Iterator[Tensor]:
    """Yields one epoch: ceil(records / batch) batches of indices, every record once."""
    # Torch would make one empty batch of no records.
    if records:
        yield from torch.split(torch.from_numpy(stream.permutation(records)), batch)


def poisson_batches(
    records: int, *, sample_rate: float, steps: int, stream: Keystream
) -> Iterator[Tensor]:
    """Yields `steps` batches of indices; every record joins each batch by a coin of its own.

    Args:
        records: number of records.
        sample_rate: probability of a record to be in a batch, 0 to 1.
        steps: number of batches.
        stream: tosses the coins.
    """
    for _ in range(steps):
        # Empty batches count, too: the accountant's distribution includes them.
        coins = stream.bernoulli(records, probability=sample_rate)
        yield torch.from_numpy(coins.nonzero()[0])
