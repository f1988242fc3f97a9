"""Shamir's secret sharing over GF(p), p = 2^256 + 297, for secrets of 32 bytes.

The field is the smallest prime field above 256 bits, so that every 32-byte string is an element.

Source: Shamir, "How to share a secret", Communications of the ACM 1979.
"""

import secrets
from collections.abc import Mapping, Sequence
from functools import lru_cache

P = 2**256 + 297
SECRET_BYTES = 32
SHARE_BYTES = 33


def share(secret: bytes, *, threshold: int, points: Sequence[int]) -> list[bytes]:
    """Returns one share a point, 33 bytes each.

    Any `threshold` shares give the secret; fewer reveal nothing. The coefficients are fresh from
    the system's CSPRNG at every call.

    Args:
        secret: 32 bytes.
        threshold: 1 to len(points).
        points: distinct, 1 to 2^31 - 1.

    Raises:
        ValueError: a wrong length, threshold or point.
    """
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"a secret takes {SECRET_BYTES} bytes, got {len(secret)}")
    _check(points)
    if not 1 <= threshold <= len(points):
        raise ValueError(f"the threshold must be 1 to {len(points)}, got {threshold}")
    random = [secrets.randbelow(P) for _ in range(threshold - 1)]
    coefficients = [int.from_bytes(secret, "big"), *random]
    return [_at(coefficients, x).to_bytes(SHARE_BYTES, "big") for x in points]


def reconstruct(shares: Mapping[int, bytes]) -> bytes | None:
    """Returns the secret from exactly as many shares as its threshold.

    Args:
        shares: point -> share.

    Returns:
        32 bytes; None if the result is longer, which only wrong shares cause.

    Raises:
        ValueError: no share, a point out of range, or a share that is not 33 bytes below p.
    """
    points = tuple(sorted(shares))
    _check(points)
    values = [value_of(shares[x]) for x in points]
    weights = _at_zero(points)
    weighted = [weight * value for weight, value in zip(weights, values, strict=True)]
    secret = sum(weighted) % P
    if secret >= 2 ** (8 * SECRET_BYTES):
        return None
    return secret.to_bytes(SECRET_BYTES, "big")


def value_of(share: bytes) -> int:
    """Returns the field element of a share. Raises ValueError."""
    value = int.from_bytes(share, "big")
    if len(share) != SHARE_BYTES or value >= P:
        raise ValueError("a share is 33 bytes and below the prime")
    return value


def _at(coefficients: Sequence[int], x: int) -> int:
    """Returns the polynomial's value at x, by Horner's rule.

    Points are small, so that the reduction can wait until the end.
    """
    value = 0
    for coefficient in reversed(coefficients):
        value = value * x + coefficient
    return value % P


# Every secret of a block is reconstructed from much the same points.
@lru_cache(maxsize=1024)
def _at_zero(points: tuple[int, ...]) -> tuple[int, ...]:
    """Returns Lagrange's coefficients at zero: for x, the product over m != x of m / (m - x)."""
    coefficients = []
    for x in points:
        numerator = 1
        denominator = 1
        for other in points:
            if other != x:
                numerator = numerator * other % P
                denominator = denominator * (other - x) % P
        coefficients.append(numerator * pow(denominator, -1, P) % P)
    return tuple(coefficients)


def _check(points: Sequence[int]) -> None:
    if not points or len(set(points)) < len(points):
        raise ValueError("points must be distinct, and at least one")
    if not all(1 <= x < 2**31 for x in points):
        raise ValueError("a point must be 1 to 2^31 - 1; the secret itself lies at 0")
