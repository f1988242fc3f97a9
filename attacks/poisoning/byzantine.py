"""Byzantine attacks on rows: from the rows that the adversary sees to the rows that it sends.

It sees honest rows: the ones that its own clients would have sent, or more if it knows more. No
attack changes its input.
"""

import math
from statistics import NormalDist

import torch
from torch import Tensor

from attacks.poisoning.checks import check_count, check_positive, check_rows, deviations, repeated


def sign_flip(rows: Tensor, *, scale: float) -> Tensor:
    """Reverses and scales the corrupt clients' own updates.

    Args:
        rows: (f, d), float32 or float64, the rows that the corrupt clients would have sent.
        scale: how far to go the other way, finite and > 0; 1 only flips the sign.

    Returns:
        (f, d), -scale * rows.

    Raises:
        ValueError: scale is not finite and positive, or rows is not 2-D, is empty or holds no
            floats.

    Source: Li et al., AAAI 2019 (RSA), experiments. Convention: each client reverses its own update
        and needs no other row. ByzFL reverses the mean of the honest rows instead.
    """
    check_rows(rows)
    check_positive("sign_flip", "scale", scale)
    return -scale * rows


def gaussian(rows: Tensor, *, std: float, generator: torch.Generator) -> Tensor:
    """Replaces every row with independent normal noise.

    Args:
        rows: (f, d), float32 or float64; only shape, dtype and device matter.
        std: standard deviation of each coordinate, finite and > 0; the source takes 200.
        generator: draws the noise, on the device of rows.

    Returns:
        (f, d), drawn from N(0, std^2), new at every call.

    Raises:
        ValueError: std is not finite and positive, or rows is not 2-D, is empty or holds no floats.

    Source: Blanchard et al., NeurIPS 2017, experimental evaluation.
    """
    check_rows(rows)
    check_positive("gaussian", "std", std)
    noise = torch.randn(rows.shape, generator=generator, dtype=rows.dtype, device=rows.device)
    return std * noise


def zero(rows: Tensor, f: int) -> Tensor:
    """Sends zeros: a free rider takes the model and contributes nothing.

    Args:
        rows: (h, d), float32 or float64; only d, dtype and device matter.
        f: rows to send, >= 1.

    Returns:
        (f, d) zeros.

    Raises:
        ValueError: f < 1, or rows is not 2-D, is empty or holds no floats.

    Source: Lin, Du and Liu, Free-riders in Federated Learning, 2019.
    """
    check_rows(rows)
    check_count("zero", f)
    return rows.new_zeros(f, rows.shape[1])


def non_finite(rows: Tensor, f: int) -> Tensor:
    """Sends rows of NaN, infinity and minus infinity in turn, to break rules without a screen.

    Args:
        rows: (h, d), float32 or float64; only d, dtype and device matter.
        f: rows to send, >= 1.

    Returns:
        (f, d), each row all NaN, all infinity or all minus infinity.

    Raises:
        ValueError: f < 1, or rows is not 2-D, is empty or holds no floats.
    """
    check_rows(rows)
    check_count("non_finite", f)
    cycle = rows.new_tensor([math.nan, math.inf, -math.inf])
    cycles = -(-f // len(cycle))  # rounded up
    values = cycle.repeat(cycles)[:f]
    return values.unsqueeze(1).repeat(1, rows.shape[1])


def inner_product(rows: Tensor, f: int, *, scale: float) -> Tensor:
    """Reverses and scales the rows' mean, so that its inner product turns negative (IPM).

    A small scale passes rules that look at distances. Once scale > (n - f) / f, it reverses a mean
    over all rows.

    Args:
        rows: (h, d), float32 or float64, the honest rows that the adversary sees.
        f: rows to send, >= 1.
        scale: the source's epsilon, finite and > 0; it takes 0.1 to 100.

    Returns:
        (f, d), all equal to -scale times the mean of rows.

    Raises:
        ValueError: scale is not finite and positive, f < 1, or rows is not 2-D, is empty or holds
            no floats.

    Source: Xie, Koyejo and Gupta, Fall of Empires, UAI 2019.
    """
    check_rows(rows)
    check_count("inner_product", f)
    check_positive("inner_product", "scale", scale)
    mean = rows.double().mean(dim=0)
    return repeated(-scale * mean, f, rows)


def a_little_is_enough(
    rows: Tensor,
    f: int,
    n: int,
    *,
    z: float | None = None,
) -> Tensor:
    """Moves the rows' mean by z deviations in every coordinate, as far as goes unnoticed (ALIE).

    Args:
        rows: (h, d), float32 or float64, the honest rows that the adversary sees.
        f: rows to send, >= 1 and < n.
        n: clients of the round, corrupt ones included.
        z: deviations to move, finite and > 0; by default `most_deviations(n, f)`, or 0 where that
            is negative.

    Returns:
        (f, d), all equal to the mean minus z sample deviations (divisor h - 1; the source names
        none). A single row has no deviation and is sent as it is.

    Raises:
        ValueError: z is not finite and positive; the default z is infinite, since the f rows have a
            majority; f < 1 or f >= n; or rows is not 2-D, is empty or holds no floats.

    Source: Baruch, Baruch and Goldberg, NeurIPS 2019, algorithm 3. Convention: against the
        deviations, as there; ByzFL adds them.
    """
    check_rows(rows)
    check_count("a_little_is_enough", f)
    if z is None:
        z = max(0.0, most_deviations(n, f))
        if math.isinf(z):
            raise ValueError(f"a_little_is_enough needs z where f has a majority, got f={f}, n={n}")
    else:
        check_positive("a_little_is_enough", "z", z)
    exact = rows.double()
    row = exact.mean(dim=0) - z * deviations(exact)
    return repeated(row, f, rows)


def most_deviations(n: int, f: int) -> float:
    """Returns z_max: the most deviations that f rows may move and still look honest.

    They look honest if enough honest rows are expected to lie further out.

    Args:
        n: clients of the round, corrupt ones included.
        f: corrupt ones, 1 <= f < n.

    Returns:
        The normal quantile at (n - f - s) / (n - f). Here s = floor(n / 2 + 1) - f is the number of
        honest rows that the corrupt ones need for a majority. Infinite if s = 0; negative where the
        corrupt rows are too few to hide.

    Raises:
        ValueError: f < 1 or f >= n.

    Source: Baruch, Baruch and Goldberg, NeurIPS 2019, algorithm 3.
    """
    if not 1 <= f < n:
        raise ValueError(f"most_deviations needs 1 <= f < n, got f={f}, n={n}")
    honest = n - f
    majority = n // 2 + 1
    supporters = max(0, majority - f)
    share = (honest - supporters) / honest
    if share == 1:
        return math.inf
    if share == 0:
        return -math.inf
    return NormalDist().inv_cdf(share)
