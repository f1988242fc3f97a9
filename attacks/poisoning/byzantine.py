"""Byzantine attacks: the rows that the adversary knows in, the rows that its clients send out, no input modified.

The rows known are honest ones: those its own clients would have sent, or more, where it sees more.
"""

import math
from statistics import NormalDist

import torch
from torch import Tensor

from attacks.poisoning.checks import check_count, check_positive, check_rows, deviations, repeated


def sign_flip(rows: Tensor, *, scale: float) -> Tensor:
    """The corrupt clients' own updates, reversed and scaled.

    Args:
        rows: (f, d), float32 or float64, the rows the corrupt clients would have sent if honest.
        scale: how far to go the other way, finite and > 0; 1 flips the sign only.

    Returns:
        (f, d), -scale * rows.

    Raises:
        ValueError: scale is not finite and positive, or rows is not 2-D, is empty or holds no floats.

    Source: Li et al., AAAI 2019 (RSA), experiments. Convention: each client reverses its own update, so it needs to
    see nothing else; ByzFL reverses the mean of the honest rows instead.
    """
    check_rows(rows)
    check_positive("sign_flip", "scale", scale)
    return -scale * rows


def gaussian(rows: Tensor, *, std: float, generator: torch.Generator) -> Tensor:
    """Independent normal noise in place of every row.

    Args:
        rows: (f, d), float32 or float64; only shape, dtype and device are used, never the values.
        std: standard deviation of each coordinate, finite and > 0; the source takes 200.
        generator: where the noise comes from, on the device of rows.

    Returns:
        (f, d), drawn from N(0, std^2), fresh at every call.

    Raises:
        ValueError: std is not finite and positive, or rows is not 2-D, is empty or holds no floats.

    Source: Blanchard et al., NeurIPS 2017, experimental evaluation.
    """
    check_rows(rows)
    check_positive("gaussian", "std", std)
    return std * torch.randn(rows.shape, generator=generator, dtype=rows.dtype, device=rows.device)


def zero(rows: Tensor, f: int) -> Tensor:
    """Nothing: a free rider takes the model and gives no update.

    Args:
        rows: (h, d), float32 or float64; only d, dtype and device are used, never the values.
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
    """Rows of NaN, infinity and minus infinity in turn: whatever does not set them aside is broken by one of them.

    Args:
        rows: (h, d), float32 or float64; only d, dtype and device are used, never the values.
        f: rows to send, >= 1.

    Returns:
        (f, d), row i all of the i-th kind.

    Raises:
        ValueError: f < 1, or rows is not 2-D, is empty or holds no floats.
    """
    check_rows(rows)
    check_count("non_finite", f)
    kinds = rows.new_tensor([math.nan, math.inf, -math.inf]).repeat(-(-f // 3))[:f]
    return kinds.unsqueeze(1).repeat(1, rows.shape[1])


def inner_product(rows: Tensor, f: int, *, scale: float) -> Tensor:
    """The mean of the rows, reversed and scaled, so that the inner product with it becomes negative (IPM).

    A small scale passes distance-based rules, and turns the mean once scale > (n - f) / f.

    Args:
        rows: (h, d), float32 or float64, the honest rows that the adversary knows.
        f: rows to send, >= 1.
        scale: epsilon of the source, finite and > 0; it takes .1 to 100.

    Returns:
        (f, d), all equal to -scale times the mean of rows.

    Raises:
        ValueError: scale is not finite and positive, f < 1, or rows is not 2-D, is empty or holds no floats.

    Source: Xie, Koyejo and Gupta, Fall of Empires, UAI 2019.
    """
    check_rows(rows)
    check_count("inner_product", f)
    check_positive("inner_product", "scale", scale)
    return repeated(-scale * rows.double().mean(dim=0), f, rows)


def a_little_is_enough(rows: Tensor, f: int, n: int, *, z: float | None = None) -> Tensor:
    """The mean of the rows moved by z of their deviations in every coordinate, as far as stays unseen (ALIE).

    Args:
        rows: (h, d), float32 or float64, the honest rows that the adversary knows.
        f: rows to send, >= 1 and < n.
        n: clients of the round, corrupt ones included.
        z: deviations to move, finite and > 0; by default `most_deviations(n, f)`, or 0 where that is negative.

    Returns:
        (f, d), all equal to the mean less z sample deviations (divisor h - 1; the source does not say which). A single
        row has none, and is sent as it is.

    Raises:
        ValueError: z is not finite and positive, or infinite by default, since the f have a majority; f < 1 or f >= n;
            or rows is not 2-D, is empty or holds no floats.

    Source: Baruch, Baruch and Goldberg, NeurIPS 2019, algorithm 3. Convention: against the direction of the deviation,
        as there; ByzFL adds it.
    """
    check_rows(rows)
    check_count("a_little_is_enough", f)
    if z is None:
        z = max(0.0, most_deviations(n, f))
        if math.isinf(z):
            raise ValueError(f"a_little_is_enough needs z where f has a majority, got f={f}, n={n}")
    else:
        check_positive("a_little_is_enough", "z", z)
    known = rows.double()
    return repeated(known.mean(dim=0) - z * deviations(known), f, rows)


def most_deviations(n: int, f: int) -> float:
    """z_max: how many deviations f rows may move so that enough honest rows are expected to lie further out.

    Args:
        n: clients of the round, corrupt ones included.
        f: corrupt ones, 1 <= f < n.

    Returns:
        The quantile of a normal at (n - f - s) / (n - f), where s = floor(n / 2 + 1) - f rows are still needed for a
        majority; inf where none are. Negative where the corrupt are too few to hide.

    Raises:
        ValueError: f < 1 or f >= n.

    Source: Baruch, Baruch and Goldberg, NeurIPS 2019, algorithm 3.
    """
    if not 1 <= f < n:
        raise ValueError(f"most_deviations needs 1 <= f < n, got f={f}, n={n}")
    needed = max(0, n // 2 + 1 - f)
    share = (n - f - needed) / (n - f)
    return NormalDist().inv_cdf(share) if 0 < share < 1 else math.inf if share == 1 else -math.inf
