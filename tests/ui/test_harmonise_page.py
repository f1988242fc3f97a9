"""docs/harmonise.md: its scenarios are checked word for word."""

import pytest

from securefl.scenario.scenario import parse_scenario
from tests.ui.test_readme import blocks

SCENARIOS = blocks("toml", "docs/harmonise.md")


@pytest.mark.parametrize("index", range(len(SCENARIOS)))
def test_a_scenario_of_the_page_is_valid(index: int) -> None:
    assert parse_scenario(SCENARIOS[index]).data.harmonise is not None


def test_the_page_has_scenarios() -> None:
    assert len(SCENARIOS) == 4
