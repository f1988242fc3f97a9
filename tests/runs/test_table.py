"""Tables of runs: mean and standard error, and words where there is no number."""

import pytest

from securefl.runs.metrics import METRICS_OF_CLASSES, METRICS_OF_TARGETS, RunMetrics
from securefl.runs.table import (
    Row,
    cells,
    decimals,
    heads,
    mean_and_error,
    metrics_shown,
    number_of,
    plain,
)

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

STAYS: RunMetrics = {
    "accuracy": None,
    "balanced_accuracy": None,
    "auc": None,
    "majority": None,
    "mae": 123.456,
    "rmse": 0.0123456,
    "r2": -0.25,
    "epsilon": None,
    "delta": None,
    "bytes_up": 1_000,
    "bytes_down": 2_500,
    "seconds": 1.25,
}


def shown(row: Row) -> list[str]:
    return cells(row, METRICS_OF_CLASSES)


def test_the_standard_error_is_the_sample_deviation_over_root_n() -> None:
    # By hand: mean 4, squares 4 + 0 + 4 = 8, over n - 1 = 2 gives 4, root 2, over root 3.
    middle, error = mean_and_error([2.0, 4.0, 6.0])
    assert middle == 4.0
    assert error == pytest.approx(2 / 3**0.5)


def test_one_run_has_no_standard_error() -> None:
    assert mean_and_error([3.0]) == (3.0, None)


def test_a_row_says_what_is_not_measured_and_takes_the_largest_epsilon() -> None:
    assert shown(Row("x", [RUN, {**RUN, "epsilon": 3.0, "accuracy": 0.6}])) == [
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
    assert shown(Row("x", [{**RUN, "noise": "seeded"}]))[5] == "2.00 (seeded)"
    assert shown(Row("x", [{**RUN, "noise": "system"}]))[5] == "2.00"


def test_a_missing_claim_is_a_word() -> None:
    assert shown(Row("x", [{**RUN, "epsilon": None, "delta": None}]))[5:7] == ["none", "none"]


def test_a_refusal_is_a_line_of_the_table() -> None:
    text = plain([Row("fine", [RUN]), Row("krum", note="refused: too few rows")])
    assert "krum  refused: too few rows" in text
    assert all(len(line) < 120 for line in text.splitlines())


def test_a_table_of_real_targets_has_errors_in_place_of_accuracies() -> None:
    rows = [Row("stays", [STAYS, {**STAYS, "mae": 123.856}]), Row("krum", note="refused")]
    assert metrics_shown(rows) == METRICS_OF_TARGETS
    head, _, line, refusal = plain(rows).splitlines()
    assert head.split() == ["MAE", "RMSE", "R2", "epsilon", "delta", "bytes", "seconds"]
    assert "123.7 ± 0.2  0.01235 ± 0.00000  -0.250 ± 0.000  none" in line
    assert refusal == "krum   refused"


def test_a_table_of_both_kinds_shows_a_dash_for_the_other_kind() -> None:
    rows = [Row("heart", [RUN]), Row("stays", [{**STAYS, "r2": None}])]
    metrics = metrics_shown(rows)
    assert heads(metrics)[1:8] == [
        "accuracy",
        "bal. acc.",
        "AUC",
        "majority",
        "MAE",
        "RMSE",
        "R2",
    ]
    assert cells(rows[0], metrics)[1:8] == [
        "0.800",
        "0.700",
        "not measured",
        "0.500",
        "-",
        "-",
        "-",
    ]
    assert cells(rows[1], metrics)[1:8] == [
        "-",
        "-",
        "-",
        "-",
        "123.5",
        "0.01235",
        "not measured",
    ]


def test_a_table_without_runs_has_the_columns_of_classes() -> None:
    assert metrics_shown([Row("krum", note="refused")]) == METRICS_OF_CLASSES


@pytest.mark.parametrize(
    ("metric", "value", "count"),
    [
        ("accuracy", 0.001, 3),
        ("r2", 0.001, 3),
        ("rmse", 0.0, 3),
        ("rmse", 9.99, 3),
        ("rmse", -10.0, 2),
        ("mae", 0.5, 4),
        ("mae", 123_456.0, 0),
    ],
)
def test_an_error_is_shown_with_four_digits_in_any_unit(
    metric: str, value: float, count: int
) -> None:
    assert decimals(metric, value) == count


def test_very_large_and_very_small_numbers_are_shown_in_powers_of_ten() -> None:
    diverged: RunMetrics = {**STAYS, "mae": 1.25e21, "rmse": 2.5e-5, "r2": -3e39}
    line = cells(Row("x", [diverged]), METRICS_OF_TARGETS)
    assert line[1:4] == ["1.250e+21", "2.500e-05", "-3.000e+39"]
    other: RunMetrics = {**STAYS, "mae": 3e5, "rmse": 2.5e-5, "r2": 0.5}
    line = cells(Row("x", [other, {**other, "mae": 9e6}]), METRICS_OF_TARGETS)
    assert line[1:4] == ["4.650e+06 ± 4.350e+06", "2.500e-05 ± 0.000e+00", "0.500 ± 0.000"]


def test_numbers_of_usual_size_keep_their_decimals() -> None:
    edges = [999_999.0, 1e6, 1e-4, 9.9e-5]
    shown = [number_of(value, decimals("mae", value)) for value in edges]
    assert shown == ["999999", "1.000e+06", "0.0001000", "9.900e-05"]
    # A share close to zero is a zero with the decimals of a share.
    assert number_of(1e-5, decimals("accuracy", 1e-5)) == "0.000"
    assert number_of(0.25, 3, sign="+") == "+0.250"
    assert number_of(-2e6, 0, sign="+") == "-2.000e+06"
    assert number_of(2e6, 0, sign="+") == "+2.000e+06"
