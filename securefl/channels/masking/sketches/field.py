"""The field GF(p), p = 2^127 - 1, whose elements are Python integers below p.

It is wide enough for squared distances of sketches with weights, and an element takes 16 bytes.
Reducing is the expensive part of its arithmetic, so callers add up products before they reduce.
"""

import hashlib
import secrets
import struct
from collections.abc import Iterable, Sequence
from operator import mul

from securefl.errors import ProtocolError

P = 2**127 - 1  # a prime: Lucas, 1876
ELEMENT_BYTES = 16
MAX_POINT = 2**31 - 1

_EXPANDED = b"securefl masking 1, field elements of a seed"


def packed(elements: Sequence[int]) -> bytes:
    """Returns 16 bytes an element, little-endian.

    Args:
        elements: each 0 to p - 1.
    """
    return b"".join([element.to_bytes(ELEMENT_BYTES, "little") for element in elements])


def unpacked(data: bytes, count: int) -> list[int]:
    """Returns `count` elements from their bytes.

    Every element has one encoding, so that equal elements have equal bytes.

    Raises:
        ProtocolError: another number of bytes, or an element of p or more.
    """
    if len(data) != ELEMENT_BYTES * count:
        raise ProtocolError(f"{count} field elements take {ELEMENT_BYTES * count} bytes")
    elements = _integers(data)
    if elements and max(elements) >= P:
        raise ProtocolError("a field element is not below the prime")
    return elements


def random_elements(count: int) -> list[int]:
    """Returns elements from the system's CSPRNG, each uniform below p."""
    elements: list[int] = []
    while len(elements) < count:
        elements += _below(secrets.token_bytes(ELEMENT_BYTES * (count - len(elements))))
    return elements


def expanded(seed: bytes, count: int) -> list[int]:
    """Returns elements that anybody can derive from a public seed, each uniform below p.

    A longer expansion of the same seed begins with the shorter one.

    Source: SHAKE-256 (FIPS 202); 127 bits of every 16 bytes, and p itself is skipped.
    """
    stream = hashlib.shake_256(_EXPANDED + seed)
    blocks = count
    while True:
        elements = _below(stream.digest(ELEMENT_BYTES * blocks))
        if len(elements) >= count:
            return elements
        blocks += count - len(elements)


def centred(element: int) -> int:
    """Returns the integer of least absolute value that the element stands for."""
    return element - P if element > P // 2 else element


def dot(one: Iterable[int], other: Iterable[int]) -> int:
    """Returns the sum of products, as far as the shorter one goes; reduced once, at the end."""
    total: int = sum(map(mul, one, other))
    return total % P


def value_at(coefficients: Sequence[int], x: int) -> int:
    """Returns a polynomial's value at a small x, by Horner's rule.

    Points are small, so that the reduction can wait until the end.

    Args:
        coefficients: of 1, X, X^2 and so on.
        x: the point.
    """
    value = 0
    for coefficient in reversed(coefficients):
        value = value * x + coefficient
    return value % P


def _integers(data: bytes) -> list[int]:
    # Two words an element: half the time of as many calls of int.from_bytes.
    words = struct.unpack(f"<{len(data) // 8}Q", data)
    return [low | high << 64 for low, high in zip(words[::2], words[1::2], strict=True)]


def _below(data: bytes) -> list[int]:
    """Returns the lower 127 bits of every 16 bytes; what equals p is dropped, never folded to 0."""
    return [element for integer in _integers(data) if (element := integer & P) != P]
