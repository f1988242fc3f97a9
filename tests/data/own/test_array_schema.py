"""Schemas of arrays: the task they declare, their own mistakes, and files that differ."""

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from securefl.data.own.agreed import read_schema
from securefl.data.own.array_schema import ArraySchema
from securefl.data.own.arrays import Arrays
from securefl.data.own.site_arrays import arrays_of
from securefl.data.task import Task
from securefl.errors import DataError, ScenarioError
from tests.data.own.files import plain, saved

IMAGES = "images = [2, 3]\nvalues = 'bytes'\nnum_classes = 3\n"


def schema(text: str = IMAGES) -> ArraySchema:
    return read_schema(ArraySchema, tomllib.loads(text))


@pytest.mark.parametrize(
    ("text", "task"),
    [
        (IMAGES, Task(6, 3, image=(1, 2, 3))),
        (IMAGES.replace("[2, 3]", "[4, 5, 3]"), Task(60, 3, image=(3, 4, 5))),
        (
            IMAGES.replace("[2, 3]", "[4, 5, 3]") + "channels = 1",
            Task(60, 3, image=(1, 4, 5, 3)),
        ),
        (IMAGES.replace("num_classes = 3", "labels = 4"), Task(6, 4, (1, 2, 3), multilabel=True)),
        ("features = 7\nnum_classes = 2", Task(7, 2)),
        ("features = 7\nranges = [[0, 40]]", Task(7, targets=((0, 40),))),
        (
            "features = 7\nranges = [[0, 40], [1, 2]]\nloss = 'huber'",
            Task(7, targets=((0, 40), (1, 2)), huber=True),
        ),
    ],
)
def test_the_task_follows_from_the_schema(text: str, task: Task) -> None:
    assert schema(text).task == task


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("num_classes = 2", "give images with their values, or features, and not both"),
        (IMAGES + "features = 6", "give images with their values, or features, and not both"),
        (IMAGES.replace("values = 'bytes'\n", ""), "goes with images"),
        ("features = 3\nvalues = 'bytes'\nnum_classes = 2", "goes with images"),
        ("features = 3\nchannels = 1\nnum_classes = 2", "channels has no effect without images"),
        ("features = 3", "give one of num_classes, labels and ranges"),
        (IMAGES + "labels = 4", "give one of num_classes, labels and ranges"),
        (IMAGES + "loss = 'mse'", "loss has no effect without ranges"),
        (IMAGES + "splits = ['test']", 'splits need "train"'),
        (IMAGES + "splits = ['train', 'train']", "'train' is there twice"),
        (IMAGES + "sites = ['a', 'a']", "'a' is there twice"),
        (IMAGES.replace("[2, 3]", "[3]"), "images: list should have at least 2"),
        (IMAGES.replace("[2, 3]", "[3, 0]"), "greater than or equal to 1"),
        (IMAGES.replace("[2, 3]", "[3, 4, 5]"), "move it to the end"),
        (IMAGES.replace("[2, 3]", "[3, 4, 5]") + "channels = 5\nx = 1", "unknown key 'x'"),
        (IMAGES + "channels = 2", "so 1 channels, not 2"),
        ("features = 3\nranges = [[2, 1]]", r"a range goes from low to high, as in \[1, 2\]"),
        ("features = 3.5\nnum_classes = 2", "features: input should be a valid integer"),
        ("features = 3\nnum_classes = 10001", "less than or equal to 10000"),
    ],
)
def test_a_mistake_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ScenarioError, match=sentence) as refused:
        schema(text)
    assert str(refused.value).startswith("data.schema: ")
    assert "\n" not in str(refused.value)


def test_a_file_of_this_form_is_read_as_without_a_schema(tmp_path: Path) -> None:
    path = saved(tmp_path, plain())
    ours, usual = arrays_of(path, schema()).read(claim=False), Arrays(path).read(claim=False)
    assert (ours.task, ours.sites) == (usual.task, usual.sites)
    assert ours.train.examples.features.equal(usual.train.examples.features)
    assert ours.train.examples.labels.equal(usual.train.examples.labels)


TEST: dict[str, Any] = {
    "test_images": np.zeros((2, 2, 3), dtype=np.uint8),
    "test_labels": np.arange(2),
}
DECIMALS = np.zeros((6, 2, 3), dtype=np.float32)


@pytest.mark.parametrize(
    ("text", "changes", "sentence"),
    [
        (IMAGES, TEST, "has test_images, and the schema declares no test records"),
        (IMAGES + "splits = ['train', 'test']", {}, "has no test_images, and the schema declares"),
        (IMAGES + "groups = true", {}, "has no train_groups, and the schema declares it"),
        (
            IMAGES,
            {"train_groups": np.arange(6)},
            "has train_groups, and the schema declares no groups",
        ),
        (
            IMAGES.replace("[2, 3]", "[3, 2]"),
            {},
            r"train_images has records \(2, 3\), and the schema declares \(3, 2\)",
        ),
        (
            IMAGES,
            {"train_images": DECIMALS},
            "train_images has type float32, and the schema declares bytes",
        ),
        (
            IMAGES.replace("bytes", "decimals"),
            {},
            "train_images has type uint8, and the schema declares decimals",
        ),
        (
            IMAGES.replace("num_classes = 3", "labels = 3"),
            {},
            "train_labels has 1 labels a record, and the schema declares 3",
        ),
        (
            IMAGES,
            {"train_labels": np.zeros((6, 3), dtype=np.int64)},
            "train_labels has 3 labels a record, and the schema declares 1",
        ),
        ("features = 6\nnum_classes = 3", {}, "has no train_features, and the schema declares it"),
        (
            "features = 6\nnum_classes = 3",
            {"train_images": None, "train_features": np.zeros((6, 5))},
            r"train_features has records \(5,\), and the schema declares \(6,\)",
        ),
    ],
)
def test_a_file_of_another_form_is_refused_before_a_record_is_read(
    text: str, changes: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    path = saved(tmp_path, plain(changes))
    with pytest.raises(DataError, match=sentence) as refused:
        arrays_of(path, schema(text)).check_form()
    assert str(path) in str(refused.value)


def test_a_bad_class_is_refused_with_its_place(tmp_path: Path) -> None:
    path = saved(tmp_path, plain())
    source = arrays_of(path, schema(IMAGES.replace("num_classes = 3", "num_classes = 2")))
    source.check_form()
    with pytest.raises(DataError, match=r"xray\.npz: train_labels\[2\] is 2, not a whole number"):
        source.read(claim=False)


def test_sites_of_a_schema_need_a_column_in_a_single_file(tmp_path: Path) -> None:
    path = saved(tmp_path, plain())
    with pytest.raises(ScenarioError, match=r"sites of data\.schema has no effect"):
        _ = arrays_of(path, schema(IMAGES + "sites = ['a', 'b']")).sites
    bears = saved(tmp_path, plain(train_sites=np.array(list("abbaab"))))
    assert arrays_of(bears, schema(IMAGES + "sites = ['b', 'a']")).sites == ("b", "a")
