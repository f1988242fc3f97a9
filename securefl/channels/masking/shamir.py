"""Shamir's secret sharing over GF(p), p = 2^256 + 297, for secrets of 32 bytes.

Source: Shamir, Communications of the ACM 1979. The field is the smallest prime field above 256 bits, so that every
32-byte string is an element.
"""

import secrets
from collections.abc import Mapping, Sequence
from functools import lru_cache

P = 2**256 + 297
SECRET_BYTES = 32
SHARE_BYTES = 33


def share(secret: bytes, *, threshold: int, points: Sequence[int]) -> list[bytes]:
    """One share a point, 33 bytes each; any `threshold` of them give the secret, fewer tell nothing.

    The coefficients are fresh from the system's CSPRNG at every call.

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
    coefficients = [
        int.from_bytes(secret, "big"),
        *(secrets.randbelow(P) for _ in range(threshold - 1)),
    ]
    return [_at(coefficients, x).to_bytes(SHARE_BYTES, "big") for x in points]


def reconstruct(shares: Mapping[int, bytes]) -> bytes | None:
    """The secret from exactly as many shares as its threshold, point -> share.

    Returns:
        32 bytes; None if what comes out is longer, which only wrong shares do.

    Raises:
        ValueError: no share, a point out of range, or a share that is not 33 bytes below p.
    """
    points = tuple(sorted(shares))
    _check(points)
    values = [value_of(shares[x]) for x in points]
    secret = sum(weight * value for weight, value in zip(_at_zero(points), values, strict=True)) % P
    return secret.to_bytes(SECRET_BYTES, "big") if secret < 2 ** (8 * SECRET_BYTES) else None


def value_of(share: bytes) -> int:
    """The field element of a share. Raises ValueError."""
    value = int.from_bytes(share, "big")
    if len(share) != SHARE_BYTES or value >= P:
        raise ValueError("a share is 33 bytes and below the prime")
    return value


def _at(coefficients: Sequence[int], x: int) -> int:
    """The polynomial at x by Horner's rule; small points let the reduction wait until the end."""
    value = 0
    for coefficient in reversed(coefficients):
        value = value * x + coefficient
    return value % P


@lru_cache(maxsize=1024)
def _at_zero(points: tuple[int, ...]) -> tuple[int, ...]:
    """Lagrange's coefficients at zero: product over the other points m of m / (m - x)."""
    coefficients = []
    for x in points:
        above = below = 1
        for other in points:
            if other != x:
                above = above * other % P
                below = below * (other - x) % P
        coefficients.append(above * pow(below, -1, P) % P)
    return tuple(coefficients)


def _check(points: Sequence[int]) -> None:
    if not points or len(set(points)) < len(points):
        raise ValueError("points must be distinct, and at least one")
    if not all(1 <= x < 2**31 for x in points):
        raise ValueError("a point must be 1 to 2^31 - 1; the secret itself stands at 0")
