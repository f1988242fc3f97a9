"""The gate: a tiny grammar, read strictly."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securefl.errors import ScenarioError
from securefl.runs.refining.gate import Gate, parse_gate


@pytest.mark.parametrize(
    ("text", "metric", "sign", "relative", "number"),
    [
        ("auc >= previous - .01", "auc", ">=", True, -0.01),
        ("auc>=previous-0.01", "auc", ">=", True, -0.01),
        ("accuracy > previous + 0.02", "accuracy", ">", True, 0.02),
        ("balanced_accuracy >= previous", "balanced_accuracy", ">=", True, 0.0),
        (" accuracy >= 0.8 ", "accuracy", ">=", False, 0.8),
        ("rmse <= previous + 1.5", "rmse", "<=", True, 1.5),
        ("mae < 12", "mae", "<", False, 12.0),
        ("r2 > .5", "r2", ">", False, 0.5),
    ],
)
def test_a_gate_is_a_metric_a_sign_and_a_bound(
    text: str, metric: str, sign: str, relative: bool, number: float
) -> None:
    assert parse_gate(text) == Gate(text.strip(), metric, sign, relative, number)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "auc",
        "auc >= ",
        "auc = 0.5",
        "auc >= previous * 0.9",
        "auc >= previous - 0.01 - 0.01",
        "auc >= 0.9 and accuracy >= 0.9",
        "auc >= -0.1",
        "auc >= 1e-1",
        "auc >= nan",
        "auc >= previous - inf",
        "auc >= __import__('os')",
        "auc >= ٣",
        "auc >= 0." + "1" * 10,
        "auc >= .",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ScenarioError, match="--gate takes a comparison such as"):
        parse_gate(text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("loss <= 1", "there is no metric 'loss'"),
        ("auc <= previous", "auc <= would release a worse model and refuse a better one; use >="),
        ("rmse > previous", "rmse > would release a worse model and refuse a better one; use <="),
        ("accuracy >= 80", "accuracy is from 0 to 1, got 80"),
        ("auc >= previous - 1.5", "auc is from 0 to 1, got 1.5"),
    ],
)
def test_a_gate_without_sense_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(ScenarioError, match=re.escape(sentence)):
        parse_gate(text)


@pytest.mark.parametrize(
    ("text", "value", "previous", "passes"),
    [
        # Numbers that binary fractions hold, so that the edge is an edge.
        ("auc >= previous - .25", 0.5, 0.75, True),
        ("auc > previous - .25", 0.5, 0.75, False),
        ("auc >= previous - .25", 0.4999, 0.75, False),
        ("auc >= previous + .25", 0.75, 0.5, True),
        ("auc >= previous + .25", 0.74, 0.5, False),
        ("auc >= 0.5", 0.5, None, True),
        ("auc >= 0.5", 0.5, 0.9, True),
        ("rmse <= previous + 1", 3.0, 2.0, True),
        ("rmse < previous + 1", 3.0, 2.0, False),
        # Binary fractions miss these by a rounding, which decides nothing.
        ("accuracy >= previous - 0.1", 0.7, 0.8, True),
        ("accuracy > previous - 0.1", 0.7, 0.8, False),
        ("accuracy >= previous - 0.1", 0.7 - 1e-11, 0.8, False),
        ("accuracy > previous + 0.7", 0.8, 0.1, False),
        ("rmse <= previous + 0.2", 0.1 + 0.2 + 4e-17, 0.1, True),
        ("rmse < previous + 0.2", 0.3, 0.1, False),
        ("rmse <= previous + 0.1", 1e9 + 0.1 + 2e-7, 1e9, True),
        ("rmse <= previous", float("nan"), 0.5, False),
        ("auc >= 0.5", None, 0.5, False),
        ("auc >= previous", 0.5, None, False),
    ],
)
def test_a_version_passes_where_the_comparison_holds_and_both_values_were_measured(
    text: str, value: float | None, previous: float | None, passes: bool
) -> None:
    assert parse_gate(text).passes(value, previous) is passes


@settings(max_examples=50)
@given(st.text(max_size=40))
def test_no_text_does_anything_but_parse_or_be_refused(text: str) -> None:
    try:
        gate = parse_gate(text)
    except ScenarioError:
        return
    assert abs(gate.number) < 1e10
