"""Gaussian noise for DP releases, in float64 from a keystream."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from securefl.rng import BLOCK, Keystream

# Any even number above 2 resists the attack; Opacus' secure mode takes 4, too.
DRAWS_PER_NORMAL = 4


def hardened_normal(size: int, stream: Keystream) -> NDArray[np.float64]:
    """Returns (size,) standard normals, each the sum of four draws divided by 2.

    Guarantees:
        - Mean 0, variance 1: four unit variances over 2 squared.
        - The floating-point pattern of one draw no longer reveals the value below the noise.

    Source: Holohan and Braghin, ESORICS 2021, section 5.1, with n = 2.
    """
    total = np.zeros(size)
    for _ in range(DRAWS_PER_NORMAL):
        # A call for each draw: within one call, two coordinates share a radius and an angle.
        stream.add_normal(total)
    total /= math.sqrt(DRAWS_PER_NORMAL)
    return total


def hardened_normals(sizes: Sequence[int], stream: Keystream) -> Iterator[NDArray[np.float64]]:
    """Yields what `hardened_normal` returns for each size in turn, bit for bit.

    A model has many parameters of a few numbers. One after another, their noise takes far longer to
    call than to make.
    """
    together: list[int] = []
    for size in sizes:
        if together and sum(together) + size > BLOCK:
            yield from _small_normals(together, stream)
            together = []
        together.append(size)
    if together:
        yield from _small_normals(together, stream)


def _small_normals(sizes: Sequence[int], stream: Keystream) -> Iterator[NDArray[np.float64]]:
    """Yields the normals of each size, which the stream gives in one piece."""
    if len(sizes) == 1:
        yield hardened_normal(sizes[0], stream)
        return
    halves = [(size + 1) // 2 for size in sizes]
    numbers = stream.uniform(2 * DRAWS_PER_NORMAL * sum(halves))
    ends = np.cumsum([2 * DRAWS_PER_NORMAL * half for half in halves])[:-1]
    # A size after another, in each its draws, in each the radii of all pairs and then their angles.
    pieces = [piece.reshape(DRAWS_PER_NORMAL, 2, -1) for piece in np.split(numbers, ends)]
    table = torch.from_numpy(np.concatenate(pieces, axis=2))  # (draws, 2, all halves)
    radii = table[:, 0].log().mul_(-2.0).sqrt_()
    angles = table[:, 1] * (2.0 * math.pi)
    cosines, sines = (_total(radii * part) for part in (angles.cos(), angles.sin()))
    start = 0
    for size, half in zip(sizes, halves, strict=True):
        end = start + half
        # An odd size leaves the last sine out.
        yield np.concatenate([cosines[start:end], sines[start : start + size - half]])
        start = end


def _total(draws: torch.Tensor) -> NDArray[np.float64]:
    """Returns the hardened normals of draws (draws, n), added in their order."""
    total = torch.zeros_like(draws[0])
    for draw in draws:
        total += draw
    return (total / math.sqrt(DRAWS_PER_NORMAL)).numpy()
