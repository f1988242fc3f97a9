"""Somebody's own records with real targets: declared ranges, bad values, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from securefl.data.own.arrays import Arrays
from securefl.data.own.overview import overview
from securefl.data.own.python_door import Returned
from securefl.data.task import Examples, FederatedData, Site, Task
from securefl.errors import DataError, ScenarioError
from tests.data.own.files import ArrayDict, plain, saved
from tests.data.targets import entry
from tests.values import present

DAYS = [[0.0, 40.0]]
BOTH = [[0.0, 40.0], [34.0, 43.0]]


def stays(**changes: Any) -> ArrayDict:
    """Returns four records with a target from 0 to 40 each."""
    features = np.arange(12, dtype=np.float32).reshape(4, 3)
    arrays = {"train_features": features, "train_labels": np.array([0.0, 10.0, 40.0, 50.0])}
    return arrays | changes


def opened(tmp_path: Path, arrays: ArrayDict, **options: Any) -> Arrays:
    return Arrays(saved(tmp_path, arrays), **options)


@pytest.mark.parametrize("claim", [False, True])
def test_real_targets_are_scaled_by_their_declared_range(tmp_path: Path, claim: bool) -> None:
    source = opened(tmp_path, stays(), ranges=DAYS)
    assert source.task == Task(features=3, targets=((0.0, 40.0),))
    labels = source.read(claim=claim).train.examples.labels
    assert labels.dtype is torch.float32
    # 50 is beyond the range and counts as 40, with and without a claim.
    assert labels.tolist() == [[-1.0], [-0.5], [1.0], [1.0]]


def test_several_targets_of_images_and_hubers_loss(tmp_path: Path) -> None:
    labels = np.array([[10.0, 43.0]] * 6)
    source = opened(tmp_path, plain(train_labels=labels), ranges=BOTH, loss="huber")
    assert source.task == Task(
        features=6, image=(1, 2, 3), targets=((0.0, 40.0), (34.0, 43.0)), huber=True
    )
    assert source.read(claim=False).train.examples.labels.tolist() == [[-0.5, 1.0]] * 6
    whole = opened(tmp_path, stays(train_labels=np.array([[0], [10], [20], [40]], np.uint8)))
    assert not whole.task.regression
    whole = opened(
        tmp_path,
        stays(train_labels=np.array([[0], [10], [20], [40]], np.uint8)),
        ranges=DAYS,
        loss="mse",
    )
    assert whole.read(claim=False).train.examples.labels.tolist() == [[-1], [-0.5], [0], [1]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_target_that_is_not_finite_is_refused_or_its_record_dropped(
    tmp_path: Path, bad: float
) -> None:
    labels = np.array([[0.0, 34.0], [10.0, bad], [20.0, 43.0], [40.0, 34.0]])
    source = opened(tmp_path, stays(train_labels=labels), ranges=BOTH)
    with pytest.raises(DataError, match=r"train_labels\[1\] is -?(nan|inf), not a finite number"):
        source.read(claim=False)
    examples = source.read(claim=True).train.examples
    assert examples.labels.tolist() == [[-1.0, -1.0], [0.0, 1.0], [1.0, -1.0]]
    assert examples.features[:, 0].tolist() == [0.0, 6.0, 9.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "huber"}, r"data\.loss has no effect without data\.ranges; remove it"),
        ({"ranges": DAYS, "num_classes": 3}, r"num_classes has no effect with data\.ranges"),
        ({"ranges": DAYS, "loss": "mae"}, r"data\.loss is 'mse' or 'huber', got 'mae'"),
        ({"ranges": BOTH}, r"declares 2 targets, and the records of .*xray\.npz have 1 labels"),
        ({"ranges": [[0.0, 1.0, 2.0]]}, r"takes \[low, high\] for each target, got \[0\.0, 1\.0"),
        ({"ranges": [[40.0, 0.0]]}, r"data\.ranges: a target needs a finite range with low < high"),
    ],
)
def test_ranges_that_do_not_fit_are_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ScenarioError, match=message):
        _ = opened(tmp_path, stays(), **options).task


def test_real_targets_without_ranges_are_refused_with_the_way_out(tmp_path: Path) -> None:
    source = opened(tmp_path, stays(train_labels=np.array([0.0, 1.5, 2.0, 1.0])))
    with pytest.raises(DataError, match=r"labels\[1\] is 1\.5, .*; declare data\.ranges of real t"):
        source.read(claim=False)
    with pytest.raises(ScenarioError, match=r"the number of classes, or data\.ranges of real targ"):
        source.read(claim=True)


def test_an_overview_counts_records_with_real_targets(tmp_path: Path) -> None:
    records = opened(tmp_path, stays(), ranges=DAYS).read(claim=False)
    (count,) = overview(records).train
    assert (count.records, count.classes, count.present) == (4, (), 0)


# Values that a user's function returned


def test_arrays_of_a_function_have_declared_ranges() -> None:
    sites = {
        "bern": (np.zeros((2, 3)), np.array([10.0, 99.0])),
        "chur": (np.ones((1, 3)), np.array([20.0])),
    }
    source = Returned(sites, name="load", ranges=DAYS, sites=["bern", "chur", "aarau"])
    assert source.task == Task(features=3, targets=((0.0, 40.0),))
    for claim in (False, True):
        train = source.read(claim=claim).train
        assert train.examples.labels.tolist() == [[-0.5], [1.0], [0.0]]
        assert train.examples.labels.dtype is torch.float32
    undeclared = Returned(sites, name="load", sites=["bern", "chur"])
    with pytest.raises(ScenarioError, match=r"data\.ranges of real targets"):
        undeclared.read(claim=True)


def federation() -> FederatedData:
    return entry().load(partition="natural", split_seed=0)


@pytest.mark.parametrize("claim", [False, True])
def test_our_own_value_keeps_its_labels_to_the_last_bit(claim: bool) -> None:
    data = federation()
    names = [site.name for site in data.sites]
    source = Returned(data, name="load", sites=names)
    assert source.task == data.task
    read = source.read(claim=claim).train.examples
    assert torch.equal(read.labels, torch.cat([site.train.labels for site in data.sites]))


def test_our_own_value_says_the_same_as_the_scenario() -> None:
    assert Returned(federation(), name="load", ranges=BOTH).task == federation().task
    with pytest.raises(DataError, match=r"load returned Task.* and its records fit Task"):
        _ = Returned(federation(), name="load", ranges=[[0.0, 1.0], [0.0, 1.0]]).task
    with pytest.raises(DataError, match=r"and its records fit Task.*huber=True"):
        _ = Returned(federation(), name="load", loss="huber").task


def test_labels_of_our_own_value_stay_within_their_range() -> None:
    task = Task(features=1, targets=((0.0, 10.0),), huber=True)
    records = Examples(torch.zeros(3, 1), torch.tensor([[-1.5], [0.25], [3.0]]))
    source = Returned(
        FederatedData(task, (Site("bern", records, None),), records), name="load", sites=["bern"]
    )
    assert source.task == task
    assert source.read(claim=False).train.examples.labels.tolist() == [[-1.0], [0.25], [1.0]]


class Nothing(Dataset[Any]):
    """No record at all."""

    def __len__(self) -> int:
        return 0


def test_a_split_without_a_record_has_labels_of_its_type() -> None:
    sites = {"bern": ((np.zeros((2, 3)), np.array([10.0, 20.0])), Nothing())}
    read = Returned(sites, name="load", ranges=DAYS).read(claim=False)
    labels = present(read.test).examples.labels
    assert (labels.shape, labels.dtype) == ((0, 1), torch.float32)
