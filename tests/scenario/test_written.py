"""Values from Python as TOML text."""

import math
import tomllib
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from securefl.errors import ScenarioError
from securefl.scenario.written import to_toml

VALUES: dict[str, Any] = {
    "rounds": 3,
    "rate": 1e-05,
    "large": 1e300,
    "budget": math.inf,
    "yes": True,
    "words": 'a "quoted" \\ é ☃ \U0001f600\n\t\x00\x7f',
    "a key": {"with space": {"inner": [1, 2.5, "x", [], {}]}},
    "defense.rule": ["mean", {"name": "krum", "f": 1}],
    "empty": {},
    "": 0,
}


def test_what_is_written_is_read_back() -> None:
    assert tomllib.loads(to_toml(VALUES)) == VALUES


def test_tuples_ranges_and_paths_are_lists_and_texts_and_none_is_left_out() -> None:
    given = {"a": (1, 2), "b": range(2), "c": Path("x/y"), "d": None, "e": {"f": None, "g": 1}}
    assert tomllib.loads(to_toml(given)) == {"a": [1, 2], "b": [0, 1], "c": "x/y", "e": {"g": 1}}


class Color(float, Enum):
    RED = 1.5


@pytest.mark.parametrize("value", [len, np.float64(1.5), np.int64(1), {1}, Color.RED, b"x"])
def test_what_toml_cannot_hold_is_refused_with_its_key(value: object) -> None:
    with pytest.raises(ScenarioError, match=r"^a\.b is a \w+, which no scenario can hold"):
        to_toml({"a": {"b": [value]}})
