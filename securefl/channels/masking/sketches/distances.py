"""Squared distances of dealt sketches, and nothing else about them.

Every holder squares and adds its own shares: its sum is a share, of twice the degree, of the
squared distance of two sketches. Two sharings of zero, one from each client of the pair, hide
everything in it except the distance. If other clients dealt these zeros, one of them could write
any distance, and no later check would notice.

Source: multiplication of shares as in Ben-Or, Goldwasser and Wigderson, STOC 1988, section 3.
"""

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import NamedTuple

from securefl.channels.masking.sketches.dealing import Shares
from securefl.channels.masking.sketches.decoding import solved_columns
from securefl.channels.masking.sketches.field import P, dot

Pair = tuple[int, int]


class Distances(NamedTuple):
    """What the answers of all holders give.

    Args:
        squared: pair (i, j), i < j -> squared distance of w_j s_i and w_i s_j, exactly.
        out_of_range: pairs whose distance no two sketches have: one of the two dealt no sketch.
        undecoded: pairs that too many holders answered wrongly.
        wrong: points of holders that answered a pair wrongly.
    """

    squared: dict[Pair, int]
    out_of_range: frozenset[Pair]
    undecoded: frozenset[Pair]
    wrong: frozenset[int]


def pair_values(
    own: Mapping[int, Shares], weights: Mapping[int, int], clients: tuple[int, ...]
) -> dict[Pair, int]:
    """Returns a holder's answer: one field element for each pair that it accepts both of.

    Args:
        own: dealer -> this holder's accepted shares.
        weights: dealer -> its public weight.
        clients: all clients that uploaded, ascending. The zeros of a dealing belong to the other
            clients in this order.

    Raises:
        ValueError: clients that are not ascending, a dealer that is none of them, or a dealing
            with another number of zeros.
    """
    _check_own(own, clients)
    position = {client: i for i, client in enumerate(clients)}
    norms = {i: dot(shares.values, shares.values) for i, shares in own.items()}
    values = {}
    for i, j in combinations(sorted(own), 2):
        # |w_j s_i - w_i s_j|^2 with one product a coordinate.
        product = dot(own[i].values, own[j].values)
        w_i = weights[i]
        w_j = weights[j]
        distance = w_j * w_j * norms[i] + w_i * w_i * norms[j] - 2 * w_i * w_j * product
        # The list of i's zeros has no entry for i itself, which comes before j.
        zeros = own[i].zeros[position[j] - 1] + own[j].zeros[position[i]]
        values[i, j] = (distance + zeros) % P
    return values


def squared_distances(
    values: Mapping[int, Mapping[Pair, int]],
    *,
    clients: tuple[int, ...],
    weights: Mapping[int, int],
    degree: int,
    errors: int,
    most: int,
) -> Distances:
    """Returns the squared distances of all pairs of clients from the holders' answers.

    Args:
        values: holder's point -> pair -> field element. Pairs of other clients are ignored; a
            holder without a pair counts as missing there.
        clients: the clients to compare.
        weights: client -> its public weight.
        degree: of the answers' polynomials, twice that of a dealing.
        errors: the greatest number of holders that answer wrongly.
        most: the largest squared distance of two sketches with weight 1: k 2^64.
    """
    squared: dict[Pair, int] = {}
    out_of_range: set[Pair] = set()
    undecoded: set[Pair] = set()
    wrong: frozenset[int] = frozenset()
    for points, pairs in _by_holders(values, combinations(sorted(clients), 2)).items():
        if not points:
            undecoded.update(pairs)
            continue
        rows = {x: [values[x][pair] for pair in pairs] for x in points}
        columns = solved_columns(rows, degree=degree, errors=errors)
        wrong |= columns.wrong
        for pair, distance in zip(pairs, columns.constants, strict=True):
            if distance is None:
                undecoded.add(pair)
            elif 4 * distance > most * (weights[pair[0]] + weights[pair[1]]) ** 2:
                out_of_range.add(pair)
            else:
                squared[pair] = distance
    return Distances(squared, frozenset(out_of_range), frozenset(undecoded), wrong)


def _by_holders(
    values: Mapping[int, Mapping[Pair, int]], pairs: Iterable[Pair]
) -> dict[tuple[int, ...], list[Pair]]:
    """Returns the pairs by the points of the holders that answered them: mostly one group."""
    groups: dict[tuple[int, ...], list[Pair]] = {}
    for pair in pairs:
        points = tuple(x for x in sorted(values) if pair in values[x])
        groups.setdefault(points, []).append(pair)
    return groups


def _check_own(own: Mapping[int, Shares], clients: tuple[int, ...]) -> None:
    if list(clients) != sorted(set(clients)):
        raise ValueError("clients must be ascending, each of them once")
    if not set(own) <= set(clients):
        raise ValueError("every dealer must be one of the clients")
    if any(len(shares.zeros) != len(clients) - 1 for shares in own.values()):
        raise ValueError(f"a dealing among {len(clients)} clients has {len(clients) - 1} zeros")
