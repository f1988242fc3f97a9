"""Judges the answers of blame at the server: who lied, and which pairs hold a liar.

`blame` describes stages 9 and 10, and says why somebody always fails there.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from securefl.channels.masking.sketches.blame import Opened, largest_sum
from securefl.channels.masking.sketches.conflicts import (
    CONTRADICTED,
    MISFIT,
    SILENT,
    Edge,
    settled,
)
from securefl.channels.masking.sketches.decoding import decoded_columns
from securefl.channels.masking.sketches.field import centred
from securefl.channels.masking.sketches.matrix import Matrix
from securefl.channels.masking.stream import add_masks
from securefl.errors import RoundAbandoned

_Dealers = tuple[int, ...]  # whose values are added up: one client, or a pair
_Shares = Mapping[int, Sequence[int]]  # holder -> elements


class Blame(NamedTuple):
    """The clients that take no further part, and the pairs of which one client lied.

    Attributes:
        named: client -> the reason, one of those in `conflicts`.
        pairs: no client of them is named, or in two of them.
    """

    named: Mapping[int, str]
    pairs: tuple[Edge, ...]


def expected_residue(
    matrix: Matrix,
    words: NDArray[Any],
    *,
    client: int,
    self_mask: bytes,
    outside: Mapping[int, bytes],
) -> NDArray[np.uint32]:
    """Returns (k,), the value of b_i modulo 2^32 of a client that does not lie.

    Args:
        matrix: of the round.
        words: (d,), the upload y_i; not modified.
        client: i.
        self_mask: the key of its self mask.
        outside: client outside S -> the key of the pair mask with it.
    """
    added = [key for other, key in outside.items() if other > client]
    subtracted = [key for other, key in outside.items() if other < client]
    unmasked = words.copy()
    add_masks(unmasked, plus=subtracted, minus=[self_mask, *added])
    return matrix.sketch(unmasked)


def least_answers(*, degree: int, f: int) -> int:
    """Returns how many holders must answer stage 10, so that anybody can be judged.

    Of the holders, 2 degree + 2 f + 1 or more answer, but for liars. With fewer answers than this,
    more honest clients are away than the session has room for.
    """
    return 2 * degree + f + 1


def judged(
    answers: Mapping[int, Opened],
    residues: Mapping[int, NDArray[np.uint32]],
    *,
    points: Mapping[int, int],
    dealt: Collection[int],
    degree: int,
    f: int,
) -> Blame:
    """Returns who is named, and who is in a pair of which one lied.

    Guarantees, if at most f clients lie, and 2 degree + 2 f + 1 holders or more answer, but for
    liars:
        - No honest client that dealt in stage 9 is named, and no pair is made of two honest ones.
        - If the check of the sum failed, and no honest client of S was silent, at least one liar is
          named or in a pair.

    Args:
        answers: holder -> its answer in stage 10. Holders that were named before, or are in a pair,
            must not be among them.
        residues: i -> `expected_residue`, for all i of S.
        points: holder -> the point of its shares.
        dealt: the clients of S that sent a dealing in stage 9.
        degree: c, of the polynomials of shares.
        f: how many clients may lie, without those that were named or in a pair before.

    Raises:
        RoundAbandoned: too few holders answered, or more than f clients must have lied.
    """
    least = least_answers(degree=degree, f=f)
    if len(answers) < least:
        raise RoundAbandoned(
            f"the sum disagrees with its sketches, and only {len(answers)} clients helped to find "
            f"out why; it takes {least}"
        )
    silent = set(residues) - set(dealt)
    board = _Board(answers, dealt, points=points, degree=degree, f=f)
    overruled = board.overruled()
    misfits = board.misfits(residues, bound=largest_sum(len(residues) - 1)) - overruled
    proven = overruled | misfits
    # Clients that are out anyway take nobody with them.
    out = proven | silent
    edges = board.rejections | board.differences()
    conflicts = settled([edge for edge in edges if out.isdisjoint(edge)], f=f - len(proven))
    named = {
        **dict.fromkeys(sorted(silent), SILENT),
        **dict.fromkeys(sorted(misfits), MISFIT),
        **dict.fromkeys(sorted(overruled | conflicts.named), CONTRADICTED),
    }
    return Blame(named, conflicts.pairs)


class _Board:
    """All answers of stage 10, decoded.

    Args:
        answers: holder -> its answer.
        dealt: the clients that dealt.
        points: holder -> the point of its shares.
        degree: of the polynomials of shares.
        f: how many clients may lie.
    """

    def __init__(
        self,
        answers: Mapping[int, Opened],
        dealt: Collection[int],
        *,
        points: Mapping[int, int],
        degree: int,
        f: int,
    ) -> None:
        self._answers = answers
        self._dealers = sorted(dealt)
        self._points = points
        self._degree = degree
        self._f = f
        self._rejecting = {
            dealer: {holder for holder, answer in answers.items() if dealer in answer.rejected}
            for dealer in self._dealers
        }

    @property
    def rejections(self) -> set[Edge]:
        """Each holder with each dealer that it rejects."""
        return {(holder, dealer) for dealer in self._dealers for holder in self._rejecting[dealer]}

    def overruled(self) -> set[int]:
        """Returns the dealers that more holders reject than can lie."""
        return {dealer for dealer, holders in self._rejecting.items() if len(holders) > self._f}

    def misfits(self, residues: Mapping[int, NDArray[np.uint32]], *, bound: int) -> set[int]:
        """Returns the dealers whose b_i does not decode, or is not what their upload says."""
        shares: dict[_Dealers, _Shares] = {}
        for client in self._dealers:
            shares[(client,)] = {
                holder: answer.sums[client]
                for holder, answer in self._answers.items()
                if client in answer.sums
            }
        opened = self._decoded(shares)
        return {
            client
            for (client,), values in opened.items()
            if not _fits(values, residues[client], bound=bound)
        }

    def differences(self) -> set[Edge]:
        """Returns the pairs that sketched their common mask differently."""
        shares: dict[_Dealers, _Shares] = {}
        for low in self._dealers:
            for high in self._dealers:
                if low < high:
                    shares[low, high] = {
                        holder: (answer.pairs[low, high],)
                        for holder, answer in self._answers.items()
                        if (low, high) in answer.pairs
                    }
        opened = self._decoded(shares)
        return {(low, high) for (low, high), values in opened.items() if values != [0]}

    def _decoded(self, shares: Mapping[_Dealers, _Shares]) -> dict[_Dealers, list[int | None]]:
        """Returns the values behind shares, None where they do not decode.

        Holders that reject an honest client's dealing lie, so that so many fewer of the others send
        wrong shares. If too many reject, one of the dealers is a liar.
        """
        groups: dict[tuple[tuple[int, ...], int], list[_Dealers]] = {}
        values: dict[_Dealers, list[int | None]] = {}
        for dealers, held in shares.items():
            rejecting = set().union(*(self._rejecting[dealer] for dealer in dealers))
            errors = self._f - len(rejecting)
            holders = tuple(sorted(set(held) - rejecting))
            if errors < 0:
                values[dealers] = [None]
            else:
                groups.setdefault((holders, errors), []).append(dealers)
        # The same holders hold most of them, and wrong ones are found for all at once.
        for (holders, errors), together in groups.items():
            rows = {
                self._points[holder]: [
                    element for dealers in together for element in shares[dealers][holder]
                ]
                for holder in holders
            }
            columns = decoded_columns(rows, degree=self._degree, errors=errors)
            width = len(columns) // len(together)
            for place, dealers in enumerate(together):
                values[dealers] = columns[place * width : (place + 1) * width]
        return values


def _fits(values: Sequence[int | None], residue: NDArray[np.uint32], *, bound: int) -> bool:
    """Whether b_i is known, in range, and what the upload says modulo 2^32."""
    if None in values or len(values) != len(residue):
        return False
    integers = [centred(value) for value in values if value is not None]
    if max(map(abs, integers)) > bound:
        return False
    return [integer % 2**32 for integer in integers] == residue.tolist()
