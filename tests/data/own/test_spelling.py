"""Spellings that are the same, and those that are not."""

import pytest

from securefl.data.own.spelling import canonical


@pytest.mark.parametrize(
    ("value", "spelling"),
    [
        ("1", "1"),
        ("1.0", "1"),
        ("+1.00", "1"),
        (1, "1"),
        (1.0, "1"),
        (" 1 ", "1"),
        ("10", "10"),
        ("100.0", "100"),
        ("1.50", "1.5"),
        ("-1.0", "-1"),
        ("-0.0", "0"),
        ("-0.5", "-0.5"),
        ("0.10", "0.1"),
        # Codes, not numbers.
        ("007", "007"),
        ("1e3", "1e3"),
        ("1.", "1."),
        ("north", "north"),
        (True, "true"),
        (False, "false"),
        # Beyond what a float tells apart.
        ("9007199254740993.0", "9007199254740993"),
    ],
)
def test_a_value_has_one_spelling(value: object, spelling: str) -> None:
    assert canonical(value) == spelling
    assert canonical(spelling) == spelling
