"""Settles contradictions between clients, of which at most f lie.

A contradiction is an edge between two clients: a holder rejects a dealing, or the two ends of a
pair mask sketched it differently. The server cannot tell which end lies, only that one of them
does.

**No honest client is ever named.** All edges of an honest client end at liars, so that it has at
most f of them. A client with more than f edges is a liar. Without it, the edges that are left touch
at most f - 1 liars, and the same holds again with f - 1.

**At most one honest client is lost for each liar.** A pair is an edge, and so holds a liar. The
edges that are left when both ends are gone touch at most f - 1 liars. Every named client and every
pair uses up one liar of its own, which is why f falls by one for each.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from securefl.errors import RoundAbandoned

Edge = tuple[int, int]

# The reasons for which a client takes no further part in a run, in the words of its record.
CONTRADICTED = "more clients contradict it than can lie"
MISFIT = "its sketch could not be shown to fit its upload"
WRONG_SHARES = "the shares that it dealt do not give its secret"
# No proof of a lie: an honest client that is away looks the same.
SILENT = "it did not answer when the sum disagreed with its sketches"
# Nor here: the holder may lie. The dealer is out, since it could stop every round.
LACKING = "a client that answered lacks the shares that it dealt, and too few are left"
UNPROVEN = frozenset({SILENT, LACKING})


class Conflicts(NamedTuple):
    """The outcome of contradictions.

    Attributes:
        named: clients that certainly lie.
        pairs: clients of which one lies, ascending; no client is in two pairs or named, too.
        liars_left: how many of the other clients may lie.
    """

    named: frozenset[int]
    pairs: tuple[Edge, ...]
    liars_left: int


def settled(edges: Iterable[Edge], *, f: int) -> Conflicts:
    """Names clients with more than f edges, and matches the ends of the edges that are left.

    Named clients go before each match, and the smallest edge is matched next, so that the result
    is the same for every order of the edges. No edge is left between clients that are neither named
    nor in a pair.

    Args:
        edges: contradictions between two clients, in any order; doubles count once. A client that
            contradicts itself is named.
        f: how many of these clients may lie.

    Raises:
        RoundAbandoned: more than f clients must have lied, so that nobody can be named.
    """
    remaining = {(min(edge), max(edge)) for edge in edges}
    named: set[int] = set()
    pairs: list[Edge] = []
    while remaining and f > 0:
        liar = _contradicted(remaining, f)
        if liar is None:
            pairs.append(min(remaining))
        else:
            named.add(liar)
        gone = {liar} if liar is not None else set(min(remaining))
        remaining = {edge for edge in remaining if gone.isdisjoint(edge)}
        f -= 1
    if remaining or f < 0:
        raise RoundAbandoned("more clients contradict each other than so few liars explain")
    return Conflicts(frozenset(named), tuple(pairs), f)


def _contradicted(edges: Collection[Edge], f: int) -> int | None:
    """Returns the smallest client with more than f edges or one to itself, if there is one."""
    degrees = Counter(client for edge in edges for client in edge)
    certain = {low for low, high in edges if low == high}
    certain |= {client for client, degree in degrees.items() if degree > f}
    return min(certain, default=None)


def liars_left(named: Mapping[int, str], paired: Sequence[Edge], *, f: int) -> int:
    """Returns how many clients may still lie, once some are named and some are in pairs.

    A client that was only silent, or whose shares a holder lacks, does not count: it may be honest,
    and then all f liars are left.

    Args:
        named: client -> the reason for which it takes no further part.
        paired: pairs of which one client lies.
        f: how many clients may lie in the whole run.
    """
    proven = sum(reason not in UNPROVEN for reason in named.values())
    return max(0, f - proven - len(paired))
