"""A channel's choice as a callable, and the guess at it of an adversary that knows the rule."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform

import defenses
from securefl.channels.protocol import Selection
from securefl.federation.adversary import Attack
from securefl.rng import seeded_keystream
from securefl.scenario import catalog
from securefl.scenario.chosen import Chosen
from securefl.scenario.making.adversary import adversary_of
from securefl.scenario.making.attack import make_attack
from securefl.scenario.making.selection import (
    Guess,
    distances_between,
    drawn_matrix,
    selection_of,
)
from securefl.scenario.scenario import parse_scenario
from securefl.scenario.simulate_table import Simulate
from tests.scenario.test_sketch import TEN


def table(rows: torch.Tensor) -> NDArray[np.float64]:
    """Squared distances between rows, by SciPy."""
    distances: NDArray[np.float64] = squareform(pdist(rows.double().numpy()))
    return np.square(distances)


def dnc(f: int = 1, **parameters: float) -> Selection:
    return selection_of(Chosen("dnc", catalog.RULES["dnc"], {"f": f, **parameters}), Simulate())


def rows_with_an_outlier() -> torch.Tensor:
    rows = torch.from_numpy(seeded_keystream(5, "rows", 0).uniform(7 * 40)).reshape(7, 40).float()
    rows[3] += 4.0
    return rows


def test_the_rule_of_a_scenario_chooses_with_its_own_parameters_and_the_f_that_is_left() -> None:
    squared = table(rows_with_an_outlier())
    selection = dnc(2, filter=1.5)
    assert selection.liars == 2
    for f in (2, 1):
        expected = defenses.dnc_choice(squared, f=f, filter=1.5)
        assert selection.choose(squared, f).tolist() == expected.tolist()
    # 1.5 x 2 rows and 1.5 x 1 rows, rounded, are removed: two calls that differ.
    assert [np.count_nonzero(selection.choose(squared, f)) for f in (2, 1, 0)] == [4, 5, 7]
    assert [selection.fewest(f) for f in (2, 1, 0)] == [5, 3, 1]


def test_a_rule_without_a_choice_makes_no_selection() -> None:
    with pytest.raises(ValueError, match="krum chooses no clients by distances"):
        selection_of(Chosen("krum", catalog.RULES["krum"], {"f": 1}), Simulate())


def test_half_the_entries_of_a_guessed_matrix_are_zero_and_a_quarter_each_plus_and_minus() -> None:
    size, d = 32, 70_001  # more than are made at once
    matrix = drawn_matrix(seeded_keystream(1, "matrix", 0), size=size, d=d).numpy()
    assert matrix.shape == (size, d)
    counts = [np.count_nonzero(matrix == value) for value in (0, 1, -1)]
    assert sum(counts) == size * d
    for count, share in zip(counts, (0.5, 0.25, 0.25), strict=True):
        # Five deviations: a false alarm in two million runs, and seen if the share is off by .002.
        assert abs(count - share * size * d) < 5 * np.sqrt(size * d * share * (1 - share))
    # Entries of a row or a column are no copies of those of another.
    assert len({row.tobytes() for row in matrix}) == size
    assert len({column.tobytes() for column in matrix[:, -5:].T}) == 5


def test_distances_are_those_between_the_sketches_of_rows() -> None:
    rows = rows_with_an_outlier().double()
    matrix = drawn_matrix(seeded_keystream(1, "matrix", 0), size=16, d=40)
    expected = table(rows @ matrix.double().T)
    np.testing.assert_allclose(distances_between(rows, matrix), expected, rtol=1e-12)


def test_a_long_row_is_sketched_part_by_part() -> None:
    d = 70_001
    rows = torch.zeros(2, d, dtype=torch.float64)
    rows[1, -1], rows[1, 0] = 3.0, 1.0
    matrix = drawn_matrix(seeded_keystream(1, "matrix", 0), size=16, d=d)
    expected = float((3.0 * matrix[:, -1].double() + matrix[:, 0].double()).square().sum())
    assert distances_between(rows, matrix)[0, 1] == expected


def test_a_guess_averages_the_clients_that_it_expects_to_be_chosen() -> None:
    rows = rows_with_an_outlier()
    chain = Guess(dnc(), 64, seed=1).in_round(0)
    assert chain.weigh is not None
    weights = chain.weigh(rows)
    assert weights.tolist() == [pytest.approx(1 / 6)] * 3 + [0] + [pytest.approx(1 / 6)] * 3
    others = [0, 1, 2, 4, 5, 6]
    torch.testing.assert_close(chain.rule(rows, torch.ones(7)), rows[others].mean(dim=0))
    counted = torch.tensor([2.0, 1, 1, 9, 1, 1, 1])
    expected = (counted[others] @ rows[others]) / 7
    torch.testing.assert_close(chain.rule(rows, counted), expected)


def test_a_guess_is_the_same_within_a_round_and_another_in_the_next() -> None:
    rows = rows_with_an_outlier()
    tables: list[NDArray[np.float64]] = []

    def choose(squared: NDArray[np.float64], f: int) -> NDArray[np.float64]:
        tables.append(squared)
        return np.ones(len(squared))

    guess = Guess(Selection(choose, 1, lambda f: 1), 16, seed=1)
    for round in (0, 0, 1):
        chain = guess.in_round(round)
        assert chain.weigh is not None
        chain.weigh(rows)
        chain.weigh(rows)
    same = [np.array_equal(tables[0], other) for other in tables]
    assert same == [True, True, True, True, False, False]


def test_two_seeds_guess_with_different_matrices() -> None:
    rows = rows_with_an_outlier()
    tables: list[NDArray[np.float64]] = []

    def choose(squared: NDArray[np.float64], f: int) -> NDArray[np.float64]:
        tables.append(squared)
        return np.ones(len(squared))

    for seed in (1, 2):
        chain = Guess(Selection(choose, 1, lambda f: 1), 16, seed).in_round(0)
        assert chain.weigh is not None
        chain.weigh(rows)
    assert not np.array_equal(tables[0], tables[1])


def made(name: str, selection: Selection) -> Attack:
    def no_rule(rows: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        raise AssertionError("the rule of the one row says nothing about the choice")

    return make_attack(
        Chosen(name, catalog.ATTACKS[name]),
        seed=1,
        clients=7,
        rule=no_rule,
        weigh=None,
        krum_f=None,
        guess=Guess(selection, 64, seed=1),
    )


@pytest.mark.parametrize("name", ["adaptive", "adaptive_weight"])
def test_an_adaptive_attack_plans_against_the_choice(name: str) -> None:
    known = rows_with_an_outlier()[[0, 1, 2, 4, 5]]
    (row, _) = made(name, dnc(2))(known[:2], known, 0)
    # Its rows get through a choice by another matrix: nobody knows the one of the round.
    sent = torch.cat([known, row.repeat(2, 1)])
    chain = Guess(dnc(2), 64, seed=2).in_round(0)
    assert chain.weigh is not None
    assert float(chain.weigh(sent)[-2:].sum()) > 0
    assert float((row - known.mean(dim=0)).norm()) > 0.5


def test_the_adversary_of_a_scenario_guesses_with_the_size_of_its_sketches_and_its_seed() -> None:
    attack = 'attack={ name = "adaptive", clients = [0, 1], knows = "omniscient" }'
    scenario = parse_scenario(TEN, overrides=(attack, "channel.sketch=32", "seed=9"))

    def no_rule(rows: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        raise AssertionError("the rule of the one row says nothing about the choice")

    known = rows_with_an_outlier()[[0, 1, 2, 4, 5]]
    adversary = adversary_of(scenario, scenario.facts, no_rule, None)
    guess = Guess(dnc(2), 32, seed=9)
    by_hand = make_attack(
        Chosen("adaptive", catalog.ATTACKS["adaptive"]),
        seed=9,
        clients=10,
        rule=no_rule,
        weigh=None,
        krum_f=None,
        guess=guess,
    )
    assert torch.equal(adversary.attack(known[:2], known, 1), by_hand(known[:2], known, 1))
