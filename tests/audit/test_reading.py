"""Typed reading of an audit's JSON: everything else raises."""

import math

import pytest

from securefl.audit.reading import number, share, text, texts, truth, whole


def test_values_of_the_right_type_stay() -> None:
    assert text("ä") == "ä"
    assert number(2) == 2.0
    assert number(-1.5) == -1.5
    assert number(None) is None
    assert (share(0), share(1), share(None)) == (0.0, 1.0, None)
    assert whole(0) == 0
    assert truth(False) is False
    assert texts(["a", "b"]) == ("a", "b")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400])
def test_a_number_is_finite(value: float) -> None:
    with pytest.raises(ValueError, match="not a finite number"):
        number(value)


@pytest.mark.parametrize("value", [True, "1", [1], {}])
def test_a_number_is_a_number(value: object) -> None:
    with pytest.raises(TypeError, match="not a number"):
        number(value)


@pytest.mark.parametrize("value", [-1e-9, 1.0000001])
def test_a_share_is_from_0_to_1(value: float) -> None:
    with pytest.raises(ValueError, match="not a share"):
        share(value)


@pytest.mark.parametrize("value", [-1, 2**63])
def test_a_count_has_the_size_of_one(value: int) -> None:
    with pytest.raises(ValueError, match="not a count"):
        whole(value)


@pytest.mark.parametrize("value", [True, 1.0, "1", None])
def test_a_count_is_an_integer(value: object) -> None:
    with pytest.raises(TypeError, match="not an integer"):
        whole(value)


def test_a_text_can_be_written() -> None:
    with pytest.raises(UnicodeEncodeError, match="surrogates not allowed"):
        text("\ud800")
    with pytest.raises(TypeError, match="not a string"):
        text(None)


def test_texts_are_a_list_and_no_string_of_signs() -> None:
    with pytest.raises(TypeError, match="not a list"):
        texts("abc")
    with pytest.raises(TypeError, match="not a string"):
        texts(["a", 1])


def test_a_truth_value_is_one() -> None:
    with pytest.raises(TypeError, match="not a truth value"):
        truth(0)
