"""Finds a liar after the sum of the chosen clients S disagreed with the sum of their sketches.

Notation: y_i is the upload of client i, s_i the sketch that it dealt, x_ij the pair mask of clients
i and j, A the matrix of the round. Pair masks are added towards higher ids. No second sum opens in
such a round: two sums differ by updates of single clients.

    stage 9   each client i of S deals t_ij = A x_ij for each other j of S
    stage 10  each holder sends, after a random challenge rho,
              for i < j of S its share of sum_l rho_l (t_ij,l - t_ji,l)
              for i of S     its shares of b_i = s_i + sum_{j > i} t_ij - sum_{j < i} t_ij

The server removes from y_i the self mask and the masks with clients outside S, which stage 8
opened. A times what is left must equal b_i modulo 2^32, and the combination of each pair must be 0.

**Somebody always fails.** If nobody did, then t_ij = t_ji for all pairs, and the b_i would add up
to the sum of all s_i. Modulo 2^32 they would also add up to A times the opened sum. So the check
would not have failed. Each b_i is held to a range, because larger ones wrap around in the field,
which changes their sum modulo 2^32. One rho for all pairs suffices: liars fix their dealings before
it is drawn, and a difference stays unseen with probability 2^-127.

**What opens of honest clients.** The combination of two honest clients is 0. Modulo 2^32 the server
can compute b_i itself. The multiples of 2^32 in b_i would show something of s_i: among three
clients, the sign of a coordinate in 17 of 24 cases. So both ends of a pair add the same random
multiple of 2^32 to t_ij. They read it from a part of their mask's stream that no mask uses. Then
the b_i show no more than their sum, which stage 8 opened, up to a statistical distance of
n^2 k / 2^64 for n clients.

**Never open a pair key to settle a dispute.** A server that claims disputes between one client and
all others, one by one, would get all masks of that client, and with them its update.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from securefl.channels.masking.keys import TAG_BYTES
from securefl.channels.masking.sketches.conflicts import Edge
from securefl.channels.masking.sketches.field import P, dot, expanded
from securefl.channels.masking.sketches.matrix import Matrix
from securefl.channels.masking.stream import fastest

_RING_SIZE = 2**32
# Of a random multiple of 2^32. With 64 clients all b_i together stay below p / 2^20: no fraction
# whose denominator divides a weight is in their range.
_CARRY_BYTES = 8
_CARRY_RANGE = 1 << 8 * _CARRY_BYTES
_CARRY_CHUNK = 2**64  # of the pair mask's stream; uploads end long before


class Opened(NamedTuple):
    """The answer of one holder in stage 10.

    Attributes:
        rejected: dealers whose dealing of stage 9 it does not accept.
        pairs: (i, j) with i < j -> its share of the combination, where it accepted both.
        sums: i -> its k shares of b_i, where it accepted i.
    """

    rejected: frozenset[int]
    pairs: Mapping[Edge, int]
    sums: Mapping[int, Sequence[int]]


def partners(client: int, chosen: Sequence[int]) -> tuple[int, ...]:
    """Returns the clients of S other than this one, ascending: the order of its t_ij."""
    return tuple(other for other in sorted(chosen) if other != client)


def pair_sketches(matrix: Matrix, keys: Mapping[int, bytes], *, size: int) -> list[int]:
    """Returns the values that a client deals in stage 9: k integers t_ij for each partner j.

    Both ends of a pair get the same integers, |t| <= 2^31 + 2^95.

    Args:
        matrix: of the round.
        keys: partner -> the key of the pair mask with it.
        size: k, the coordinates of a sketch.

    Returns:
        partners in ascending order, and for each its k integers.
    """
    ordered = [keys[partner] for partner in sorted(keys)]
    sketches = matrix.sketches_of_masks(ordered).view(np.int32).tolist()
    values: list[int] = []
    for key, sketch in zip(ordered, sketches, strict=True):
        carries = _carries(key, size)
        values += [low + _RING_SIZE * carry for low, carry in zip(sketch, carries, strict=True)]
    return values


def _carries(key: bytes, size: int) -> list[int]:
    """Returns integers uniform in [-2^63, 2^63) from a part of the stream that no mask uses."""
    length = size * _CARRY_BYTES
    buffer = bytearray(length + TAG_BYTES)
    fastest()(key)(_CARRY_CHUNK, length, memoryview(buffer))
    parts = (buffer[at : at + _CARRY_BYTES] for at in range(0, length, _CARRY_BYTES))
    return [int.from_bytes(part, "little") - _CARRY_RANGE // 2 for part in parts]


def largest_sum(count: int) -> int:
    """Returns the greatest |b_i| of an honest client with so many partners."""
    return _RING_SIZE // 2 + count * (_RING_SIZE // 2 + _RING_SIZE * _CARRY_RANGE // 2)


def opened_shares(
    sketches: Mapping[int, Sequence[int]],
    pair_shares: Mapping[int, Sequence[int] | None],
    *,
    challenge: bytes,
) -> Opened:
    """Returns what a holder sends in stage 10.

    Args:
        sketches: i -> this holder's k shares of s_i, for all i of S.
        pair_shares: i -> its shares of t_ij for each partner j, k each; None where it rejects the
            dealing. Clients without a dealing are left out.
        challenge: 32 bytes that the server drew after all dealings.
    """
    chosen = sorted(sketches)
    size = len(next(iter(sketches.values()), ()))
    rho = expanded(challenge, size)
    sums: dict[int, list[int]] = {}
    combined: dict[Edge, int] = {}  # (dealer, partner) -> share of sum_l rho_l t_l
    for client, shares in pair_shares.items():
        if shares is None:
            continue
        total = list(sketches[client])
        for place, partner in enumerate(partners(client, chosen)):
            part = shares[place * size : (place + 1) * size]
            sign = 1 if partner > client else -1
            total = [before + sign * value for before, value in zip(total, part, strict=True)]
            combined[client, partner] = dot(rho, part)
        sums[client] = [value % P for value in total]
    pairs = {
        (low, high): (combined[low, high] - combined[high, low]) % P
        for low in sums
        for high in sums
        if low < high
    }
    rejected = frozenset(dealer for dealer, shares in pair_shares.items() if shares is None)
    return Opened(rejected, pairs, sums)
