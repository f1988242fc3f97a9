"""Which records go into which step."""

from collections.abc import Iterator

import torch
from torch import Tensor

from securefl.rng import Keystream


def shuffled_batches(records: int, *, batch: int, stream: Keystream) -> Iterator[Tensor]:
    """One epoch: every record once, in ceil(records / batch) batches of indices."""
    yield from torch.split(torch.from_numpy(stream.permutation(records)), batch)


def poisson_batches(
    records: int, *, sample_rate: float, steps: int, stream: Keystream
) -> Iterator[Tensor]:
    """`steps` batches of indices; each record is in each batch with probability sample_rate, independently.

    Empty batches are kept: leaving them out would change the distribution that the accountant assumes.
    """
    for _ in range(steps):
        yield torch.from_numpy(stream.bernoulli(records, probability=sample_rate).nonzero()[0])
