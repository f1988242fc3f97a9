"""Mimicry, and the attacks of Fang et al. against one rule: known answers and promises."""

import math

import pytest
import torch
from torch import Tensor

from attacks import fang_krum, fang_trimmed_mean, mimic
from defenses import krum, trimmed_mean


def some_rows(seed: int, h: int = 8, d: int = 50) -> Tensor:
    return 0.5 + torch.randn(
        h, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


# --- mimic


def test_mimic_known_answer() -> None:
    # Mean (1, 10): the rows differ from it by 4, 1, 0, 5 along the first axis, and by 1 at most
    # along the second.
    rows = torch.tensor([[5.0, 10.0], [2.0, 11.0], [1.0, 10.0], [-4.0, 9.0]])
    assert mimic(rows, 3).tolist() == [[-4.0, 9.0]] * 3


@pytest.mark.parametrize("seed", range(5))
def test_mimic_repeats_a_row_of_maximal_alignment_with_the_direction_of_most_variance(
    seed: int,
) -> None:
    rows = some_rows(seed)
    _, _, directions = torch.linalg.svd(rows - rows.mean(dim=0))
    alignments = ((rows - rows.mean(dim=0)) @ directions[0]).abs()
    (place,) = [place for place, row in enumerate(rows) if torch.equal(row, mimic(rows, 1)[0])]
    assert float(alignments[place]) == pytest.approx(float(alignments.max()), rel=1e-9)


def test_mimic_of_a_single_row_and_of_equal_rows_is_that_row() -> None:
    row = torch.tensor([[1.0, 2.0]])
    assert torch.equal(mimic(row, 2), row.repeat(2, 1))
    assert torch.equal(mimic(row.repeat(3, 1), 2), row.repeat(2, 1))


# --- Krum


class RecordingKrum:
    """A Krum that records the strength of the row it is sent, and chooses it below a bound."""

    def __init__(self, below: float) -> None:
        self.below, self.strengths = below, list[float]()

    def __call__(self, rows: Tensor) -> Tensor:
        self.strengths.append(-float(rows[-1, 0]))
        return rows[-1] if self.strengths[-1] < self.below else rows[0]


def test_fang_krum_starts_at_the_bound_of_the_source_and_halves_until_it_is_chosen() -> None:
    # Honest rows 1, 2, 4 (d = 1, f = 1): n = 4, one neighbour each, at squared distances 1, 1, 4.
    # The bound is sqrt(1 / (1 * 1)) plus the longest row, 4.
    rows, krum_of_test = (
        torch.tensor([[1.0], [2.0], [4.0]], dtype=torch.float64),
        RecordingKrum(1.3),
    )
    assert fang_krum(rows, 1, krum=krum_of_test).tolist() == [[-1.25]]
    assert krum_of_test.strengths == [5.0, 2.5, 1.25]


def test_the_bound_of_the_source_in_several_dimensions() -> None:
    rows, krum_of_test = some_rows(3), RecordingKrum(math.inf)
    fang_krum(rows, 2, krum=krum_of_test)
    squared = torch.cdist(rows, rows).square()  # n = 10: 6 neighbours
    nearest = squared.sort(dim=1).values[:, 1:7].sum(dim=1).min()
    bound = math.sqrt(float(nearest) / (5 * 50)) + float(rows.norm(dim=1).max()) / math.sqrt(50)
    assert krum_of_test.strengths == [pytest.approx(bound, rel=1e-9)]


def test_fang_krum_steps_against_the_signs_of_the_mean() -> None:
    rows = torch.tensor([[1.0, -1.0, 0.0], [2.0, -3.0, 0.0], [3.0, 1.0, 0.0]])
    sent = fang_krum(rows, 2, krum=lambda rows: rows[-1])[0]
    assert float(sent[0]) == -float(sent[1]) < 0 == float(sent[2])


@pytest.mark.parametrize("seed", range(5))
def test_krum_chooses_the_row_and_would_not_choose_twice_as_much(seed: int) -> None:
    rows, f = some_rows(seed, h=16), 4
    sent = fang_krum(rows, f, krum=lambda sent: krum(sent, f=f))
    assert torch.equal(krum(torch.cat([rows, sent]), f=f), sent[0])
    assert not torch.equal(krum(torch.cat([rows, 2 * sent]), f=f), 2 * sent[0])
    assert float(sent[0] @ rows.mean(dim=0)) < 0


def test_where_krum_chooses_no_row_or_refuses_the_step_is_tiny() -> None:
    rows = some_rows(1)
    for never in (RecordingKrum(0.0), lambda sent: krum(sent, f=6)):
        assert float(fang_krum(rows, 1, krum=never).abs().max()) == pytest.approx(1e-5)


# --- the trimmed mean


def test_fang_trimmed_mean_is_three_to_four_deviations_from_the_mean_against_its_sign() -> None:
    rows = some_rows(2, h=10, d=2000)
    mean, spread = rows.mean(dim=0), rows.std(dim=0)
    sent = fang_trimmed_mean(rows, 5, generator=torch.Generator().manual_seed(4))
    moved = (mean - sent) / spread * torch.sign(mean)
    assert float(moved.min()) >= 3
    assert float(moved.max()) <= 4
    assert float(moved.mean()) == pytest.approx(3.5, abs=0.02)  # of 10,000, a deviation of .003
    assert len(set(moved.flatten().tolist())) == moved.numel()


@pytest.mark.parametrize("seed", range(3))
def test_the_trimmed_mean_moves_further_than_by_as_many_sign_flips(seed: int) -> None:
    rows, f = some_rows(seed, h=16), 4

    def off(sent: Tensor) -> float:
        return float((trimmed_mean(torch.cat([rows, sent]), f=f) - rows.mean(dim=0)).norm())

    assert off(fang_trimmed_mean(rows, f, generator=torch.Generator().manual_seed(4))) > 1.2 * off(
        -rows[:f]
    )
