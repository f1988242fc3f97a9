"""docs/scenario.md is what the classes that check scenarios say."""

from securefl.scenario import catalog
from securefl.scenario.page import page
from securefl.scenario.scenario import Scenario
from tests.paths import ROOT


def test_the_page_is_up_to_date() -> None:
    written = (ROOT / "docs/scenario.md").read_text(encoding="utf-8")
    assert written == page(), "run: python -m securefl.scenario.page > docs/scenario.md"


def test_every_key_and_every_name_is_on_the_page() -> None:
    shown = page()
    for key, field in Scenario.model_fields.items():
        assert f"| `{key}` |" in shown or f"## [{key}]" in shown, field
    for table in (
        catalog.MODELS,
        catalog.RULES,
        catalog.ATTACKS,
        catalog.STEPS,
        catalog.DATA,
        catalog.CHANNELS,
    ):
        assert all(f"| `{name}` |" in shown for name in table)


def test_defaults_bounds_and_choices_are_told() -> None:
    lines = page().splitlines()
    assert "| `rounds` | a whole number, at least 1 and at most 1e+06 | 20 |" in lines
    models = " or ".join(f"`{name}`" for name in (*catalog.MODELS, "auto"))
    assert f"| `name` | {models} | `logistic` |" in lines
    assert "| `krum` | `f` |" in lines
    assert (
        "| `prefilters` | a list of `nearest_neighbor_mixing` or `adaptive_clipping` or "
        "`clip_norms` | none |" in lines
    )
    assert "| `clients` | a list: a whole number, at least 0 | needed |" in lines
    assert "| `epsilon` | a number, above 0 | 8 |" in lines
    assert "| `noise_multiplier` | a number, at least 0.1 and at most 10000 | none |" in lines
    assert "| `mlp` | `hidden` (default [32]) |" in lines
    assert (
        "| `masked` | `ring` = 32, `clip` = 4, `rounding` = `stochastic`, `corrupt` = 1, "
        "`secrets` = `system`, `groups` = none, `regroup` = none, `sketch` = none |" in lines
    )
    assert "| `reveal_counts` | `true` or `false` | none |" in lines
