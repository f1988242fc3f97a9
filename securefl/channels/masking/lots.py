"""How a cohort is divided into sums, and the lots that decide which client is in which.

A cohort has as few blocks as their size allows, or the given number of groups.
"""

import hashlib
import struct

MAX_BLOCK = 128  # clients in one sum


def blocks_for(clients: int, groups: int | None = None) -> int:
    """Returns how many blocks this many clients take: their groups, or as few as possible."""
    return -(-clients // MAX_BLOCK) if groups is None else groups


def smallest_and_largest(clients: int, sums: int) -> tuple[int, int]:
    """Returns how many clients the smallest and the largest of even sums have."""
    return clients // sums, -(-clients // sums)


def range_words(clients: int, sums: int) -> str:
    """Returns how many clients even sums have, in words."""
    smallest, largest = smallest_and_largest(clients, sums)
    return f"{smallest}" if smallest == largest else f"{smallest} to {largest}"


def threshold_for(invited: int, *, corrupt: int) -> int:
    """Returns the threshold of a sum of so many clients, see `Agreement.threshold`."""
    return (invited + corrupt) // 2 + 1


def check_groups(groups: int | None, cohort: int, *, fewest: int, regroup: bool) -> None:
    """Raises ValueError if a group of a cohort would be too small or too large for a sum."""
    if groups is None:
        if regroup:
            raise ValueError("regroup deals groups anew, and there are none: set groups")
        return
    if groups < 2:
        raise ValueError(f"groups must be at least 2, got {groups}")
    smallest, largest = smallest_and_largest(cohort, groups)
    if smallest < fewest or largest > MAX_BLOCK:
        raise ValueError(
            f"{groups} groups of {cohort} clients have {smallest} to {largest} each, "
            f"and a sum takes {fewest} to {MAX_BLOCK}"
        )


def dealt(
    cohort: tuple[int, ...], count: int, *, beacon: bytes, round: int | None
) -> tuple[tuple[int, ...], ...]:
    """Returns the cohort in so many blocks of even sizes, each ascending.

    Args:
        cohort: the invited clients, in any order.
        count: of blocks, at least 1.
        beacon: the number that the members drew together.
        round: its number where each round has a deal of its own; None where there is one deal.
    """
    order = sorted(cohort, key=lambda client: _lot(client, beacon, round))
    return tuple(tuple(sorted(order[block::count])) for block in range(count))


def _lot(client: int, beacon: bytes, round: int | None) -> bytes:
    """Returns the lot of a client, 32 bytes; under another label where the round is in it."""
    number = struct.pack("<I", client)
    if round is None:
        return hashlib.sha256(b"securefl masking 2, lot" + beacon + number).digest()
    of_round = struct.pack("<I", round)
    label = b"securefl masking 2, lot of a round"
    return hashlib.sha256(label + beacon + of_round + number).digest()
