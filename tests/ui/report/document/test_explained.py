"""Verdicts in one sentence: known answers, and no sentence that says two opposite things."""

from dataclasses import replace

import pytest

from securefl.audit.exposure.result import Exposure
from securefl.audit.lines import Line, Point, Verdict
from securefl.audit.repertoire import SIZE
from securefl.audit.scope import Budget
from securefl.ui.report.document.explained import (
    CLAIM,
    bound,
    exposure_sentence,
    is_measured,
    line_sentence,
    promise,
)
from tests.ui.report.document.subjects import (
    CHANCE,
    LABELS_SHOWN,
    OPEN,
    REFUTED,
    UNRUN,
    UNTRIED,
)

LUCK = "which luck alone could give"
MORE = "which is more than luck explains"


def test_an_auc_is_the_share_of_pairs_that_are_told_apart() -> None:
    assert line_sentence(CHANCE) == (
        "Shown one record that was trained on and one that was not, it names the right one in "
        f"51.0 % of cases, where guessing gives 50 %, {LUCK}; this does not contradict the claim, "
        "and does not confirm it."
    )


def test_an_attack_beats_luck_beyond_two_standard_errors() -> None:
    assert MORE in line_sentence(replace(CHANCE, auc=0.541))
    assert LUCK in line_sentence(replace(CHANCE, auc=0.539))
    assert line_sentence(OPEN).endswith(f"{MORE}; nothing was promised against it.")


def test_an_older_audit_without_errors_says_nothing_about_luck() -> None:
    sentence = line_sentence(replace(CHANCE, auc=0.9, auc_error=None))
    assert "luck" not in sentence
    assert "90.0 %" in sentence


def test_a_refuted_claim_is_not_called_luck() -> None:
    sentence = line_sentence(replace(REFUTED, auc=0.5))
    assert "luck" not in sentence
    assert sentence.startswith("Shown one artificial record that was put in and one that was left")
    assert sentence.endswith("this is more than the claim allows, so that the claim is wrong.")


@pytest.mark.parametrize("verdict", list(Verdict), ids=lambda verdict: verdict.name)
def test_every_verdict_has_one_sentence(verdict: Verdict) -> None:
    sentences = {
        CLAIM[verdict],
        line_sentence(Line(SIZE, verdict, "w")),
        line_sentence(Line("another's attack", verdict, "w")),
    }
    for sentence in sentences:
        assert sentence.endswith(".")
        assert sentence.count(". ") == 0


def test_a_check_of_the_training_says_whether_it_is_as_promised() -> None:
    assert "is as promised" in line_sentence(Line(SIZE, Verdict.HOLDS, "w"))
    assert "is not as promised" in line_sentence(Line(SIZE, Verdict.VIOLATED, "w"))
    assert "could not be confirmed" in line_sentence(UNRUN)


def test_a_measurement_is_a_figure_or_a_decision() -> None:
    assert is_measured(CHANCE)
    assert is_measured(Line(SIZE, Verdict.HOLDS, "w"))
    assert is_measured(Line(SIZE, Verdict.VIOLATED, "w"))
    assert not is_measured(Line(SIZE, Verdict.UNDECIDED, "w"))
    assert not is_measured(Line("x", Verdict.UNCLAIMED, "w"))


def test_exposures_are_explained_without_a_claim() -> None:
    assert "more from the updates than guessing" in exposure_sentence(LABELS_SHOWN)
    assert "nothing from the updates" in exposure_sentence(replace(LABELS_SHOWN, measured=0.15))
    assert "could not be run" in exposure_sentence(UNTRIED)
    assert "could not be run" in exposure_sentence(Exposure("x", "w", "dB", 3.0))


def test_a_promise_is_the_exponential_of_its_epsilon() -> None:
    # e^3 = 20.0855
    assert "by a factor of 20.1 at most, and by 1e-05 on top" in promise(Budget(3.0, 1e-5, 2.5))
    assert "by a factor of 1.01e+304 at most" in promise(Budget(1e6, 1e-5, None))


def test_the_bound_is_that_of_the_first_rate_with_one() -> None:
    assert bound([OPEN]) == ""
    assert bound([OPEN, CHANCE]) == (
        "An attack that wrongly accuses 1 % of the records that took no part may find 6.25 % at "
        "most of those that did."
    )
    assert "finds" not in bound([replace(CHANCE, points=(Point(0.001, None, 0.5),))])
