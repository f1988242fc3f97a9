"""The heat map: colours of known values, and a field for every number of a wide study."""

import xml.etree.ElementTree as ElementTree

import pytest

from securefl.errors import ScenarioError
from securefl.studies.scores import scores
from securefl.studies.study import parse_study
from securefl.ui.heatmap import colour, heat_map

STUDY = """
title = "A & B"
seeds = 2
[base]
data = { name = "digits" }
training = { kind = "sgd" }
[axes.split]
"IID" = { "data.partition" = "iid" }
"skew" = { "data.partition" = "dirichlet" }
[axes.rule]
"a < b" = { "defense.rule" = "mean" }
"median" = { "defense.rule" = "median" }
[axes.rounds]
"one" = { "rounds" = 1 }
"two" = { "rounds" = 2 }
[table]
sections = "split"
columns = "rounds"
heat_map = true
"""


def test_colours_known_answers() -> None:
    assert [colour(value) for value in (-1.0, 0.0, 1 / 3, 0.5, 1.0, 7.0)] == [
        "#440154",
        "#440154",
        "#31688e",
        "#339084",
        "#fde725",
        "#fde725",
    ]


def test_every_number_has_its_field_and_a_gap_has_none() -> None:
    values = {
        "IID, a < b, one": (0.2, 0.4),
        "IID, median, two": (0.9, 0.7),
        "skew, median, one": (1, 1),
    }
    same = {"part": "", "state": "done", "noise": "", "site": "", "metric": "accuracy"}
    records = [
        {"label": row, "seed": str(seed), "value": str(value), **same}
        for row, pair in values.items()
        for seed, value in enumerate(pair)
    ]
    drawn = heat_map(parse_study(STUDY, name="x"), scores(records))
    figure = ElementTree.fromstring(drawn)  # noqa: S314 (our own)
    svg = "{http://www.w3.org/2000/svg}"
    assert figure.find(f"{svg}title").text == "A & B: accuracy"  # type: ignore[union-attr]
    panels = figure.findall(f"{svg}g")
    words = [[text.text for text in panel.findall(f"{svg}text")] for panel in panels]
    assert words == [
        ["IID", "one", "two", "a < b", "0.30", "median", "0.80"],
        ["skew", "one", "two", "a < b", "median", "1.00"],
    ]
    fields = [
        [
            (field.get("x"), field.get("y"), field.get("fill"))
            for field in panel.findall(f"{svg}rect")
        ]
        for panel in panels
    ]
    assert fields == [
        [("150", "58", colour(0.3)), ("222", "82", colour(0.8))],
        [("150", "82", colour(1.0))],
    ]
    assert len({panel.get("transform") for panel in panels}) == 2


def test_a_heat_map_without_columns_is_refused() -> None:
    with pytest.raises(ScenarioError, match="heat_map needs columns"):
        parse_study(STUDY.replace('columns = "rounds"', ""), name="x")


@pytest.mark.parametrize("metric", ["mae", "rmse"])
def test_a_heat_map_of_errors_in_units_is_refused(metric: str) -> None:
    text = f'metrics = ["{metric}"]\n{STUDY}'
    with pytest.raises(ScenarioError, match=f"colours shares, and {metric} is in the units of"):
        parse_study(text, name="x")
    assert parse_study(f'metrics = ["r2", "{metric}"]\n{STUDY}', name="x").metrics[0] == "r2"
