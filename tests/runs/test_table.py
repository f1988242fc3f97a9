"""Tables of runs: mean and standard error, and words where there is no number."""

import pytest

from securefl.runs.metrics import RunMetrics
from securefl.runs.table import Row, cells, mean_and_error, plain

RUN: RunMetrics = {
    "accuracy": 0.8,
    "balanced_accuracy": 0.7,
    "auc": None,
    "majority": 0.5,
    "epsilon": 2.0,
    "delta": 1e-5,
    "bytes_up": 1_000,
    "bytes_down": 2_500,
    "seconds": 1.25,
}


def test_the_standard_error_is_the_sample_deviation_over_root_n() -> None:
    # By hand: mean 4, squares 4 + 0 + 4 = 8, over n - 1 = 2 gives 4, root 2, over root 3.
    middle, error = mean_and_error([2.0, 4.0, 6.0])
    assert middle == 4.0
    assert error == pytest.approx(2 / 3**0.5)


def test_one_run_has_no_standard_error() -> None:
    assert mean_and_error([3.0]) == (3.0, None)


def test_a_row_says_what_is_not_measured_and_takes_the_largest_epsilon() -> None:
    shown = cells(Row("x", [RUN, {**RUN, "epsilon": 3.0, "accuracy": 0.6}]))
    assert shown == [
        "x",
        "0.700 ± 0.100",
        "0.700 ± 0.000",
        "not measured",
        "0.500 ± 0.000",
        "3.00",
        "1e-05",
        "3.5 kB",
        "1.2",
    ]


def test_seeded_noise_is_marked() -> None:
    assert cells(Row("x", [{**RUN, "noise": "seeded"}]))[5] == "2.00 (seeded)"
    assert cells(Row("x", [{**RUN, "noise": "system"}]))[5] == "2.00"


def test_a_missing_claim_is_a_word() -> None:
    assert cells(Row("x", [{**RUN, "epsilon": None, "delta": None}]))[5:7] == ["none", "none"]


def test_a_refusal_is_a_line_of_the_table() -> None:
    text = plain([Row("fine", [RUN]), Row("krum", note="refused: too few rows")])
    assert "krum  refused: too few rows" in text
    assert all(len(line) < 120 for line in text.splitlines())
