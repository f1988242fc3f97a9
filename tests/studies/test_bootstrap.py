"""Areas on resampled test records, beside scikit-learn's and beside counts by hand."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks.experiments.bootstrap import areas, interval, resampled, share_lost


@pytest.mark.parametrize("classes", [2, 5])
def test_an_area_is_that_of_the_records_drawn(classes: int) -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, classes, 80)
    # Rounded, so that scores are tied within and across classes.
    scores = np.round(rng.random((80, classes)) + 0.3 * np.eye(classes)[labels], 1)
    counts = resampled(80, 6, seed=3)
    for count, area in zip(counts, areas(scores, labels, counts), strict=True):
        drawn = np.repeat(np.arange(80), count.astype(int))
        expected = np.mean(
            [
                roc_auc_score(labels[drawn] == c, scores[drawn, c])
                for c in ([1] if classes == 2 else range(classes))
            ]
        )
        assert area == pytest.approx(expected, abs=1e-12)


def test_a_draw_has_as_many_records_and_each_draw_is_another() -> None:
    counts = resampled(156, 400, seed=0)
    assert (counts.sum(axis=1) == 156).all()
    assert len({tuple(row) for row in counts}) == 400
    # With replacement a record is left out with probability (1 - 1/n)^n.
    assert (counts == 0).mean() == pytest.approx((1 - 1 / 156) ** 156, abs=0.01)


def test_a_draw_without_a_class_has_no_area() -> None:
    scores = np.array([[0.5, 0.5], [0.2, 0.8], [0.9, 0.1]])
    labels = np.array([0, 1, 0])
    found = areas(scores, labels, np.array([[1.0, 1.0, 1.0], [2.0, 0.0, 1.0]]))
    assert found[0] == 1.0
    assert np.isnan(found[1])


def test_the_share_lost_is_a_ratio_of_mean_losses() -> None:
    central = [np.full(101, 0.9), np.full(101, 0.8)]
    other = [np.full(101, 0.88), np.full(101, 0.78)]
    local = [np.full(101, 0.8), np.full(101, 0.7)]
    found = share_lost(central, other, local, seed=0)
    # Every seed loses the same, so that drawing seeds anew changes nothing.
    assert found == pytest.approx((0.2, 0.2, 0.2))


def test_seeds_that_differ_widen_the_share() -> None:
    central = [np.full(201, 0.9), np.full(201, 0.9)]
    other = [np.full(201, 0.9), np.full(201, 0.85)]
    local = [np.full(201, 0.8), np.full(201, 0.8)]
    found = share_lost(central, other, local, seed=0)
    assert found == pytest.approx((0.25, 0.0, 0.5))


def test_an_interval_leaves_out_draws_without_an_area() -> None:
    found = interval(np.array([0.5, np.nan, *np.linspace(0.4, 0.6, 201)]))
    assert found == pytest.approx((0.5, 0.405, 0.595))
    assert str(found) == "0.500 [0.405, 0.595]"
