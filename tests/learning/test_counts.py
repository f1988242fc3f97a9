"""Evaluation by counts: vectors by hand, sums over sites, and the central figures as oracle."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from securefl.data.digits import load_digits
from securefl.data.heart import load_heart
from securefl.data.task import FederatedData, Task
from securefl.errors import DataError, ScenarioError
from securefl.learning.counts import BINS, NOISY_BINS, CountsLayout, Figures
from securefl.learning.evaluate import measure

BINARY = CountsLayout(2, several=False)


def binary(*positive: float) -> Tensor:
    chances = torch.tensor(positive, dtype=torch.float64).unsqueeze(1)
    return torch.cat([1 - chances, chances], dim=1)


def figures_of(chances: Tensor, labels: Tensor, *, several: bool = False) -> Figures:
    layout = CountsLayout(chances.shape[1], several)
    return layout.figures(layout.counts(chances, labels))


def same_but_auc(figures: Figures, chances: Tensor, labels: Tensor) -> bool:
    """Whether all metrics are the central ones, bit for bit; the AUC within its own bound."""
    ours, theirs = figures.metrics, measure(chances, labels)
    if (ours.auc is None) is not (theirs.auc is None):
        return False
    if ours.auc is not None and theirs.auc is not None:
        assert figures.auc_error is not None
        if abs(ours.auc - theirs.auc) > figures.auc_error + 1e-12:
            return False
    mine = (ours.records, ours.accuracy, ours.balanced_accuracy, ours.majority)
    return mine == (theirs.records, theirs.accuracy, theirs.balanced_accuracy, theirs.majority)


def test_the_vector_of_two_classes_known_answer() -> None:
    # Truth 1 1 0 0, answers 1 0 0 none. The table is truth by answer (0, 1, none): 1 0 1 | 1 1 0.
    chances = binary(1.0, 0.0, 0.5, math.nan)
    counts = BINARY.counts(chances, torch.tensor([1, 1, 0, 0]))
    assert counts[:6].tolist() == [1, 0, 1, 1, 1, 0]
    without, having = counts[6:].reshape(2, BINS)
    assert np.flatnonzero(having).tolist() == [0, BINS - 1]
    assert without.sum() == 1
    # Half way in the logit is further up in the bins: below it lie logits down to -745.
    assert np.flatnonzero(without).tolist() == [571]


def test_an_undecided_score_is_in_the_middle_of_the_finest_bins() -> None:
    # One of eight classes, and one label of three: 1/8 and 1/2 share the bin of a logit of 0.
    eight = CountsLayout(8, several=False)
    chances = torch.full((1, 8), 1 / 8, dtype=torch.float64)
    bins = eight.counts(chances, torch.tensor([3]))[72:].reshape(8, 2, BINS)
    assert np.flatnonzero(bins.sum(axis=(0, 1))).tolist() == [571]
    three = CountsLayout(3, several=True)
    halves = torch.full((1, 3), 0.5, dtype=torch.float64)
    bins = three.counts(halves, torch.tensor([[0, 1, 0]]))[18:].reshape(3, 2, BINS)
    assert np.flatnonzero(bins.sum(axis=(0, 1))).tolist() == [571]


def test_scores_of_exactly_one_have_a_bin_of_their_own() -> None:
    eight = CountsLayout(8, several=False)
    chances = torch.zeros(2, 8, dtype=torch.float64)
    chances[:, 0] = torch.tensor([1.0, 1 - 2.0**-53], dtype=torch.float64)
    bins = eight.counts(chances, torch.tensor([0, 0]))[72:].reshape(8, 2, BINS)
    assert bins[0, 1, -2:].tolist() == [1, 1]


def test_lengths_and_sensitivities_by_hand() -> None:
    # Two classes: 2 x 3 answers, one column. Three: 3 x 4, three columns. Five labels: 5 x 2 x 3.
    assert BINARY.length == 6 + 2048
    assert BINARY.sensitivity == math.sqrt(2)
    three = CountsLayout(3, several=False)
    assert three.length == 12 + 3 * 2048
    assert three.sensitivity == 2.0
    five = CountsLayout(5, several=True)
    assert five.length == 30 + 5 * 2048
    assert five.sensitivity == math.sqrt(10)


@pytest.mark.parametrize(("classes", "several"), [(2, False), (4, False), (3, True)])
def test_one_record_moves_the_vector_by_exactly_the_sensitivity(
    classes: int, several: bool
) -> None:
    layout = CountsLayout(classes, several)
    chances = torch.full((1, classes), 1 / classes, dtype=torch.float64)
    label = torch.ones(1, classes, dtype=torch.long) if several else torch.tensor([classes - 1])
    counts = layout.counts(chances, label)
    assert math.sqrt(int((counts**2).sum())) == pytest.approx(layout.sensitivity, rel=1e-15)
    # One without an answer moves it less.
    fewer = layout.counts(chances * math.nan, label)
    assert (fewer**2).sum() < (counts**2).sum()


def test_figures_of_two_classes_known_answer() -> None:
    # As in tests/learning/test_evaluate.py: 5 of 7 right, 3/4 and 2/3; AUC 10.5 / 12, of which the
    # tie at .4 is exact. The pair within one bin is wrong by at most a half of a pair of twelve.
    chances = binary(0.9, 0.8, 0.7, 0.4, 0.4, 0.6, 0.2)
    figures = figures_of(chances, torch.tensor([1, 1, 1, 1, 0, 0, 0]))
    assert figures.metrics.records == 7
    assert figures.metrics.accuracy == 5 / 7
    assert figures.metrics.balanced_accuracy == pytest.approx(17 / 24)
    assert figures.metrics.auc == pytest.approx(7 / 8)
    assert figures.metrics.majority == 4 / 7
    assert figures.auc_error == pytest.approx(0.5 / 12)


def test_figures_of_three_classes_known_answer() -> None:
    chances = torch.tensor(
        [[0.6, 0.3, 0.1], [0.3, 0.5, 0.2], [0.1, 0.8, 0.1], [0.7, 0.1, 0.2], [0.2, 0.2, 0.6]],
        dtype=torch.float64,
    )
    metrics = figures_of(chances, torch.tensor([0, 0, 1, 2, 2])).metrics
    assert metrics.accuracy == 3 / 5
    assert metrics.balanced_accuracy == pytest.approx(2 / 3)
    assert metrics.auc == pytest.approx(31 / 36)
    assert metrics.majority == 2 / 5


@settings(max_examples=60, deadline=None)
@given(
    classes=st.integers(2, 5),
    several=st.booleans(),
    sites=st.lists(st.integers(0, 12), min_size=1, max_size=5),
    scale=st.sampled_from([0.0, 1e-3, 1.0, 300.0]),
    seed=st.integers(0, 10**6),
)
def test_the_sum_over_sites_gives_the_central_figures(
    classes: int, several: bool, sites: list[int], scale: float, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    layout = CountsLayout(classes, several)
    logits = torch.from_numpy(draw.normal(size=(sum(sites), classes)) * scale)
    chances = torch.sigmoid(logits) if several else torch.softmax(logits, dim=1)
    shape = tuple(chances.shape) if several else (len(chances),)
    labels = torch.from_numpy(draw.integers(0, 2 if several else classes, shape))
    parts = zip(torch.split(chances, sites), torch.split(labels, sites), strict=True)
    total = sum((layout.counts(*part) for part in parts), np.zeros(layout.length, dtype=np.int64))
    assert same_but_auc(layout.figures(total), chances, labels)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_model_that_overflows_at_one_site_is_not_measured(bad: float) -> None:
    healthy = BINARY.counts(binary(0.9, 0.2), torch.tensor([1, 0]))
    broken = BINARY.counts(binary(0.8, bad), torch.tensor([1, 1]))
    metrics = BINARY.figures(healthy + broken).metrics
    assert metrics == measure(binary(0.9, 0.2, 0.8, bad), torch.tensor([1, 0, 1, 1]))
    assert (metrics.accuracy, metrics.majority) == (None, 0.75)


def test_a_label_without_a_finite_score_leaves_all_labels_unmeasured() -> None:
    chances = torch.tensor([[0.2, 0.9], [0.9, math.nan]], dtype=torch.float64)
    labels = torch.tensor([[0, 1], [1, 0]])
    assert figures_of(chances, labels, several=True).metrics == measure(chances, labels)


def test_a_missing_class_no_records_and_one_record_are_those_of_evaluate() -> None:
    nobody = torch.zeros(0, dtype=torch.long)
    assert same_but_auc(figures_of(binary()[:0], nobody), binary()[:0], nobody)
    alone = torch.tensor([1])
    assert same_but_auc(figures_of(binary(0.7), alone), binary(0.7), alone)
    missing = torch.tensor([1, 1, 1, 1])
    chances = binary(0.9, 0.2, 0.8, 0.7)
    assert same_but_auc(figures_of(chances, missing), chances, missing)
    none_has_it = torch.tensor([[0, 1], [1, 1]])
    scores = torch.tensor([[0.2, 0.9], [0.9, 0.3]], dtype=torch.float64)
    assert same_but_auc(figures_of(scores, none_has_it, several=True), scores, none_has_it)


@pytest.mark.parametrize("name", ["heart", "digits"])
@pytest.mark.parametrize("scale", [0.0, 1e-3, 1.0, 30.0, 300.0])
def test_the_auc_is_within_a_thousandth_from_constant_to_saturated_models(
    name: str, scale: float
) -> None:
    # Nearest means: a classifier without training whose scores are anything but independent.
    data = data_of(name)
    train = data.pooled().sites[0].train
    features = train.features.flatten(1).double()
    tests = data.test.features.flatten(1).double()
    means = torch.stack([features[train.labels == k].mean(dim=0) for k in range(data.task.classes)])
    logits = tests @ means.T - (means**2).sum(dim=1) / 2
    chances = torch.softmax(scale * logits, dim=1)
    figures = figures_of(chances, data.test.labels)
    assert same_but_auc(figures, chances, data.test.labels)
    exact = measure(chances, data.test.labels).auc
    assert exact is not None
    assert figures.metrics.auc == pytest.approx(exact, abs=1e-3)


def data_of(name: str) -> FederatedData:
    if name == "heart":
        return load_heart(partition="natural", split_seed=0)
    return load_digits(partition="pooled", split_seed=0)


def test_two_exact_sums_give_away_the_class_counts_of_the_site_between_them() -> None:
    # Other models do not hide it: a row of answers adds up to the records of its class.
    labels = torch.tensor([0, 1, 1, 1])
    others = BINARY.counts(binary(0.9, 0.1, 0.3), torch.tensor([1, 0, 0]))
    later = BINARY.counts(binary(0.2, 0.7, 0.4), torch.tensor([1, 0, 0]))
    total = others + BINARY.counts(binary(0.5, 0.6, 0.8, 0.1), labels)
    rows = (total - later)[:6].reshape(2, 3).sum(axis=1)
    assert rows.tolist() == [1, 3]


def test_a_label_that_is_none_of_the_tasks_counts_nowhere_and_is_not_refused() -> None:
    chances = binary(0.9, 0.2, 0.7, 0.4)
    counts = BINARY.counts(chances, torch.tensor([1, 2, 0, -1]))
    assert counts.tolist() == BINARY.counts(binary(0.9, 0.7), torch.tensor([1, 0])).tolist()
    two = CountsLayout(2, several=True)
    scores = torch.tensor([[0.2, 0.9], [0.9, 0.3]], dtype=torch.float64)
    labels = torch.tensor([[0, 2], [1, 0]])
    assert two.counts(scores, labels).tolist() == two.counts(scores[1:], labels[1:]).tolist()


def test_labels_of_another_form_are_refused() -> None:
    for labels in (torch.tensor([[0, 1]]), torch.tensor([0.0, 1.0])):
        with pytest.raises(DataError, match="no labels of the task's form"):
            BINARY.check(labels)
    with pytest.raises(DataError, match="no labels of the task's form"):
        CountsLayout(2, several=True).check(torch.tensor([0, 1]))


def test_a_regression_has_no_counts() -> None:
    with pytest.raises(ScenarioError, match="this task has real targets"):
        CountsLayout.of(Task(3, targets=((0.0, 1.0),)))
    assert CountsLayout.of(Task(3, 2)) == BINARY
    assert CountsLayout.of(Task(3, 4, multilabel=True), bins=8) == CountsLayout(4, True, 8)


def test_a_sum_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"counts have 2054 integers, got shape \(2053,\)"):
        BINARY.figures(np.zeros(2053, dtype=np.int64))


def test_shares_of_noisy_counts_stay_between_zero_and_one() -> None:
    layout = CountsLayout(2, several=False, bins=NOISY_BINS)
    total = np.zeros(layout.length, dtype=np.int64)
    # Noise took six records from the wrong answers and one from those without.
    total[:6] = [9, -3, -1, -3, 8, 0]
    # A record of class 0 in the lowest bin, a thousand of class 1 in the highest.
    total[6] = 1
    total[-1] = 1000
    metrics, error = layout.figures(total, noisy=True)
    assert (metrics.records, metrics.accuracy, metrics.balanced_accuracy) == (10, 1.0, 1.0)
    assert metrics.auc == 1.0
    assert error is None
    assert layout.figures(total - 10, noisy=True).metrics.records == 0
    total[:6] = [9, -3, 0, -3, 1, 0]
    assert layout.figures(total, noisy=True).metrics.majority == 1.0


def test_the_noisy_pairs_of_a_label_are_those_of_its_own_table() -> None:
    layout = CountsLayout(2, several=True, bins=NOISY_BINS)
    total = np.zeros(layout.length, dtype=np.int64)
    # By noise the second label has ten records, two more than the first: 2 without and 8 with it.
    total[:12] = [4, 0, 0, 0, 4, 0, 2, 0, 0, 0, 8, 0]
    without, having = total[12:].reshape(2, 2, NOISY_BINS).transpose(1, 0, 2)
    without[:, 0] = [4, 2]
    having[:, 0] = [4, 8]
    assert layout.figures(total, noisy=True).metrics.auc == 0.5


def test_under_noise_a_model_has_diverged_once_most_records_lack_an_answer() -> None:
    layout = CountsLayout(2, several=False, bins=NOISY_BINS)
    total = np.zeros(layout.length, dtype=np.int64)
    total[:6] = [2, 1, 3, 1, 2, 1]  # four of ten
    assert layout.figures(total, noisy=True).metrics.accuracy == 0.4
    total[:6] = [1, 1, 3, 1, 1, 3]  # six of ten
    assert layout.figures(total, noisy=True).metrics.accuracy is None
