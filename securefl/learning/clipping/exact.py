"""Products of matrices without rounding, which are the same in every order of their sums.

A library of matrix products takes other instructions for the last rows of a matrix, and for
matrices of another size. So a float32 product of one row changes, in its last bits, with the number
of the other rows. Here both factors are whole numbers, so short that float64 has room for every
product and every partial sum. Then nothing is rounded, whatever the library does.

    rows, columns = whole_rows(inputs, bits=24), whole_rows(weight, bits=28)
    logits = products(rows, columns)

Source: Ozaki, Ogita, Oishi and Rump, Numerical Algorithms 2012 (factors that multiply without
error); Demmel and Nguyen, IEEE Transactions on Computers 2015 (sums that are the same in every
order).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

EXPONENT_BIAS = 1023  # of float64
MANTISSA_BITS = 52  # of float64
DIGITS = 16  # binary, of the upper and of the lower part of an entry of a sum
UPPER_DIGITS = 40  # binary, that a sum keeps above the lower ones before it carries
NUMBERS_A_BLOCK = 2**17  # that are rounded while they are in the cache


@dataclass(frozen=True)
class WholeRows:
    """Rows of whole numbers, each with a unit of its own.

    Attributes:
        numbers: (n, p) float64 whole numbers. The norm of a row is about 2^bits at most.
        units: (n,) float64, powers of two; NaN for a row that was not finite, whose numbers are 0.
    """

    numbers: Tensor
    units: Tensor

    def some(self, which: slice | Tensor) -> "WholeRows":
        """Returns some of the rows."""
        return WholeRows(self.numbers[which], self.units[which])


def whole_rows(rows: Tensor, *, bits: int) -> WholeRows:
    """Rounds rows (n, p) to whole multiples of units that are powers of two.

    Each entry is off by half a unit at most, and 2^bits units are at least the norm of the row and
    less than twice of it. Squares are added up pair by pair in a fixed order, so that a row becomes
    the same numbers whatever the other rows are.

    Args:
        rows: float32 or float64.
        bits: of a norm.
    """
    step = max(1, NUMBERS_A_BLOCK // max(1, rows.shape[1]))
    parts = [_rounded(part, bits) for part in torch.split(rows, step)]
    return WholeRows(
        torch.cat([part.numbers for part in parts]), torch.cat([part.units for part in parts])
    )


def _rounded(rows: Tensor, bits: int) -> WholeRows:
    precise = rows.double()
    squares = pairwise_sum(precise.square())
    is_finite = squares.isfinite()
    _, exponents = torch.frexp(squares.masked_fill(~is_finite, 1.0))
    # Halves, rounded up: the norm is at most 2 to this power.
    units = powers_of_two((exponents.long() + 1).div(2, rounding_mode="floor") - bits)
    numbers = (precise / units[:, None]).round_()
    if not bool(is_finite.all()):
        numbers[~is_finite] = 0.0
    return WholeRows(numbers, units.masked_fill(~is_finite, torch.nan))


def products(rows: WholeRows, others: WholeRows) -> Tensor:
    """Returns (n, m) float64, the inner products of n rows with m others, of which none is rounded.

    Args:
        rows: of p numbers, whose norms have b bits.
        others: of p numbers, whose norms have 52 - b bits at most.
    """
    whole = rows.numbers @ others.numbers.t()
    return whole * rows.units[:, None] * others.units


def pairwise_sum(values: Tensor) -> Tensor:
    """Returns (n,), sums of values (n, p) along rows, in an order that follows from p.

    A sum by the library may be taken in another order where there are other rows.
    """
    width = values.shape[1]
    if width == 0:
        return values.new_zeros(len(values))
    values = values.clone()
    while width > 1:
        half = width // 2
        width -= half  # a middle one stays as it is
        values[:, :half] += values[:, width : width + half]
    return values[:, 0]


def powers_of_two(exponents: Tensor) -> Tensor:
    """Returns 2 to the power of each exponent, int64, as float64.

    They are written down as bits: the library's powers may be off in the last one.
    """
    return ((exponents + EXPONENT_BIAS) << MANTISSA_BITS).view(torch.float64)


class ExactSum:
    """A sum of outer products of short rows and whole numbers, which no order changes.

    Entries of the short rows are cut to multiples of a grid, towards zero. Two matrices hold their
    upper and their lower digits, so that products of both with whole numbers are not rounded.

    Args:
        q: width of the short rows.
        p: numbers of a whole row.
        bits: of a whole row's norm.
        length: of an outer product, at most; > 0.
        device: of both.

    Guarantees:
        - The sum is that of one term a row, which is a function of that row. No term is longer than
          the outer product whose term it is. `value` is rounded once, by 2^-51 of its size.
    """

    def __init__(self, q: int, p: int, *, bits: int, length: float, device: torch.device) -> None:
        # A row's norm has a last binary digit less at least, so that this many units are the most.
        self._step = length * 2.0 ** -(bits - 1 + 2 * DIGITS)
        self._bits = bits
        self._top = torch.zeros(q, p, dtype=torch.int64, device=device)
        self._upper = torch.zeros_like(self._top)
        self._lower = torch.zeros_like(self._top)

    @property
    def rows_at_a_time(self) -> int:
        """Rows whose sum float64 has room for."""
        return int(2 ** (MANTISSA_BITS - DIGITS - self._bits))

    def add(self, short: Tensor, whole: Tensor) -> None:
        """Adds the sum of the outer products of n rows; n is `rows_at_a_time` at most.

        Args:
            short: (n, q) float64. Where a whole row is not zero, the product of both norms is
                `length` at most.
            whole: (n, p) float64 whole numbers.
        """
        steps = (short / self._step).trunc()
        upper = (steps / 2.0**DIGITS).trunc()
        lower = steps - upper * 2.0**DIGITS
        sums = torch.cat([upper, lower], dim=1).t() @ whole
        upper_sum, lower_sum = sums.long().chunk(2)
        self._upper += upper_sum
        self._lower += lower_sum
        # So neither runs full, however many rows there are.
        carried = self._lower >> DIGITS
        self._lower -= carried << DIGITS
        self._upper += carried
        carried = self._upper >> UPPER_DIGITS
        self._upper -= carried << UPPER_DIGITS
        self._top += carried

    def value(self) -> Tensor:
        """Returns the sum (q, p) float64."""
        upper = self._top.double() * 2.0**UPPER_DIGITS + self._upper.double()
        return (upper * 2.0**DIGITS + self._lower.double()) * self._step
