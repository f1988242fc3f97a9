"""Words of refusals: the number that is said to be enough is enough."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securefl.errors import at_least


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (100 / 7, "14.29"),
        (5.0, "5"),
        (0.3, "0.3"),
        (0.1 + 0.2, "0.3001"),
        (3.435921, "3.436"),
        (99_995.0, "100000"),
        (1.2345678e-7, "1.235e-07"),
        (123_456_789.0, "1.235e+08"),
    ],
)
def test_known_answers(value: float, words: str) -> None:
    assert at_least(value) == words


@given(st.floats(min_value=1e-12, max_value=1e12))
def test_a_number_that_is_at_least_a_value_is_close_to_it(value: float) -> None:
    assert value <= float(at_least(value)) <= value * 1.001 * (1 + 1e-12)
