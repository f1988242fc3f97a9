"""docs/rules.md is made from the docstrings of every rule and pre-filter."""

import pytest

import defenses
from defenses.page import page
from securefl.scenario import catalog
from tests.paths import ROOT

WRITTEN = (ROOT / "docs/rules.md").read_text(encoding="utf-8")
NAMED = [
    "mean", "median", "trimmed_mean", "meamed", "krum", "multi_krum", "bulyan", "geometric_median",
    "centered_clipping", "mda", "monna", "dnc",
    "nearest_neighbor_mixing", "bucketing", "clip_norms", "adaptive_clipping",
]  # fmt: skip


def test_the_page_is_made_from_the_docstrings() -> None:
    assert page() == WRITTEN, "run: python -m defenses.page > docs/rules.md"


@pytest.mark.parametrize("name", NAMED)
def test_every_rule_and_prefilter_has_a_line_that_is_filled_in(name: str) -> None:
    assert name in defenses.__all__
    (line,) = [line for line in WRITTEN.splitlines() if line.startswith(f"| `{name}` |")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert len(cells) == 7
    assert all(cells[:6])
    # Clipping to a radius has no paper of its own.
    assert cells[6] or name == "clip_norms"


def test_every_rule_and_prefilter_of_a_scenario_is_on_the_page() -> None:
    for name in (*catalog.RULES, *catalog.PREFILTERS):
        assert f"| `{name}` |" in WRITTEN
