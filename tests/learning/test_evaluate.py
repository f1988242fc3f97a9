"""Metrics: known answers by hand, and None where nothing can be measured."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from torch import Tensor, nn

from securefl.data.task import Examples, Task
from securefl.learning.evaluate import evaluate, measure, predict
from securefl.learning.protocol import Metrics


def binary(*positive: float) -> Tensor:
    chances = torch.tensor(positive, dtype=torch.float64).unsqueeze(1)
    return torch.cat([1 - chances, chances], dim=1)


def test_metrics_of_two_classes_known_answer() -> None:
    # Guesses 1 1 1 0 | 0 1 0: 5 of 7 right, 3/4 of the ones, 2/3 of the zeros. Pairs of a one and a
    # zero in the right order, where a tie counts half: 3 + 3 + 3 + 1.5 of 12.
    chances = binary(0.9, 0.8, 0.7, 0.4, 0.4, 0.6, 0.2)
    metrics = measure(chances, torch.tensor([1, 1, 1, 1, 0, 0, 0]))
    assert metrics.records == 7
    assert metrics.accuracy == pytest.approx(5 / 7)
    assert metrics.balanced_accuracy == pytest.approx(17 / 24)
    assert metrics.auc == pytest.approx(7 / 8)
    assert metrics.majority == pytest.approx(4 / 7)


def test_metrics_of_three_classes_known_answer() -> None:
    # Guesses 0 1 1 0 2. One against the rest: class 0 has 4 of 6 pairs, class 1 has 4 of 4, class 2
    # has 5.5 of 6; weighted by class size their mean would be 5/6 instead of 31/36.
    chances = torch.tensor(
        [[0.6, 0.3, 0.1], [0.3, 0.5, 0.2], [0.1, 0.8, 0.1], [0.7, 0.1, 0.2], [0.2, 0.2, 0.6]],
        dtype=torch.float64,
    )
    metrics = measure(chances, torch.tensor([0, 0, 1, 2, 2]))
    assert metrics.accuracy == pytest.approx(3 / 5)
    assert metrics.balanced_accuracy == pytest.approx(2 / 3)
    assert metrics.auc == pytest.approx(31 / 36)
    assert metrics.majority == pytest.approx(2 / 5)


@pytest.mark.parametrize("classes", [2, 3, 9])
def test_balanced_accuracy_is_scikit_learns_to_the_last_bit(classes: int) -> None:
    draw = np.random.default_rng(classes)
    for records in (classes, 31, 500):
        # Every class occurs; some are never answered, or never right.
        labels = np.concatenate([np.arange(classes), draw.integers(0, classes, records)])
        chances = draw.random((len(labels), classes)) ** 3
        metrics = measure(torch.from_numpy(chances), torch.from_numpy(labels))
        expected = balanced_accuracy_score(labels, chances.argmax(axis=1))
        assert metrics.balanced_accuracy == expected


def test_balanced_accuracy_of_several_labels_is_the_mean_of_scikit_learns() -> None:
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 2, (40, 5))
    chances = draw.random((40, 5))
    metrics = measure(torch.from_numpy(chances), torch.from_numpy(labels))
    answers = chances > 0.5
    each = [balanced_accuracy_score(labels[:, i], answers[:, i]) for i in range(5)]
    assert metrics.balanced_accuracy == np.mean(each)


@pytest.mark.parametrize("classes", [2, 3, 9])
@pytest.mark.parametrize("digits", [1, 2, 16])  # the fewer, the more scores are equal
def test_auc_is_scikit_learns_to_the_last_bit(classes: int, digits: int) -> None:
    draw = np.random.default_rng(classes)
    for records in (0, 31, 500):
        labels = np.concatenate([np.arange(classes), draw.integers(0, classes, records)])
        chances = draw.random((len(labels), classes)).round(digits)
        metrics = measure(torch.from_numpy(chances), torch.from_numpy(labels))
        columns = [1] if classes == 2 else range(classes)
        each = [roc_auc_score(labels == column, chances[:, column]) for column in columns]
        assert metrics.auc == np.mean(each)


def test_auc_of_several_labels_is_the_mean_of_scikit_learns() -> None:
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 2, (40, 5))
    chances = draw.random((40, 5))
    metrics = measure(torch.from_numpy(chances), torch.from_numpy(labels))
    assert metrics.auc == np.mean([roc_auc_score(labels[:, i], chances[:, i]) for i in range(5)])


def test_where_a_class_is_missing_there_is_no_auc_and_no_balanced_accuracy() -> None:
    metrics = measure(binary(0.9, 0.2, 0.8, 0.7), torch.tensor([1, 1, 1, 1]))
    assert metrics == Metrics(4, 0.75, None, None, 1.0)
    chances = torch.tensor([[0.6, 0.3, 0.1], [0.3, 0.5, 0.2]], dtype=torch.float64)
    assert measure(chances, torch.tensor([0, 0])) == Metrics(2, 0.5, None, None, 1.0)


def test_without_records_nothing_is_measured() -> None:
    chances = torch.zeros(0, 2, dtype=torch.float64)
    metrics = measure(chances, torch.zeros(0, dtype=torch.long))
    assert metrics == Metrics(0, None, None, None, None)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_model_that_overflows_is_not_measured(bad: float) -> None:
    # A run met this: a row of 1e38 under the mean, inf - inf in the logits, an error from the AUC.
    chances = binary(0.9, 0.2, 0.8, bad)
    assert measure(chances, torch.tensor([1, 0, 1, 1])) == Metrics(4, None, None, None, 0.75)


def test_a_model_is_evaluated_on_its_own_predictions() -> None:
    model = nn.Linear(1, 1)
    with torch.no_grad():
        model.weight.fill_(2.0)
        model.bias.fill_(-1.0)
    examples = Examples(torch.tensor([[0.0], [1.0], [1.0], [0.0]]), torch.tensor([0, 1, 0, 0]))
    chances = predict(model, Task(1, 2), examples.features)
    assert chances.dtype is torch.float64
    assert not chances.requires_grad
    assert chances[:, 1].tolist() == pytest.approx(
        [0.268941, 0.731059, 0.731059, 0.268941], abs=1e-6
    )
    metrics = evaluate(model, Task(1, 2), examples)
    assert (metrics.records, metrics.accuracy, metrics.majority) == (4, 0.75, 0.75)
    assert metrics.balanced_accuracy == pytest.approx(5 / 6)
    assert metrics.auc == pytest.approx(5 / 6)


class Counting(nn.Module):
    """A linear model that notes how many records it gets at once."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.layer = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(len(x))
        outputs: Tensor = self.layer(x)
        return outputs


def test_no_more_than_256_records_are_in_a_model_at_once_and_none_is_left_out() -> None:
    model, task = Counting(), Task(features=3, classes=2)
    features = torch.arange(1800.0).view(600, 3) / 1800
    answers = predict(model, task, features)
    assert model.sizes == [256, 256, 88]
    alone = torch.cat([predict(model, task, record) for record in torch.split(features, 1)])
    torch.testing.assert_close(answers, alone, rtol=0, atol=1e-7)


def test_records_with_coarse_labels_judge_nothing_and_are_counted() -> None:
    probabilities = torch.tensor(
        [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.1, 0.8, 0.1]], dtype=torch.float64
    )
    got = measure(probabilities, torch.tensor([0, 0, 4, 3]))
    assert got == replace(measure(probabilities[:2], torch.tensor([0, 0])), coarse=2)
    assert (got.records, got.accuracy, got.majority) == (2, 0.5, 1.0)
    assert measure(probabilities, torch.full((4,), 3)) == Metrics(
        0, None, None, None, None, coarse=4
    )


def test_labels_that_nobody_looked_for_judge_nothing() -> None:
    scores = torch.tensor(
        [[0.9, 0.2], [0.6, 0.3], [0.7, 0.9], [0.1, 0.4], [0.2, 0.6]], dtype=torch.float64
    )
    labels = torch.tensor([[1, -1], [0, -1], [1, 1], [0, 0], [-1, 0]])
    got = measure(scores, labels)
    # By hand: of the first label 3 of 4 are right, of the second 2 of 3.
    assert got.records == 5
    assert got.accuracy == pytest.approx((3 / 4 + 2 / 3) / 2)
    assert got.balanced_accuracy == pytest.approx(((1 + 1 / 2) / 2 + (1 + 1 / 2) / 2) / 2)
    assert got.auc == pytest.approx(1.0)
    assert got.majority == pytest.approx((2 / 4 + 2 / 3) / 2)
    # What is written in the place of an unobserved label changes nothing: each label by itself.
    first = measure(scores[:4, :1].repeat(1, 2), labels[:4, :1].repeat(1, 2))
    assert first.balanced_accuracy == pytest.approx(3 / 4)


def test_a_constant_answer_is_as_accurate_as_the_majority_where_sites_looked_unequally() -> None:
    # Of ten records ten know the first label, and two the second.
    labels = torch.tensor([[0, -1]] * 8 + [[0, 1], [0, 0]])
    got = measure(torch.full((10, 2), 0.1, dtype=torch.float64), labels)
    assert got.accuracy == got.majority == 0.75


def test_records_of_which_nobody_looked_for_anything_are_not_counted() -> None:
    labels = torch.tensor([[0, 1], [1, 0], [-1, -1]])
    scores = torch.tensor([[0.1, 0.9], [0.9, 0.2], [0.3, 0.3]], dtype=torch.float64)
    assert measure(scores, labels) == measure(scores[:2], labels[:2])
    assert measure(scores, labels).records == 2


def test_a_label_that_nobody_looked_for_at_all_leaves_the_others_their_accuracy() -> None:
    scores = torch.tensor([[0.9, 0.2], [0.1, 0.3]], dtype=torch.float64)
    got = measure(scores, torch.tensor([[1, -1], [0, -1]]))
    assert (got.accuracy, got.majority, got.auc) == (1.0, 0.5, None)
    nothing = measure(scores, torch.full((2, 2), -1))
    assert nothing == Metrics(0, None, None, None, None)
