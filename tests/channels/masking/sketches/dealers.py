"""Dealings for tests: honest ones with their holders, and forged ones with the best proof."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from securefl.channels.masking.sketches import dealing
from securefl.channels.masking.sketches.dealing import (
    SKETCHES,
    Dealing,
    Shares,
    check_dealing,
    context_of,
    deal,
)
from securefl.channels.masking.sketches.field import P, dot, packed, value_at

SESSION = bytes(range(16))
UPLOADS = bytes(range(32))
CONTEXT = context_of(SKETCHES, session=SESSION, round=3, uploads=UPLOADS)


def counting(start: int = 1) -> Callable[[int], list[int]]:
    """Returns draws that anybody can repeat: powers of 3 below p, one after the other."""
    state = {"last": start}

    def drawn(count: int) -> list[int]:
        elements = []
        for _ in range(count):
            state["last"] = state["last"] * 3 % P
            elements.append(state["last"])
        return elements

    return drawn


@dataclass(frozen=True)
class Group:
    """Clients that deal to each other, themselves included.

    Args:
        clients: their ids, ascending; points are 1, 2 and so on.
        degree: of the values' polynomials.
        values: how many each of them deals.
    """

    clients: tuple[int, ...]
    degree: int
    values: int

    @property
    def points(self) -> dict[int, int]:
        return {client: i + 1 for i, client in enumerate(self.clients)}

    @property
    def zeros(self) -> int:
        return len(self.clients) - 1

    def sketch(self, generator: random.Random) -> list[int]:
        return [generator.randrange(-(2**31), 2**31) for _ in range(self.values)]

    def dealing(self, values: Sequence[int], sender: int) -> Dealing:
        return deal(
            values,
            zeros=self.zeros,
            degree=self.degree,
            points=self.points,
            context=CONTEXT,
            sender=sender,
        )

    def accepted(self, dealt: Dealing, sender: int, holder: int) -> Shares | None:
        return check_dealing(
            dealt.shares[holder],
            holder=holder,
            point=self.points[holder],
            sender=sender,
            context=CONTEXT,
            table=dealt.table,
            proof=dealt.proof,
            values=self.values,
            zeros=self.zeros,
            degree=self.degree,
        )

    def holdings(self, dealings: Mapping[int, Dealing]) -> dict[int, dict[int, Shares]]:
        """Returns what every holder accepts: holder -> dealer -> shares."""
        holdings: dict[int, dict[int, Shares]] = {}
        for holder in self.clients:
            checked = {
                sender: self.accepted(dealt, sender, holder) for sender, dealt in dealings.items()
            }
            holdings[holder] = {i: shares for i, shares in checked.items() if shares is not None}
        return holdings

    def acceptors(self, dealt: Dealing, sender: int) -> set[int]:
        return {i for i in self.clients if self.accepted(dealt, sender, i) is not None}

    def forged(
        self,
        of_values: Sequence[Sequence[int]],
        of_zeros: Sequence[Sequence[int]],
        *,
        sender: int,
        convinced: Sequence[int] = (),
        changes: Mapping[int, Mapping[int, int]] | None = None,
    ) -> Dealing:
        """Returns a dealing of any polynomials, blinds last, with a proof as good as can be.

        Args:
            of_values: their coefficients, the blind's last.
            of_zeros: likewise.
            sender: the dealer.
            convinced: holders for whom the proof is made: the first degree + 1 of them will find
                their values on it, the first 2 degree their zeros. Without any, the proof is the
                true combination, cut off at the right length.
            changes: holder -> place in the share vector -> what is added there.
        """
        shares = {}
        for holder, point in self.points.items():
            elements = [value_at(polynomial, point) for polynomial in (*of_values, *of_zeros)]
            for place, added in (changes or {}).get(holder, {}).items():
                elements[place] = (elements[place] + added) % P
            shares[holder] = elements
        salted = {holder: packed([*elements, holder]) for holder, elements in shares.items()}
        table = {
            holder: dealing._entry(share, context=CONTEXT, sender=sender, holder=holder)
            for holder, share in salted.items()
        }
        challenge = dealing._challenge(
            table,
            context=CONTEXT,
            sender=sender,
            values=self.values,
            zeros=self.zeros,
            degree=self.degree,
        )
        ends = [*challenge[: self.values], 1], [*challenge[self.values :], 1]
        if convinced:
            combined = {
                self.points[i]: dot(ends[0], shares[i][: self.values + 1])
                for i in convinced[: self.degree + 1]
            }
            vanishing = {
                self.points[i]: dot(ends[1], shares[i][self.values + 1 :])
                for i in convinced[: 2 * self.degree]
            }
            of_both = _interpolated(combined), _interpolated({0: 0, **vanishing})
        else:
            of_both = _combined(of_values, ends[0]), _combined(of_zeros, ends[1])
        proof = of_both[0][: self.degree + 1] + of_both[1][1 : 2 * self.degree + 1]
        return Dealing(table, packed(proof), salted)


def _combined(polynomials: Sequence[Sequence[int]], weights: Sequence[int]) -> list[int]:
    return [dot(weights, terms) for terms in zip_longest(*polynomials, fillvalue=0)]


def _interpolated(values: Mapping[int, int]) -> list[int]:
    """Returns the coefficients of the polynomial through the values, by Lagrange: slowly."""
    total = [0] * len(values)
    for x, y in values.items():
        basis = [1]
        below = 1
        for other in values:
            if other != x:
                basis = [a - other * b for a, b in zip([0, *basis], [*basis, 0], strict=True)]
                below = below * (x - other) % P
        scale = y * pow(below, -1, P)
        for i, coefficient in enumerate(basis):
            total[i] = (total[i] + scale * coefficient) % P
    return total
