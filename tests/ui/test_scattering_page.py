"""docs/scattering.md: its scenarios are checked word for word, and its tables against the code."""

import math

import pytest

from securefl.data.task import Task
from securefl.learning.models.scattering.features import Recipe
from securefl.learning.models.scattering.head import POOLINGS, grids_of
from securefl.scenario.automatic import POOLING_FROM
from securefl.scenario.scenario import parse_scenario
from tests.paths import ROOT
from tests.ui.test_readme import blocks

PAGE = (ROOT / "docs/scattering.md").read_text(encoding="utf-8")
SCENARIOS = blocks("toml", "docs/scattering.md")


@pytest.mark.parametrize("index", range(len(SCENARIOS)))
def test_a_scenario_of_the_page_is_valid(index: int) -> None:
    assert parse_scenario(SCENARIOS[index]).facts.architecture.name == "scattering"


def test_the_page_has_scenarios() -> None:
    assert len(SCENARIOS) == 3


def test_the_rate_of_the_worked_example_follows_from_the_rule() -> None:
    (scenario,) = [parse_scenario(text) for text in SCENARIOS if "clipped_gradient" in text]
    facts, training = scenario.facts, scenario.training
    noise = facts.common_noise * math.sqrt(5 / 3)
    records = sum(facts.public_records or ())
    rate = records * 1.5 * (1 - 0.9) / (0.5 * noise * math.sqrt(scenario.rounds))
    assert (training.clip, training.momentum, records) == (0.5, 0.9, 546)
    assert training.lr == pytest.approx(rate, abs=0.005)
    assert f"so that z = {noise:.2f}" in PAGE
    assert "= 546 x 1.5 x .1 / (.5 x 14.97 x 7.746) = 1.41" in PAGE


def test_widths_and_sides_are_those_of_the_model() -> None:
    for pooling in POOLINGS:
        recipe = Recipe(2, 8, pooling)
        (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| {pooling} ")]
        _, _, grey, colour, needs, _ = (cell.strip() for cell in row.split("|"))
        assert grey == f"{recipe.width(1):,}"
        assert colour == f"{recipe.width(3):,}"
        side = int(needs.split()[0])
        fits = [
            pooling in grids_of(Task(each**2, 2, image=(1, each, each)))
            for each in (side - 1, side)
        ]
        assert fits == [False, True]


def test_the_rule_is_that_of_the_code() -> None:
    thresholds = [f"{int(least):,}" for least, _ in POOLING_FROM[1:]]
    low, high = thresholds
    rows = [f"| below {low} | 1 |", f"| {low} to below {high} | 3 |", f"| {high} or more, "]
    assert all(row in PAGE for row in rows)
    assert [pooling for _, pooling in POOLING_FROM] == [1, 3, 7]
