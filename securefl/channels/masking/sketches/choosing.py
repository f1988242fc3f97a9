"""The server's choice of clients, from the distances between sketches that it knows in shares only.

Nothing here is secret. The functions take what clients sent and signed, and name who lied.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from securefl.channels.masking.agreement import Agreement
from securefl.channels.masking.fixed_point import FixedPoint
from securefl.channels.masking.sketches.blame import largest_sum
from securefl.channels.masking.sketches.conflicts import (
    CONTRADICTED,
    LACKING,
    UNPROVEN,
    liars_left,
    settled,
)
from securefl.channels.masking.sketches.context import points_of, sketching_of
from securefl.channels.masking.sketches.decoding import decoded_columns
from securefl.channels.masking.sketches.distances import Pair, squared_distances
from securefl.channels.masking.sketches.field import centred
from securefl.channels.protocol import Selection
from securefl.errors import RoundAbandoned

_BITS = 64  # of a squared coordinate of a sketch


@dataclass(frozen=True)
class Suspects:
    """The clients that lied, or one of whom lied, and how many liars remain among the others.

    Args:
        liars: clients that may still lie.
        named: client -> why it takes no further part.
        paired: pairs of clients, one of each lied.
    """

    liars: int
    named: Mapping[int, str] = field(default_factory=dict)
    paired: tuple[Pair, ...] = ()

    @property
    def clients(self) -> frozenset[int]:
        """All of them."""
        return frozenset(self.named).union(*self.paired)

    @classmethod
    def of(cls, named: Mapping[int, str], paired: Sequence[Pair], terms: Agreement) -> "Suspects":
        """Returns the suspects of earlier rounds.

        The liar of a pair is known once one of both is proven to lie. The other one is free again.
        """
        proven = {client for client, reason in named.items() if reason not in UNPROVEN}
        open_pairs = tuple(pair for pair in paired if proven.isdisjoint(pair))
        liars = liars_left(named, open_pairs, f=sketching_of(terms).liars)
        return cls(liars, dict(named), open_pairs)

    def joined(self, edges: Iterable[Pair]) -> "Suspects":
        """Returns the suspects after some edges, each of which has a liar as one of its ends.

        An edge to a suspect says nothing new: that suspect may be its lying end.
        """
        clients = self.clients
        fresh = [edge for edge in edges if clients.isdisjoint(edge)]
        conflicts = settled(fresh, f=self.liars)
        named = {**self.named, **dict.fromkeys(sorted(conflicts.named), CONTRADICTED)}
        return Suspects(conflicts.liars_left, named, (*self.paired, *conflicts.pairs))


class Compared(NamedTuple):
    """The distances between clients.

    Args:
        clients: those that a rule may choose from, ascending.
        squared: (m, m), estimates of squared distances between their updates.
        suspects: with those that the distances exposed.
    """

    clients: tuple[int, ...]
    squared: NDArray[np.float64]
    suspects: Suspects


def compared(
    answers: Mapping[int, Mapping[Pair, int]],
    *,
    dealers: tuple[int, ...],
    suspects: Suspects,
    rejections: Iterable[Pair],
    block: tuple[int, ...],
    terms: Agreement,
) -> Compared:
    """Returns the squared distances between all dealers that no other client disputes.

    Args:
        answers: holder -> pair of dealers -> share of their squared distance.
        dealers: clients that dealt their sketches, ascending.
        suspects: before this round.
        rejections: pairs of a dealer and a holder that rejects its shares.
        block: the invited clients.
        terms: of the session.

    Raises:
        RoundAbandoned: too few holders sent right shares.
    """
    after_rejections = suspects.joined(rejections)
    clients = tuple(client for client in dealers if client not in after_rejections.clients)
    holders = tuple(holder for holder in answers if holder not in after_rejections.clients)
    points = points_of(block, holders)
    weights = terms.weights or {}
    distances = squared_distances(
        {points[holder]: answers[holder] for holder in holders},
        clients=clients,
        weights=weights,
        degree=2 * terms.corrupt,
        errors=after_rejections.liars,
        most=sketching_of(terms).size << _BITS,
    )
    # A distance that no two sketches have shows that one of the two dealt something else.
    found = after_rejections.joined(distances.out_of_range)
    remaining = tuple(client for client in clients if client not in found.clients)
    squared = np.zeros((len(remaining), len(remaining)))
    for row, i in enumerate(remaining):
        for column, j in enumerate(remaining[row + 1 :], start=row + 1):
            if (i, j) in distances.undecoded:
                raise RoundAbandoned(
                    f"{len(holders)} clients answered stage 6, of which too few gave right shares "
                    "of distances"
                )
            exact = distances.squared[i, j] / (weights[i] * weights[j]) ** 2
            squared[row, column] = squared[column, row] = exact
    squared *= _unit(terms)
    return Compared(remaining, squared, found)


def chosen_of(distances: Compared, selection: Selection, *, fewest: int) -> tuple[int, ...]:
    """Returns the clients that a rule chooses, ascending.

    Raises:
        RoundAbandoned: the rule has too few to choose from, or chooses too few.
    """
    clients, squared, suspects = distances
    least = selection.fewest(suspects.liars)
    if len(clients) < least:
        raise RoundAbandoned(
            f"{len(clients)} sketches are undisputed, the rule takes {least} to choose from"
        )
    try:
        weights = selection.choose(squared, suspects.liars)
    except ValueError as reason:  # its parameters may ask for more clients than are left
        raise RoundAbandoned(str(reason)) from None
    chosen = tuple(c for c, weight in zip(clients, weights, strict=True) if weight > 0)
    if len(chosen) < fewest:
        raise RoundAbandoned(f"the rule chose {len(chosen)} clients, a sum takes {fewest}")
    return chosen


def summed_sketch(
    shares: Mapping[int, Sequence[int]],
    *,
    suspects: Suspects,
    block: tuple[int, ...],
    terms: Agreement,
) -> list[int]:
    """Returns the sum of the chosen clients' sketches, k integers.

    Args:
        shares: holder -> its shares of the sum.
        suspects: whose shares do not count.
        block: the invited clients.
        terms: of the session.

    Raises:
        RoundAbandoned: too few holders sent right shares.
    """
    holders = tuple(holder for holder in shares if holder not in suspects.clients)
    points = points_of(block, holders)
    columns = decoded_columns(
        {points[holder]: shares[holder] for holder in holders},
        degree=terms.corrupt,
        errors=suspects.liars,
    )
    integers = [centred(column) for column in columns if column is not None]
    if len(integers) < sketching_of(terms).size:
        raise RoundAbandoned(
            f"{len(holders)} clients sent shares of the sum of sketches, of which too few are right"
        )
    return integers


def lacking_shares(
    reason: RoundAbandoned, before: Suspects, newly_named: Mapping[int, str]
) -> RoundAbandoned:
    """Returns why secrets could not be reconstructed, with somebody who is at fault.

    If a threshold of honest clients answered, only liars dealt too few right shares. Otherwise it
    may be the fault of a holder, which the server cannot tell: it finds pairs of both, as
    everywhere. The dealer of a pair deals no more, since it could stop the next round as well.

    So no dealer stops more than one round. Of honest dealers, at most one is out for each liar and
    each round in which fewer honest clients than the threshold answered.

    Args:
        reason: with an edge from each dealer to each holder that answered without a right share.
        before: the suspects of earlier rounds. Pairs that this round matched will be free again.
        newly_named: the clients that this round named.
    """
    known = {**newly_named, **reason.named}
    edges = [edge for edge in reason.paired if known.keys().isdisjoint(edge)]
    found = before.joined(edges)
    pairs = found.paired[len(before.paired) :]
    named = {c: why for c, why in found.named.items() if c not in before.named}
    dealers = {dealer for dealer, _ in edges}
    named |= {client: LACKING for pair in pairs for client in dealers.intersection(pair)}
    if dealers and not {**named, **known}:
        # One end of each edge is in a pair already, so that the edges say nothing new.
        named = {min(dealers): LACKING}
    return RoundAbandoned(str(reason), named={**named, **reason.named}, paired=pairs)


def _unit(terms: Agreement) -> float:
    """Returns the squared distance of updates that a squared distance of sketches of 1 stands for.

    E |A u|^2 is k / 2 times |u|^2.
    """
    if not isinstance(terms.code, FixedPoint):
        raise ValueError("sketches are taken of updates in fixed point")
    step = terms.code.step * terms.max_weight
    return 2 * step * step / sketching_of(terms).size


def agrees(sketch: Sequence[int], expected: Sequence[int], *, clients: int) -> bool:
    """Whether a sum of sketches is in range, and is the expected one modulo 2^32.

    A fraction such as 1/3 is a huge element of the field, and its residue modulo 2^32 says
    anything. Where all weights share the factor 3, distances do not show it. The range is that of
    `judging`: a sum beyond it has a summand that an inquiry finds.

    Args:
        sketch: the sum (k,) of the chosen clients' sketches, centred.
        expected: (k,), the sketch of the sum of their updates, modulo 2^32.
        clients: how many were chosen.
    """
    bound = clients * largest_sum(clients - 1)
    in_range = all(abs(value) <= bound for value in sketch)
    return in_range and [value % 2**32 for value in sketch] == list(expected)
