"""Which differences of a study are marked, and how the number of test records enters."""

import pytest

from securefl.studies.expand import rows
from securefl.studies.questions import Differences, differences
from securefl.studies.scores import Scores, scores
from securefl.studies.statistics import shares_error
from securefl.studies.study import parse_study

STUDY = """\
seeds = 5
metrics = ["accuracy"]
[base]
training = { kind = "sgd" }
[axes]
rounds = [1, 2]
[[baseline]]
label = "Switzerland"
set = { "data.only" = 2 }
[[baseline]]
label = "pooled"
[compare]
baseline = "pooled"
"""
AWAY = (0, 0.001, 0, -0.001, 0)  # runs all but agree


def accuracies(**by_row: float) -> Scores:
    return scores(
        {
            "label": row.replace("_", " "),
            "seed": str(seed),
            "part": "",
            "state": "done",
            "noise": "",
            "site": "",
            "metric": "accuracy",
            "value": str(value + (0 if row == "pooled" else step)),
        }
        for row, value in by_row.items()
        for seed, step in enumerate(AWAY)
    )


def told(**by_row: float) -> Differences:
    study = parse_study(STUDY, name="study")
    return differences(study, list(rows(study)), accuracies(**by_row))


def test_a_difference_of_two_test_records_is_never_marked_however_alike_the_seeds() -> None:
    # Two records of 250, in every seed: t is beyond 20, and the two records' own error is .04.
    found = told(pooled=0.8, rounds_1=0.8 - 2 / 250, rounds_2=0.6, Switzerland=0.8)
    assert found.marked == {"rounds 2"}
    two = found.comparisons["rounds 1"]
    assert two is not None
    assert two.p is not None
    assert two.p < 0.001


def test_a_difference_has_the_error_of_the_smaller_test_set() -> None:
    found = told(pooled=0.8, rounds_1=0.6, rounds_2=0.6, Switzerland=0.6).comparisons
    errors = {row: one.records_error for row, one in found.items() if one is not None}
    assert errors["rounds 1"] == pytest.approx(shares_error(0.8, 0.6, 250))
    assert errors["Switzerland"] == pytest.approx(
        shares_error(0.8, 0.6, 15)
    )  # its own 15 test records
