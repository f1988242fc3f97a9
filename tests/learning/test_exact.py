"""Products and sums that are rounded nowhere. The oracle is arithmetic with whole fractions."""

from fractions import Fraction

import pytest
import torch
from torch import Tensor

from securefl.learning.clipping.exact import (
    DIGITS,
    UPPER_DIGITS,
    ExactSum,
    WholeRows,
    pairwise_sum,
    powers_of_two,
    products,
    whole_rows,
)

CPU = torch.device("cpu")


def normal(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def fractions(row: Tensor) -> list[Fraction]:
    return [Fraction(value) for value in row.tolist()]


def test_whole_rows_known_answer() -> None:
    # Norm 5: at most 2^3, so that 2^4 units are 8, and a unit is a half.
    found = whole_rows(torch.tensor([[3.0, -4.2]]), bits=4)
    assert found.numbers.tolist() == [[6.0, -8.0]]
    assert found.units.tolist() == [0.5]


@pytest.mark.parametrize("scale", [1e-40, 1e-20, 1.0, 3e20, 5e37])
def test_a_whole_row_is_half_a_unit_off_at_most_and_2_to_the_bits_units_long(scale: float) -> None:
    rows = normal(50, 33) * scale
    found = whole_rows(rows, bits=24)
    back = found.numbers * found.units[:, None]
    assert bool(((back - rows.double()).abs() <= found.units[:, None] / 2).all())
    lengths = found.numbers.norm(dim=1)
    assert bool((lengths > 2**23 - 4).all())
    assert bool((lengths < 2**24 + 4).all())
    assert torch.equal(found.numbers, found.numbers.round())


def test_a_whole_row_does_not_depend_on_the_other_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = normal(70, 45)
    together = whole_rows(rows, bits=24)
    order = torch.randperm(70, generator=torch.Generator().manual_seed(2))[:37]
    monkeypatch.setattr("securefl.learning.clipping.exact.NUMBERS_A_BLOCK", 4 * 45)
    others = whole_rows(rows[order], bits=24)
    assert torch.equal(others.numbers, together.numbers[order])
    assert torch.equal(others.units, together.units[order])


def test_rows_that_are_not_finite_are_zeros_with_a_unit_that_is_no_number() -> None:
    rows = torch.tensor([[1.0, torch.inf], [torch.nan, 0.0], [0.0, 0.0], [1.0, 1.0]])
    found = whole_rows(rows, bits=8)
    assert found.numbers[:3].tolist() == [[0.0, 0.0]] * 3
    assert found.units.isnan().tolist() == [True, True, False, False]


def test_products_are_those_of_fractions_to_the_last_bit_where_nearly_everything_cancels() -> None:
    first = normal(1, 200)
    rows = torch.cat([first, first * (1 + 1e-6), normal(3, 200, seed=2)])
    weight = normal(2, 200, seed=3, dtype=torch.float64)
    # Orthogonal to the first row, but for what rounding leaves.
    direction = first.double() / first.double().norm()
    weight -= (weight @ direction.t()) * direction
    columns = whole_rows(weight * 1e12, bits=28)
    inputs = whole_rows(rows, bits=24)
    found = products(inputs, columns)
    for i in range(5):
        for k in range(2):
            pairs = zip(fractions(inputs.numbers[i]), fractions(columns.numbers[k]), strict=True)
            units = Fraction(float(inputs.units[i])) * Fraction(float(columns.units[k]))
            assert Fraction(float(found[i, k])) == sum(a * b for a, b in pairs) * units


@pytest.mark.parametrize("width", [0, 1, 2, 3, 7, 8, 13])
def test_a_pairwise_sum_is_the_sum_and_leaves_its_values_alone(width: int) -> None:
    values = torch.arange(3.0 * width).view(3, width) + 1
    before = values.clone()
    assert torch.equal(pairwise_sum(values), values.sum(dim=1))
    assert torch.equal(values, before)


def test_powers_of_two_are_exact() -> None:
    exponents = torch.tensor([-400, -1, 0, 1, 52, 400])
    assert powers_of_two(exponents).tolist() == [2.0**e for e in exponents.tolist()]


def test_an_exact_sum_is_that_of_cut_terms_in_every_order() -> None:
    whole = whole_rows(normal(300, 9), bits=24).numbers
    lengths = whole.norm(dim=1, keepdim=True)
    short = normal(300, 2, seed=4, dtype=torch.float64)
    short *= 0.5 / (short.norm(dim=1, keepdim=True) * lengths)
    grid = 0.5 * 2.0 ** -(23 + 2 * DIGITS)

    def summed(order: Tensor, size: int) -> Tensor:
        total = ExactSum(2, 9, bits=24, length=0.5, device=CPU)
        for part in torch.split(order, size):
            total.add(short[part], whole[part])
        return total.value()

    found = summed(torch.arange(300), 300)
    assert torch.equal(found, summed(torch.arange(299, -1, -1), 7))
    steps = [[int(value / grid) for value in row] for row in short.tolist()]  # towards zero
    for k in range(2):
        for j in range(9):
            by_hand = sum(steps[i][k] * int(whole[i, j]) for i in range(300))
            assert float(found[k, j]) == pytest.approx(by_hand * grid, rel=2.0**-51)
    # Cutting costs little.
    torch.testing.assert_close(found, short.t() @ whole, rtol=0, atol=300 * 2.0**-31)


def test_no_term_of_an_exact_sum_is_longer_than_its_outer_product() -> None:
    whole = whole_rows(normal(40, 9), bits=24).numbers
    short = normal(40, 2, seed=4, dtype=torch.float64)
    short *= 0.5 / (short.norm(dim=1) * whole.norm(dim=1))[:, None]
    for i in range(40):
        total = ExactSum(2, 9, bits=24, length=0.5, device=CPU)
        total.add(short[i : i + 1], whole[i : i + 1])
        longest = float(short[i].norm() * whole[i].norm())
        assert longest * (1 - 1e-9) < float(total.value().norm()) <= longest * (1 + 2.0**-50)


def test_a_block_of_the_largest_size_is_exact() -> None:
    # All numbers are as large as they get, so that a block has the largest sum there is.
    total = ExactSum(1, 1, bits=24, length=1.0, device=CPU)
    n = total.rows_at_a_time
    assert n == 4096
    whole = torch.full((n, 1), 2.0**24 - 1, dtype=torch.float64)
    grid = 2.0 ** -(23 + 2 * DIGITS)
    steps = 2**32 - 1
    for blocks in range(1, 4):
        total.add(torch.full((n, 1), steps * grid, dtype=torch.float64), whole)
        digits = (int(total._top) << UPPER_DIGITS) + int(total._upper)
        assert (digits << DIGITS) + int(total._lower) == blocks * n * steps * (2**24 - 1)
    # No part of it grows with the number of rows but the top, by less than one a row.
    assert 0 <= int(total._lower) < 2**DIGITS
    assert 0 <= int(total._upper) < 2**UPPER_DIGITS
    assert 0 < int(total._top) <= 3 * n


def test_some_rows_keep_their_units() -> None:
    rows = WholeRows(torch.tensor([[1.0], [2.0]]), torch.tensor([0.5, 4.0]))
    one = rows.some(slice(1, 2))
    assert one.numbers.tolist() == [[2.0]]
    assert one.units.tolist() == [4.0]
