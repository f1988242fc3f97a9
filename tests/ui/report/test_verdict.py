"""The verdict: three sentences at most, from the numbers that are there."""

from pathlib import Path
from typing import Any

import pytest

from securefl.runs.folder import RunFolder
from securefl.ui.report.looks import groups_of, looks_at
from securefl.ui.report.verdict import verdict
from tests.ui.report.folders import CLAIM, Made, claimed, made

UNPROTECTED = (
    "No differential privacy is claimed: nothing bounds what the model, or whatever else leaves a "
    "client, reveals about a record."
)


def verdict_on(folder: Path, *mistakes: str) -> list[str]:
    run = RunFolder.open(folder)
    request = run.request()
    return verdict(request, groups_of(looks_at(run, request)), mistakes)


def rows(**scores: float) -> list[Made]:
    return [
        Made(label.replace("_", " "), seed, metrics={"accuracy": score + seed / 100})
        for label, score in scores.items()
        for seed in range(2)
    ]


def test_a_run_is_compared_with_a_constant_answer(tmp_path: Path) -> None:
    assert verdict_on(made(tmp_path / "run", [Made("a")])) == [
        "Accuracy is 0.750 from one seed; to answer always with the largest class gives 0.516.",
        UNPROTECTED,
    ]


def test_a_run_that_a_constant_answer_equals_says_so(tmp_path: Path) -> None:
    metrics = {"accuracy": 0.516}
    first, _ = verdict_on(made(tmp_path / "run", [Made("a", metrics=metrics)]))
    assert first.endswith("seed, no better than to answer always with the largest class (0.516).")


def test_the_best_of_several_rows_is_named_with_its_error(tmp_path: Path) -> None:
    # Scores .70 and .71: the mean is .705, the standard error .005.
    first, _ = verdict_on(made(tmp_path / "run", rows(low=0.6, best=0.7, next_to_it=0.699)))
    assert first == (
        "The highest accuracy of 3 rows is 0.705 ± 0.005 over 2 seeds, by “best”; to answer always "
        "with the largest class gives 0.516; 1 other row is within its standard error."
    )


def test_a_row_that_lacks_a_seed_is_never_the_best(tmp_path: Path) -> None:
    cells = [
        *rows(low=0.6),
        Made("high", 0, metrics={"accuracy": 0.9}),
        Made("high", 1, status=None),
    ]
    trouble, best, _ = verdict_on(made(tmp_path / "run", cells))
    assert trouble == "Of 4 cells 1 did not begin."
    assert best.startswith("The highest accuracy is 0.605 ± 0.005 over 2 seeds, by “low”")


def test_a_row_of_fewer_records_does_not_compete(tmp_path: Path) -> None:
    alone = Made("one hospital", metrics={"records": 15, "accuracy": 1.0})
    first, _ = verdict_on(made(tmp_path / "run", [Made("all"), alone]))
    assert first.startswith("The highest accuracy is 0.750 from one seed, by “all”")


def test_data_sets_are_never_compared_with_each_other(tmp_path: Path) -> None:
    cells = [
        Made(name, changes={"data": {"name": name}}, metrics={"accuracy": score})
        for name, score in (("heart", 0.8), ("digits", 0.9), ("c", 0.7), ("d", 0.6))
    ]
    first, _ = verdict_on(made(tmp_path / "run", cells))
    assert first.startswith("The highest accuracy is on “heart” 0.800 from one seed, by “heart”; ")
    assert "; on “digits” 0.900" in first
    assert first.endswith("; 1 other data set in the table.")


def test_the_smallest_error_is_the_best(tmp_path: Path) -> None:
    cells = [
        Made(
            label,
            metrics={"accuracy": None, "majority": None, "mae": 1.0, "rmse": error, "r2": 0.0},
        )
        for label, error in (("a", 30.0), ("b", 20.0))
    ]
    first, _ = verdict_on(made(tmp_path / "run", cells))
    assert first == "The lowest RMSE of 2 rows is 20.00 from one seed, by “b”."


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("metrics = ['auc', 'accuracy']\n", "AUC"),
        ("metrics = ['epsilon']\n", "accuracy"),
        ("metrics = 'auc'\n", "accuracy"),
        ("no toml", "accuracy"),
    ],
)
def test_a_study_says_which_metric_counts(tmp_path: Path, text: str, title: str) -> None:
    folder = made(tmp_path / "run", rows(a=0.6, b=0.7), study="s", text=text)
    assert verdict_on(folder)[0].startswith(f"The highest {title} of 2 rows is ")


def test_validation_records_are_named(tmp_path: Path) -> None:
    cell = Made("a", changes={"data": {"test_on": "validation"}})
    assert "seed, on VALIDATION records;" in verdict_on(made(tmp_path / "run", [cell]))[0]


def claim(tmp_path: Path, *mistakes: str, changes: Any = None, **metrics: Any) -> str:
    cells = [
        Made("a"),
        Made("b", overrides=CLAIM, metrics=claimed(2.0)),
        Made("c", overrides=CLAIM, changes=changes or {}, metrics=claimed(2.5, **metrics)),
    ]
    return verdict_on(made(tmp_path / "run", cells), *mistakes)[-1]


def test_a_claim_names_its_reach_and_its_unit(tmp_path: Path) -> None:
    assert claim(tmp_path) == (
        "2 of 3 rows claim differential privacy with epsilon 2.00 to 2.50 for one training record."
    )


def test_noise_from_a_seed_is_part_of_the_verdict(tmp_path: Path) -> None:
    assert claim(tmp_path, noise="seeded").endswith(
        "record; its noise comes from a seed, and whoever has the seed can remove it."
    )


def test_a_mistake_of_the_lint_is_part_of_the_verdict(tmp_path: Path) -> None:
    assert claim(tmp_path, "claim-without-noise").endswith(
        "record; but the lint finds that the claim is wrong (claim-without-noise)."
    )


def test_epsilons_of_different_units_are_never_mixed(tmp_path: Path) -> None:
    said = claim(tmp_path, changes={"privacy": {"epsilon": 3.0, "unit": "client"}})
    assert said == (
        "2 of 3 rows claim differential privacy for different units, which the table names."
    )


def test_a_run_that_has_spent_nothing_yet_names_its_budget(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", [Made("a", overrides=CLAIM, status=None)])
    assert verdict_on(folder) == [
        "The run did not begin.",
        "There is no result.",
        "The run claims differential privacy with a budget of epsilon 3 for one training record.",
    ]


def test_a_verdict_has_three_sentences_at_most(tmp_path: Path) -> None:
    failed = {"state": "failed", "run": "r", "reason": "x"}
    running = {"state": "running", "run": "r", "round": 1}
    spent = {"state": "out of budget", "run": "r", "reason": "x"}
    cells = [
        *rows(a=0.6, b=0.7),
        Made("c", 0, status=failed, metrics=None),
        Made("c", 1, status=running, metrics=None),
        Made("d", 0, CLAIM, status=spent, metrics=claimed(noise="seeded")),
        Made("d", 1, CLAIM, status=None),
    ]
    said = verdict_on(made(tmp_path / "run", cells), "a-mistake")
    assert len(said) == 3
    assert said[0] == (
        "Of 8 cells 1 failed, 1 ran out of the privacy budget, 1 began and did not end and 1 did "
        "not begin."
    )
