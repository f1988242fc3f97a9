"""Batches in which the records of several clients take turns."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import NamedTuple

import torch
from torch import Tensor

from securefl.data.task import Examples
from securefl.learning.device import CPU


class Batch(NamedTuple):
    """One step's records of several clients; row r belongs to client r % clients.

    Attributes:
        features: (rows, ...), as the records hold them.
        labels: (rows, ...).
        sizes: (clients,), how many records of each client are real. A client's later rows only
            fill up its batch.
    """

    features: Tensor
    labels: Tensor
    sizes: Tensor

    @property
    def real(self) -> Tensor:
        """Whether each row is a record of the step, (rows,)."""
        clients = len(self.sizes)
        places = torch.arange(len(self.labels) // clients, device=self.sizes.device)
        return (places[:, None] < self.sizes).flatten()


def longest_first(steps: Mapping[int, Sequence[Tensor]]) -> list[int]:
    """Returns the clients with most steps first, so that those who go on are always the first."""
    return sorted(steps, key=lambda client: (-len(steps[client]), client))


def largest_batches(steps: Sequence[Sequence[Tensor]]) -> list[int]:
    """Returns the size of the largest batch of each step.

    Args:
        steps: of each client, the indices (batch,) of every step.
    """
    sizes = [[indices.shape[0] for indices in own] for own in steps]
    return [max(of_step) for of_step in zip_longest(*sizes, fillvalue=0)]


def stacked_batches(
    examples: Sequence[Examples],
    steps: Sequence[Sequence[Tensor]],
    largest: Sequence[int],
    device: torch.device = CPU,
) -> Iterator[Batch]:
    """Yields one batch a step, of the clients that have not ended; it may have no rows.

    Batches that are smaller than the step's largest are filled up with records of the same client:
    one of another client could bring a NaN that is not this client's.

    Args:
        examples: of each client.
        steps: of each client, the indices (batch,) of every step; no client has more steps than
            the one before.
        largest: the size of the largest batch of each step.
        device: where the batches go, one after another.
    """
    sizes = [[indices.shape[0] for indices in own] for own in steps]
    everything = [_filled(own, largest) for own in steps]
    # Gathered once a round, since a call for every client and step takes longer than the step.
    features, labels = _gathered(examples, everything)  # (places, clients, ...)
    start = 0
    for step, batch in enumerate(largest):
        of_step = [own[step] for own in sizes if step < len(own)]
        active, end = len(of_step), start + batch
        yield Batch(
            features[start:end, :active].flatten(0, 1).contiguous().to(device),
            labels[start:end, :active].flatten(0, 1).contiguous().to(device),
            torch.tensor(of_step).to(device),
        )
        start = end


def _filled(steps: Sequence[Tensor], largest: Sequence[int]) -> Tensor:
    """Returns the indices of all steps in a row, each filled up to the largest batch of its step.

    Steps that the client does not take are filled up, too.
    """
    if all(own.shape[0] == batch for own, batch in zip(steps, largest, strict=False)):
        parts = list(steps)
    else:
        parts = [_padded(own, batch) for own, batch in zip(steps, largest, strict=False)]
    rest = sum(largest[len(steps) :])
    return torch.cat([*parts, torch.zeros(rest, dtype=torch.int64)])


def _padded(indices: Tensor, batch: int) -> Tensor:
    """Returns the indices (n,), and that of the client's first record up to (batch,)."""
    return torch.cat([indices, indices.new_zeros(batch - len(indices))])


def _gathered(examples: Sequence[Examples], chosen: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Returns the chosen features and labels (places, clients, ...)."""
    features = torch.stack(
        [_records(own.features, indices) for own, indices in zip(examples, chosen, strict=True)],
        dim=1,
    )
    labels = torch.stack(
        [_records(own.labels, indices) for own, indices in zip(examples, chosen, strict=True)],
        dim=1,
    )
    return features, labels


def _records(values: Tensor, indices: Tensor) -> Tensor:
    """Returns the values at the indices; zeros where there are no records at all."""
    if len(values):
        return values.index_select(0, indices)
    return values.new_zeros((len(indices), *values.shape[1:]))
