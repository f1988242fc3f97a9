"""Judges the answers of blame at the server: who lied, and which pairs hold a liar.

`blame` describes stages 9 and 10, and says why somebody always fails there.
"""

import itertools
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

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

_Key = TypeVar("_Key", bound=Hashable)
_Values = list[int | None]


class Blame(NamedTuple):
    """The clients that take no further part, and the pairs of which one client lied.

    Attributes:
        named: client -> the reason, a constant of `conflicts`.
        pairs: ascending; no client is in two pairs, or named as well.
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

    A session has room for so many honest clients away that 2 degree + 2 f + 1 holders are left, of
    which f liars may be silent. With fewer answers, more honest clients are away.
    """
    return 2 * degree + f + 1


def judged(
    answers: Mapping[int, Opened],
    residues: Mapping[int, NDArray[Any]],
    *,
    points: Mapping[int, int],
    dealt: Collection[int],
    degree: int,
    f: int,
) -> Blame:
    """Returns who is named, and who is in a pair of which one lied.

    Guarantees, if at most f holders lie:
        - No honest client that dealt in stage 9 is named, and no pair is made of two honest ones,
          however many others are away.
        - If more clients of S were silent than liars are not found yet, an honest one is among
          them, and nobody is named for silence.
        - If the check of the sum failed, no honest client of S was silent, and at least
          2 degree + 2 f + 1 holders either lie or answer, then a liar is named or in a pair.

    So liars lose at most 2 f rounds of a run in which no honest client of S vanishes in the stages
    7 to 9: one when they are paired, and one more if they then deal wrong shares of their masks.

    Not guaranteed: a liar may hide its difference in the pair mask with a client that is silent in
    stage 9, and nobody can show that. An honest client of S that is silent there is named, unless
    more are silent than can lie. So an attacker that can cut off honest clients after stage 6 loses
    a round each time, and may get them named.

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
    dealers = sorted(dealt)
    silent = set(residues) - set(dealers)
    rejections = {
        (holder, dealer)
        for holder, answer in answers.items()
        for dealer in answer.rejected.intersection(dealers)
    }
    sums, pairs = _opened(answers, dealers, points=points, degree=degree, f=f)
    # With fewer answers, f wrong ones can keep an honest client's shares from being decoded.
    decodes = len(answers) >= degree + 2 * f + 1
    known_sums = {i: values for i, values in sums.items() if decodes or None not in values}
    known_pairs = {pair: values for pair, values in pairs.items() if decodes or None not in values}
    bound = largest_sum(len(residues) - 1)
    misfits = {i for i, values in known_sums.items() if not _fits(values, residues[i], bound=bound)}
    different = {pair for pair, values in known_pairs.items() if values != [0]}
    # Clients that are out anyway take nobody with them.
    out = misfits | silent
    edges = [edge for edge in rejections | different if out.isdisjoint(edge)]
    conflicts = settled(edges, f=f - len(misfits))
    # With more than that, the network failed, and honest clients should not pay for it.
    blamed = sorted(silent) if len(silent) <= conflicts.liars_left else []
    named = {
        **dict.fromkeys(blamed, SILENT),
        **dict.fromkeys(sorted(misfits), MISFIT),
        **dict.fromkeys(sorted(conflicts.named), CONTRADICTED),
    }
    return Blame(named, conflicts.pairs)


def _opened(
    answers: Mapping[int, Opened],
    dealers: Sequence[int],
    *,
    points: Mapping[int, int],
    degree: int,
    f: int,
) -> tuple[dict[int, _Values], dict[Edge, _Values]]:
    """Returns b_i of each dealer, and the combination of each pair; None where it does not decode.

    An honest client's shares always decode. Holders that reject its dealing or leave out its shares
    lie or are away, and a liar that sends nothing sends nothing wrong.
    """
    sums: dict[int, dict[int, Sequence[int]]] = {dealer: {} for dealer in dealers}
    pairs: dict[Edge, dict[int, Sequence[int]]] = {
        pair: {} for pair in itertools.combinations(dealers, 2)
    }
    for holder, answer in answers.items():
        for dealer in sums.keys() & answer.sums.keys():
            sums[dealer][points[holder]] = answer.sums[dealer]
        for pair in pairs.keys() & answer.pairs.keys():
            pairs[pair][points[holder]] = [answer.pairs[pair]]
    return _decoded(sums, degree=degree, f=f), _decoded(pairs, degree=degree, f=f)


def _decoded(
    shares: Mapping[_Key, Mapping[int, Sequence[int]]], *, degree: int, f: int
) -> dict[_Key, _Values]:
    """Returns the values behind shares at points, for each key as many as a point has."""
    groups: dict[tuple[int, ...], list[_Key]] = {}
    for key, held in shares.items():
        groups.setdefault(tuple(sorted(held)), []).append(key)
    values: dict[_Key, _Values] = {}
    # Most are held at the same points, where wrong ones are found for all at once.
    for held_at, keys in groups.items():
        rows = {point: [e for key in keys for e in shares[key][point]] for point in held_at}
        columns = decoded_columns(rows, degree=degree, errors=f)
        width = len(columns) // len(keys)
        for place, key in enumerate(keys):
            values[key] = columns[place * width : (place + 1) * width]
    return values


def _fits(values: Sequence[int | None], residue: NDArray[np.uint32], *, bound: int) -> bool:
    """Whether b_i is known, in range, and what the upload says modulo 2^32."""
    if None in values or len(values) != len(residue):
        return False
    integers = [centred(value) for value in values if value is not None]
    if max(map(abs, integers)) > bound:
        return False
    return all(
        integer % 2**32 == word for integer, word in zip(integers, residue.tolist(), strict=True)
    )
