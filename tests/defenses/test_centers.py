"""Geometric median and centred clipping: answers by hand, optimality, bounded steps."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from defenses import Mixture, centered_clipping, geometric_median, geometric_median_weights


def heavy(n: int, d: int, seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_t(1.5, size=(n, d)))


def total(rows: Tensor, point: Tensor) -> float:
    return float((rows - point).norm(dim=1).sum())


# Geometric median


def test_geometric_median_by_hand() -> None:
    # Fermat's point of a triangle whose angle at the origin is more than 120 degrees is the origin.
    flat = torch.tensor([[0.0, 0.0], [1.0, 0.1], [-1.0, 0.1]], dtype=torch.float64)
    assert geometric_median(flat).tolist() == pytest.approx([0.0, 0.0], abs=1e-4)
    # The median of four points is where their diagonals cross, however far out the points lie.
    square = torch.tensor(
        [[2.0, 2.0], [-1.0, -1.0], [50.0, -50.0], [-3.0, 3.0]], dtype=torch.float64
    )
    assert geometric_median(square).tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
    assert geometric_median(torch.tensor([[7.0], [7.0], [7.0], [100.0]])).item() == 7.0


@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize("seed", range(8))
def test_no_step_in_any_direction_makes_the_sum_of_distances_smaller(
    seed: int, offset: float
) -> None:
    rows = heavy(9, 4, seed) + offset
    center = geometric_median(rows)
    draw = torch.Generator().manual_seed(seed)
    for length in (1e-3, 1e-2, 1.0):
        for _ in range(50):
            step = torch.randn(4, generator=draw, dtype=torch.float64)
            moved = center + length * step / step.norm()
            assert total(rows, center) <= total(rows, moved) * (1 + 1e-12)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e12])
def test_smoothing_is_relative(scale: float) -> None:
    rows = heavy(7, 3, 1)
    torch.testing.assert_close(
        geometric_median(rows * scale) / scale, geometric_median(rows), rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize("lie", [1e3, 1e9, 1e17])
def test_fewer_than_half_the_rows_cannot_drag_it_however_far_they_lie(lie: float) -> None:
    honest = heavy(6, 3, 2)
    reach = float((honest - honest.mean(dim=0)).norm(dim=1).max())
    rows = torch.cat([honest, torch.full((4, 3), lie, dtype=torch.float64)])
    assert float((geometric_median(rows) - honest.mean(dim=0)).norm()) < 20 * reach


@pytest.mark.parametrize("lie", [1e6, 1e12, 9e17])
@pytest.mark.parametrize(
    ("n", "f", "spread"), [(10, 3, 1e-6), (10, 4, 1.0), (101, 50, 1.0), (201, 100, 1.0)]
)
def test_one_corrupt_row_short_of_half_is_not_enough_at_any_length(
    n: int, f: int, spread: float, lie: float
) -> None:
    draw = np.random.default_rng(n)
    honest = torch.from_numpy(draw.normal(size=(n - f, 10)) * spread)
    rows = torch.cat([honest, torch.full((f, 10), lie, dtype=torch.float64)])
    assert float((geometric_median(rows) - honest.mean(dim=0)).norm()) < 50 * spread


@pytest.mark.parametrize("smoothing", [0.0, -1.0, math.inf, math.nan])
def test_a_smoothing_that_is_not_positive_and_finite_is_refused(smoothing: float) -> None:
    with pytest.raises(ValueError, match="geometric_median needs a smoothing > 0, got"):
        geometric_median(torch.zeros(3, 1), smoothing=smoothing)


def test_its_weights_sum_to_one_and_spare_rows_set_aside() -> None:
    rows = heavy(6, 3, 4)
    rows[2, 0] = math.inf
    weights = geometric_median_weights(rows)
    assert weights[2] == 0.0
    assert weights.sum().item() == pytest.approx(1.0)
    rows[2] = 0.0
    torch.testing.assert_close(weights @ rows, geometric_median(rows[[0, 1, 3, 4, 5]]))


def test_it_reads_mixtures() -> None:
    rows = heavy(6, 3, 5) + 1e5
    identity = torch.eye(6, dtype=torch.float64)
    halves = identity.roll(1, 0) / 2 + identity / 2
    torch.testing.assert_close(
        geometric_median(Mixture(halves, rows)), geometric_median(halves @ rows), rtol=1e-9, atol=0
    )


# Centred clipping


def test_centered_clipping_by_hand() -> None:
    rows = torch.tensor([[3.0, 4.0], [0.0, 1.0], [-30.0, 40.0]], dtype=torch.float64)
    # Radius 2: (1.2, 1.6), (0, 1), (-1.2, 1.6); a third of the sum is (0, 1.4).
    assert centered_clipping(rows, radius=2.0).tolist() == pytest.approx([0.0, 1.4])
    # From (0, 1): differences (3, 3), (0, 0), (-30, 39).
    third = math.sqrt(30**2 + 39**2)
    expected = [
        (3 * 2 / math.sqrt(18) - 30 * 2 / third) / 3,
        1 + (3 * 2 / math.sqrt(18) + 39 * 2 / third) / 3,
    ]
    start = torch.tensor([0.0, 1.0], dtype=torch.float64)
    assert centered_clipping(rows, radius=2.0, start=start).tolist() == pytest.approx(expected)
    assert start.tolist() == [0.0, 1.0]
    again = centered_clipping(rows, radius=2.0, start=centered_clipping(rows, radius=2.0))
    torch.testing.assert_close(centered_clipping(rows, radius=2.0, iterations=2), again)
    assert centered_clipping(rows, radius=1e9).tolist() == pytest.approx(rows.mean(dim=0).tolist())


@pytest.mark.parametrize("iterations", [1, 2, 5])
def test_it_never_moves_further_than_iterations_times_the_radius(iterations: int) -> None:
    rows = torch.full((5, 8), 1e17)
    start = torch.ones(8)
    moved = centered_clipping(rows, radius=0.5, start=start, iterations=iterations) - start
    assert float(moved.norm()) == pytest.approx(0.5 * iterations, rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"radius": 0.0}, "centered_clipping needs a radius > 0, got 0"),
        ({"radius": math.nan}, "centered_clipping needs a radius > 0, got nan"),
        ({"radius": 1.0, "iterations": 0}, "centered_clipping needs iterations >= 1, got 0"),
        (
            {"radius": 1.0, "start": torch.zeros(3)},
            r"needs a finite start of shape \(2,\), got \(3,\)",
        ),
        (
            {"radius": 1.0, "start": torch.tensor([0.0, math.nan])},
            r"needs a finite start of shape \(2,\)",
        ),
        (
            {"radius": 1.0, "start": torch.tensor([0.0, 1e300], dtype=torch.float64)},
            r"needs a finite start of shape",
        ),
    ],
)
def test_centered_clipping_refuses_arguments_outside_their_ranges(
    arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        centered_clipping(torch.zeros(3, 2), **arguments)  # type: ignore[arg-type]
