"""Norms of many vectors that are never below the true ones, and factors that shorten vectors."""

import math

import torch
from torch import Tensor

NUMBERS_A_BLOCK = 2**16  # of a conversion to float64 that stays in the cache
# Chance of a rounding error above the bound: 2 m exp(-LAMBDA^2 / 2), 1e-10 for m = 1e4 terms.
LAMBDA = 8.0
NORM_OFFSET = 1e-6  # that Opacus adds to every norm


def squared_norms(rows: Tensor) -> Tensor:
    """Returns (n,) squared norms of rows (n, *shape), float64.

    float32 would be off by 4e-5 at a million coordinates, always to the same side.
    """
    flat = rows.flatten(1)
    n, size = flat.shape
    total = torch.zeros(n, dtype=torch.float64, device=rows.device)
    width = max(1, NUMBERS_A_BLOCK // max(1, n))
    for start in range(0, size, width):
        total += flat[:, start : start + width].to(torch.float64, copy=True).square_().sum(dim=1)
    return total


def clip_factors(norms: Tensor, clip: float | Tensor) -> Tensor:
    """Returns the factors (batch,) that bring gradients to at most the clip, float64.

    Args:
        norms: (batch,) float64. A gradient whose norm is not finite gets the factor 0.
        clip: the bound, > 0; one for all, or (batch,).
    """
    factors = (clip / (norms + NORM_OFFSET)).clamp(max=1.0)
    return factors.where(norms.isfinite(), 0.0)


def rounded_down(factors: Tensor, dtype: torch.dtype) -> Tensor:
    """Returns factors >= 0 in another type: a clipped gradient must not become longer than that."""
    rounded = factors.to(dtype)
    return torch.where(
        rounded.double() > factors, rounded.nextafter(torch.zeros_like(rounded)), rounded
    )


def rounding(terms: int, dtype: torch.dtype) -> float:
    """Returns the bound on the error of a sum of products, over the sum of their absolute values.

    It holds for every order of the sum, but with probability: errors do not all point one way.

    Args:
        terms: number of products.
        dtype: in which they are multiplied and added.

    Source: Higham and Mary, SIAM Journal on Scientific Computing 2019, theorem 2.4.
    """
    return LAMBDA * math.sqrt(terms) * torch.finfo(dtype).eps / 2
