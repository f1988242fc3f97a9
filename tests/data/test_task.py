"""Tasks and federations: losses and probabilities by hand; sites pooled, alone, joined."""

import math
from typing import Any

import pytest
import torch

from securefl.data.task import Examples, Task, concatenate
from tests.data.sets import bag, digits, natural


def test_pooled_data_are_all_training_records_at_one_site_under_the_same_test() -> None:
    data = natural()
    pooled = data.pooled()
    (site,) = pooled.sites
    assert (site.name, site.test) == ("pooled", None)
    assert len(site.train) == 490
    assert bag(site.train) == bag(*(other.train for other in data.sites))
    assert torch.equal(pooled.test.features, data.test.features)
    assert pooled.task == data.task


def test_a_site_alone_is_tested_on_its_own_records() -> None:
    data = natural()
    alone = data.alone(3)
    assert alone.sites == (data.sites[3],)
    assert len(alone.sites[0].train) == 86
    assert data.sites[3].test is not None
    assert alone.test is data.sites[3].test
    assert len(alone.test) == 44


def test_a_site_without_test_records_is_tested_on_all_of_them() -> None:
    data = digits(4, 0)
    alone = data.alone(2)
    assert alone.sites == (data.sites[2],)
    assert alone.test is data.test


def test_examples_count_records_and_join_in_order() -> None:
    first = Examples(torch.tensor([[1.0], [2.0]]), torch.tensor([0, 1]))
    second = Examples(torch.tensor([[3.0]]), torch.tensor([1]))
    joined = concatenate([first, second])
    assert (len(first), len(joined)) == (2, 3)
    assert joined.features.tolist() == [[1], [2], [3]]
    assert joined.labels.tolist() == [0, 1, 1]


def test_two_classes_take_a_single_logit_and_more_take_one_each() -> None:
    assert Task(features=4, classes=2).outputs == 1
    assert Task(features=4, classes=3).outputs == 3


def test_the_loss_is_the_mean_cross_entropy() -> None:
    # sigmoid(log 3) = 3/4, sigmoid(0) = 1/2: -(log 3/4 + log 1/2) / 2, as with two logits (0, z).
    logits = torch.tensor([[math.log(3)], [0.0]])
    labels = torch.tensor([1, 0])
    expected = (math.log(4 / 3) + math.log(2)) / 2
    assert float(Task(1, 2).loss(logits, labels)) == pytest.approx(expected, rel=1e-6)
    # softmax(log 2, log 1, log 1) = (1/2, 1/4, 1/4).
    logits = torch.tensor([[2.0, 1.0, 1.0], [2.0, 1.0, 1.0]]).log()
    loss = float(Task(1, 3).loss(logits, torch.tensor([0, 2])))
    assert loss == pytest.approx(math.log(8) / 2, rel=1e-6)


def test_probabilities_are_float64_and_one_a_class() -> None:
    binary = Task(1, 2).probabilities(torch.tensor([[math.log(3)], [0.0]]))
    assert binary.dtype is torch.float64
    assert binary.tolist() == [pytest.approx([0.25, 0.75], abs=1e-6), [0.5, 0.5]]
    several = Task(1, 3).probabilities(torch.tensor([[2.0, 1.0, 1.0]]).log())
    assert several.dtype is torch.float64
    assert several.tolist() == [pytest.approx([0.5, 0.25, 0.25], abs=1e-6)]


def test_labels_of_a_regression_are_scaled_to_one_by_the_declared_ranges() -> None:
    task = Task(features=4, targets=((0.0, 10.0), (-5.0, 15.0)))
    assert task.regression
    assert task.outputs == 2
    values = torch.tensor([[0.0, 5.0], [10.0, 0.0], [2.5, 15.0]])
    labels = task.labels(values)
    assert labels.dtype is torch.float32
    assert labels.tolist() == [[-1.0, 0.0], [1.0, -0.5], [-0.5, 1.0]]
    assert torch.equal(task.values(labels), values.double())
    assert task.values(torch.tensor([[2.0, -2.0]])).tolist() == [[15.0, -15.0]]


def test_values_outside_a_range_count_as_its_end() -> None:
    task = Task(features=1, targets=((0.0, 10.0),))
    values = torch.tensor([[-3.0], [11.0], [1e308], [-math.inf]], dtype=torch.float64)
    assert task.labels(values).tolist() == [[-1.0], [1.0], [1.0], [-1.0]]
    assert bool(task.labels(torch.tensor([[math.nan]])).isnan().all())
    # Near the largest float64 a sum of two widths would overflow.
    wide = Task(features=1, targets=((0.0, 1.5e308),))
    assert wide.labels(torch.tensor([[0.75e308]], dtype=torch.float64)).tolist() == [[0.0]]


def test_the_loss_of_a_regression_is_the_mean_over_records_and_targets() -> None:
    squared = Task(features=1, targets=((0.0, 1.0), (0.0, 1.0)))
    outputs = torch.tensor([[0.5, -1.0], [0.0, 1.0]])
    labels = torch.tensor([[0.0, -1.0], [1.0, 0.5]])
    # Errors 1/2, 0, -1, 1/2: squares 1/4 + 0 + 1 + 1/4.
    assert float(squared.loss(outputs, labels)) == pytest.approx(1.5 / 4)
    robust = Task(features=1, targets=((0.0, 1.0), (0.0, 1.0)), huber=True)
    # Beyond 1/5 an error e counts 1/5 (e - 1/10): 0.08 + 0 + 0.18 + 0.08.
    assert float(robust.loss(outputs, labels)) == pytest.approx(0.34 / 4)
    oracle = torch.nn.HuberLoss(delta=0.2)(outputs, labels)
    assert torch.equal(robust.loss(outputs, labels), oracle)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "classes or real targets, got 0 classes and 0 targets"),
        ({"classes": 2, "targets": ((0.0, 1.0),)}, "got 2 classes and 1 targets"),
        ({"targets": ((0.0, 1.0),), "multilabel": True}, "no labels to choose several from"),
        ({"classes": 2, "huber": True}, "Huber's loss needs real targets"),
        ({"targets": ((0.0, 1.0), (3.0, 3.0))}, r"low < high, got \[3.0, 3.0\]"),
        ({"targets": ((1.0, 0.0),)}, "finite range with low < high"),
        ({"targets": ((0.0, math.inf),)}, "finite range with low < high"),
        ({"targets": ((math.nan, 1.0),)}, "finite range with low < high"),
        ({"targets": ((-1.5e308, 1.5e308),)}, "finite range with low < high"),
    ],
)
def test_a_task_that_means_nothing_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Task(features=1, **arguments)
