"""How much the means of groups tell together, when groups change from round to round.

Each mean of a group is an equation: a row of a matrix with a 1 for each of its clients. Once that
matrix has as many independent rows as there are clients, least squares give the mean update of each
client. Groups that stay the same add no new equations. Clients that drop out do, and so does
dealing anew.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from securefl.federation.record import RoundRecord
from securefl.federation.values import Played

# Exact whole numbers, modulo a prime: the rank is never too high, and too low only where the prime
# divides a minor. No minor of zeros and ones over up to 16 clients is as large as this prime.
_PRIME = 2**31 - 1


class GroupMatrix:
    """The 0/1 matrix of all groups so far, one row a group, one column a client.

    It keeps a basis of the rows in reduced echelon form: at most as many rows as clients.
    """

    def __init__(self) -> None:
        self._basis: NDArray[np.int64] = np.zeros((0, 0), dtype=np.int64)  # (rank, clients)
        self._pivots: list[int] = []  # the column of each row's leading 1

    @property
    def rank(self) -> int:
        """How many of the groups are independent."""
        return len(self._pivots)

    def add(self, group: Iterable[int]) -> None:
        """Adds a group of clients."""
        clients = list(group)
        self._widen(max(clients, default=-1) + 1)
        row = np.zeros(self._basis.shape[1], dtype=np.int64)
        row[clients] = 1
        parts = row[self._pivots, None] * self._basis % _PRIME
        row = (row - parts.sum(axis=0)) % _PRIME
        leading = np.flatnonzero(row)
        if not len(leading):
            return
        pivot = int(leading[0])
        row = row * pow(int(row[pivot]), -1, _PRIME) % _PRIME
        multiples = self._basis[:, pivot, None] * row % _PRIME
        self._basis = np.vstack([(self._basis - multiples) % _PRIME, row])
        self._pivots.append(pivot)

    def _widen(self, clients: int) -> None:
        missing = clients - self._basis.shape[1]
        if missing > 0:
            self._basis = np.pad(self._basis, ((0, 0), (0, missing)))


def with_rank(rounds: Iterable[Played], before: Iterable[RoundRecord]) -> Iterator[Played]:
    """Yields rounds with the rank of all their groups, where rows are the means of groups.

    Args:
        rounds: as they are played.
        before: the records of earlier rounds of the run.
    """
    matrix = GroupMatrix()
    for record in before:
        _add(matrix, record)
    for played in rounds:
        if played.record.groups:
            _add(matrix, played.record)
            played = replace(played, record=replace(played.record, rank=matrix.rank))
        yield played


def _add(matrix: GroupMatrix, record: RoundRecord) -> None:
    for group in record.groups:
        matrix.add(group)
