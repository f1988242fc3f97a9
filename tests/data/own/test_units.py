"""Units: numbers of a site in the unit of the column, and what a schema may not declare."""

from typing import Any

import numpy as np
import pytest

from securefl.data.own.agreed import read_schema
from securefl.data.own.schema import Schema
from securefl.data.own.units import Unit, converted
from securefl.errors import ScenarioError


def test_numbers_are_scaled_shifted_and_rounded() -> None:
    fahrenheit = Unit(unit="F", factor=5 / 9, offset=-160 / 9)
    got = converted(np.array([212.0, 98.6, 99.0]), fahrenheit, 1)
    assert got.tolist() == [100.0, 37.0, 37.2]
    exact = converted(np.array([99.0]), fahrenheit, None)
    assert exact[0] == pytest.approx(37.2222222)


def test_what_is_no_number_stays_what_it_is_and_huge_numbers_are_no_error() -> None:
    unit = Unit(unit="g", factor=1000.0)
    got = converted(np.array([np.nan, np.inf, 1e306, 1e300]), unit, 2)
    assert np.isnan(got[0])
    assert got[1:].tolist() == [np.inf, np.inf, 1e303]


def schema(column: dict[str, Any], **more: Any) -> Schema:
    given = {
        "label": {"column": "ill", "classes": [[0], [1]]},
        "sites": ["bern", "chur"],
        "columns": [{"name": "chol", "range": [0, 600], **column}],
    }
    return read_schema(Schema, {**given, **more})


MMOL = {"unit": "mmol/l", "factor": 38.67}


@pytest.mark.parametrize(
    ("column", "sentence"),
    [
        ({"units": {"bern": MMOL}}, "units of sites need the unit that they are converted to"),
        ({"unit": "mg/dl", "decimals": 0}, "decimals have no effect without units"),
        ({"unit": "mg/dl", "units": {"bern": {"unit": "mmol/l"}}}, r"units\.bern\.factor: field"),
        (
            {"unit": "mg/dl", "units": {"bern": {"unit": "mmol/l", "factor": 1.0}}},
            "site 'bern' has the unit 'mmol/l', and the column 'mg/dl'",
        ),
        (
            {"unit": "mg/dl", "units": {"bern": {"unit": "mg/dl", "factor": 2.0}}},
            "a factor of 1 goes with the same unit",
        ),
        ({"unit": "mg/dl", "units": {"bern": {**MMOL, "factor": 0.0}}}, r"bern\.factor"),
        ({"unit": "mg/dl", "units": {"bern": {**MMOL, "factor": -2.0}}}, r"bern\.factor"),
        ({"unit": "mg/dl", "units": {"bern": {**MMOL, "facter": 1.0}}}, "unknown key"),
        ({"unit": "mg/dl", "units": {"wil": MMOL}}, "name 'wil', which is none of sites"),
        ({"unit": "mg/dl", "units": {"bern": MMOL}, "decimals": -1}, "decimals"),
        ({"range": None, "binary": True, "unit": "mg/dl"}, "'chol' has no range of numbers"),
    ],
)
def test_a_unit_that_cannot_be_is_refused(column: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ScenarioError, match=sentence):
        schema({key: value for key, value in column.items() if value is not None or key == "range"})


def test_targets_have_units_as_well() -> None:
    target = {
        "column": "t",
        "range": [30, 45],
        "unit": "C",
        "units": {"bern": {"unit": "F", "factor": 5 / 9, "offset": -160 / 9}},
    }
    made = schema({}, label=None, targets=[target])
    assert made.measured["t"].units["bern"].unit == "F"
