"""Patterns match what Python's own expressions match, in bounded time."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securefl.data.crosswalk.pattern import compile_pattern

LEAVES = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\d", r"\.", ""])


def grown(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    quantifiers = st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{0,2}", "{2,}"])
    return st.one_of(
        st.tuples(parts, parts).map("".join),
        st.tuples(parts, parts).map(lambda pair: f"(?:{pair[0]}|{pair[1]})"),
        st.tuples(parts, quantifiers).map(lambda pair: f"({pair[0]}){pair[1]}"),
    )


@given(
    st.recursive(LEAVES, grown, max_leaves=6),
    st.text(alphabet="ab.1", max_size=6),
)
def test_a_pattern_matches_the_texts_that_fullmatch_of_python_matches(
    pattern: str, text: str
) -> None:
    assert compile_pattern(pattern)(text) is (re.fullmatch(pattern, text) is not None)


def test_a_known_pattern_matches_whole_texts_only() -> None:
    matches = compile_pattern(r"I2[0-5](\.\d)?|angina.*")
    texts = ["I20", "I25.1", "angina pectoris", "I26", "xI20", "I20.", "I20.11", "Angina"]
    assert [matches(text) for text in texts] == [True, True, True, *[False] * 5]


@pytest.mark.parametrize(
    ("pattern", "lengths"),
    [
        ("a{1,3}", [1, 2, 3]),
        ("a{2}", [2]),
        ("a{0,2}", [0, 1, 2]),
        ("a{3,}", [3, 4, 5]),
        ("a?", [0, 1]),
        ("(aa){1,2}", [2, 4]),
    ],
)
def test_a_part_is_repeated_as_often_as_its_quantifier_says(
    pattern: str, lengths: list[int]
) -> None:
    matches = compile_pattern(pattern)
    assert [length for length in range(6) if matches("a" * length)] == lengths


@pytest.mark.parametrize("pattern", ["(a*)*b", "(a|a)*b", "(a|aa)+b", "a?" * 60 + "a" * 60 + "b"])
def test_patterns_that_take_others_exponential_time_take_little(pattern: str) -> None:
    matches = compile_pattern(pattern)
    start = time.process_time()
    assert not matches("a" * 200)
    assert time.process_time() - start < 5


def test_a_text_above_the_bound_matches_nothing() -> None:
    matches = compile_pattern("a*")
    assert matches("a" * 200)
    assert not matches("a" * 201)


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        ("(a", "opens a group that it does not close"),
        ("a)", "closes a group that it does not open"),
        ("[a", "opens a class"),
        ("[b-a]", "which cannot be read"),
        ("[[a]", "which cannot be read"),
        ("*a", "needs a backslash before a '\\*'"),
        ("a**", "one quantifier after another"),
        ("a*?", "one quantifier after another"),
        ("a{2}{3}", "one quantifier after another"),
        ("^a", "needs no '\\^'"),
        ("a$", "needs no '\\$'"),
        ("(?=a)", "and no others"),
        ("(?P<x>a)", "and no others"),
        (r"(a)\1", "has no .1;"),
        (r"\ba", "has no .b;"),
        ("a\\", "has no .;"),
        ("a{3,2}", "from m to n times"),
        ("a{101}", "from m to n times, at most 100"),
        ("a" * 201, "at most 200 characters"),
        ("((a{90}){90})", "too large"),
    ],
)
def test_other_patterns_are_refused(pattern: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        compile_pattern(pattern)
