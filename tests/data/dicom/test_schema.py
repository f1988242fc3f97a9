"""The schema of DICOM records: what fits together, and the task that follows."""

from typing import Any

import pytest

from securefl.data.dicom.schema import DicomSchema
from securefl.data.own.agreed import read_schema
from securefl.data.task import Task
from securefl.errors import ScenarioError
from tests.data.dicom.files import PLAIN, schema


def test_the_task_follows_from_the_schema() -> None:
    assert schema().task == Task(6, 2, image=(1, 2, 3))
    assert schema(size=[4, 2, 3]).task == Task(24, 2, image=(1, 4, 2, 3))
    assert schema(colour="rgb", window=None).task == Task(18, 2, image=(3, 2, 3))
    assert schema().columns == ("series", "label")
    assert schema(key="uid", site="place", split="part").columns == (
        *("uid", "label", "place", "part"),
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"window": None}, "grey images need window = "),
        ({"window": [3, 3]}, "^data.schema: window: low must be below high, got .3, 3.$"),
        ({"window": [1]}, "a window is .low, high. in the units of the modality"),
        ({"window": [float("nan"), 2]}, "low must be below high"),
        ({"window": "own"}, "window"),
        ({"colour": "rgb"}, "window has no effect on rgb images"),
        ({"spacing": [1.0]}, "spacing needs one number for each number of size"),
        ({"size": [2, 2, 2], "slices": "each"}, "slices has no effect on volumes"),
        ({"size": [2]}, "size"),
        ({"size": [2, 5000]}, "size"),
        ({"size": [4000, 4000, 4000]}, "more than 16777216"),
        ({"splits": ["train"]}, "splits have no effect without a split column"),
        ({"split": "split", "splits": ["test"]}, 'splits need "train"'),
        ({"key": "label"}, "a column of the labels has two parts"),
        ({"sites": ["a", "a"]}, "a site is there twice"),
        ({"sites": ["../a"]}, "cannot be the name of a site's folder"),
        ({"sites": [".a"]}, "cannot be the name of a site's folder"),
        ({"modality": "ct"}, "a modality is written in capitals"),
        ({"by": "image"}, "by"),
        ({"widow": [0, 1]}, "widow"),
    ],
    ids=str,
)
def test_keys_that_do_not_fit_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ScenarioError, match=sentence):
        read_schema(DicomSchema, {**PLAIN, **changes})
