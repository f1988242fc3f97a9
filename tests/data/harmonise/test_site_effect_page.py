"""docs/results/site-effect.md is what its numbers say, within a scanner and in one ROC."""

import numpy as np
import pytest

from benchmarks.experiments.site_effect import RATES
from benchmarks.experiments.site_effect_page import (
    Effect,
    Row,
    auc_error,
    back,
    back_within,
    page,
    read_rows,
)
from securefl.studies.find import find_study
from securefl.studies.study import load_study
from tests.paths import ROOT

RESULTS = ROOT / "docs/results"


def rows() -> list[Row]:
    return read_rows((RESULTS / "site-effect.csv").read_text(encoding="utf-8"), Row)


def row(steps: str, seed: int, clean: float, shifted: float, dark: float, bright: float) -> Row:
    return Row("logistic", steps, 0.1, seed, clean, shifted, dark, bright)


def test_the_page_is_that_of_its_figures() -> None:
    effects = (RESULTS / "site-effect-sites.csv").read_text(encoding="utf-8")
    study, _ = load_study(find_study("scanners"))
    nyul = next(level for level in study.axes["steps"] if level.label == "Nyul")
    landmarks = nyul.keys["data.harmonise"][0]["landmarks"]
    shown = (RESULTS / "site-effect.md").read_text(encoding="utf-8")
    assert page(rows(), read_rows(effects, Effect), landmarks) == shown


def test_no_learning_rate_is_on_the_edge_of_its_grid() -> None:
    assert {one.lr for one in rows()} <= set(RATES[1:-1])


@pytest.mark.parametrize(("positive", "negative"), [(12, 120), (120, 12)])
def test_the_error_of_an_auc_is_that_of_exponential_scores(positive: int, negative: int) -> None:
    # For them the formula is exact: positive scores with rate 1/4 exceed those with rate 1 with
    # probability .8. The standard deviation of 4,000 AUCs is wrong by 1.1 %.
    random = np.random.default_rng(positive)
    high = random.exponential(4.0, size=(4000, positive, 1))
    low = random.exponential(1.0, size=(4000, 1, negative))
    found = (high > low).mean(axis=(1, 2)).std()
    assert found == pytest.approx(auc_error(0.8, positive, negative), rel=0.05)
    assert found != pytest.approx(auc_error(0.8, negative, positive), rel=0.05)


def test_shares_of_two_losses_known_answer() -> None:
    # Within: .9 falls to .8, and a step brings .875. One ROC: .9 falls to .5 and to .7, and a step
    # brings .7 and .8.
    made = [
        row("none", 0, 0.9, 0.5, 0.7, 0.9),
        row("none", 1, 0.9, 0.7, 0.7, 0.9),
        row("zscore", 0, 0.8, 0.7, 0.85, 0.9),
        row("zscore", 1, 0.8, 0.8, 0.85, 0.9),
    ]
    assert back(made, "logistic", "zscore") == pytest.approx([0.5, 0.5])
    assert back_within(made, "logistic", "zscore") == pytest.approx(0.75)
    text = page(made, [], [1.0])
    assert "loses 0.300 ± 0.100 in one ROC, and 0.100 ± 0.000 `within`" in text
    assert "these shares come back: z-score 0.75" in text
    assert "not comparable" not in text


def test_a_loss_below_the_error_of_the_test_images_has_no_share() -> None:
    # The error of .9 on 390 and 234 images is .012.
    for lost, has_share in ((0.011, False), (0.013, True)):
        made = [
            row(steps, seed, 0.9, 0.5, 0.9 - lost, 0.9 - lost)
            for steps in ("none", "zscore")
            for seed in (0, 1)
        ]
        assert (back_within(made, "logistic", "zscore") is not None) is has_share
        assert ("too small for a share" in page(made, [], [1.0])) is not has_share
