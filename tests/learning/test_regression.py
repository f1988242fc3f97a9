"""Errors of real targets: by hand, and as scikit-learn has them."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error
from torch import nn

from securefl.data.task import Examples, Task
from securefl.learning.evaluate import evaluate, predict
from securefl.learning.protocol import Metrics
from securefl.learning.regression import measure_targets


def test_errors_of_two_targets_known_answer() -> None:
    # Target 0: errors 1, -1, 3, 1: mean 6/4, squares 12/4 = 3; the true values 0, 2, 4, 6 vary
    # by (9 + 1 + 1 + 9) / 4 = 5. Target 1: errors 0, 0, 0, 2: mean 1/2, squares 1, variance 75.
    true = torch.tensor([[0.0, 0.0], [2.0, 0.0], [4.0, 0.0], [6.0, 20.0]])
    predicted = torch.tensor([[1.0, 0.0], [1.0, 0.0], [7.0, 0.0], [7.0, 22.0]])
    metrics = measure_targets(predicted, true)
    assert metrics.records == 4
    assert metrics.mae == pytest.approx((6 / 4 + 1 / 2) / 2)
    # The root of the pooled squares would be the root of 2 instead.
    assert metrics.rmse == pytest.approx((math.sqrt(3) + 1) / 2)
    assert metrics.r2 == pytest.approx((2 / 5 + 74 / 75) / 2)
    classes = (metrics.accuracy, metrics.balanced_accuracy, metrics.auc, metrics.majority)
    assert classes == (None, None, None, None)


@pytest.mark.parametrize("targets", [1, 3])
def test_errors_are_those_of_scikit_learn(targets: int) -> None:
    draw = np.random.default_rng(targets)
    for records in (2, 31, 500):
        true = draw.normal(100, 20, (records, targets))
        predicted = true + draw.normal(3, 10, (records, targets))
        metrics = measure_targets(torch.from_numpy(predicted), torch.from_numpy(true))
        mae = mean_absolute_error(true, predicted)
        rmse = root_mean_squared_error(true, predicted)
        assert metrics.mae == pytest.approx(mae, rel=1e-12)
        assert metrics.rmse == pytest.approx(rmse, rel=1e-12)
        assert metrics.r2 == pytest.approx(r2_score(true, predicted), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_model_that_overflows_has_no_errors(bad: float) -> None:
    metrics = measure_targets(torch.tensor([[1.0], [bad]]), torch.tensor([[1.0], [2.0]]))
    assert metrics == Metrics(2, None, None, None, None)


def test_without_records_there_are_no_errors() -> None:
    assert measure_targets(torch.zeros(0, 2), torch.zeros(0, 2)) == Metrics(
        0, None, None, None, None
    )


def test_a_target_that_never_varies_has_no_r2() -> None:
    # 0.1 three times has a variance of rounding errors above zero.
    true = torch.tensor([[0.1, 1.0], [0.1, 2.0], [0.1, 3.0]], dtype=torch.float64)
    metrics = measure_targets(true + 1, true)
    assert metrics.r2 is None
    assert metrics.mae == pytest.approx(1.0)
    assert metrics.rmse == pytest.approx(1.0)
    single = measure_targets(true[:1], true[:1])
    assert (single.r2, single.mae, single.rmse) == (None, 0.0, 0.0)


def test_a_regression_is_evaluated_in_the_units_of_its_target() -> None:
    task = Task(features=1, targets=((0.0, 200.0),))
    model = nn.Linear(1, 1)
    with torch.no_grad():
        model.weight.fill_(0.5)
        model.bias.fill_(0.0)
    features = torch.tensor([[0.0], [1.0]])
    values = predict(model, task, features)  # outputs 0 and 1/2
    assert values.dtype is torch.float64
    assert not values.requires_grad
    assert values.tolist() == [[100.0], [150.0]]
    labels = task.labels(torch.tensor([[90.0], [180.0]]))
    metrics = evaluate(model, task, Examples(features, labels))
    assert metrics.mae == pytest.approx(20.0, rel=1e-6)
    assert metrics.rmse == pytest.approx(math.sqrt((100 + 900) / 2), rel=1e-6)
    assert metrics.r2 == pytest.approx(1 - 500 / 2025, rel=1e-6)
