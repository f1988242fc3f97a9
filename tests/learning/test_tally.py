"""Counting at a site: the counts of a model, their noise, and labels that are refused at once."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from securefl.data.task import Examples, Task
from securefl.errors import DataError
from securefl.learning.counts import NOISY_BINS, CountsLayout
from securefl.learning.protocol import Metrics
from securefl.learning.tally import MAX_COUNT, Tally
from securefl.privacy.events import SampledGaussian
from securefl.privacy.noise.integers import noisy_counts
from securefl.rng import Keystream, seeded_keystream

TASK = Task(1, 2)
LAYOUT = CountsLayout.of(TASK, bins=NOISY_BINS)
EXAMPLES = Examples(torch.tensor([[0.0], [1.0], [1.0], [0.0]]), torch.tensor([0, 1, 0, 0]))
WEIGHTS = torch.tensor([2.0, -1.0])  # answers 0 1 1 0


def stream(round: int) -> Keystream:
    return seeded_keystream(7, "test", round)


def tally(examples: Examples = EXAMPLES, cost: SampledGaussian | None = None) -> Tally:
    model = nn.Linear(1, 1)
    return Tally(model, TASK, examples, layout=LAYOUT, cost=cost, stream_for=stream)


def test_the_update_of_a_tally_is_the_counts_of_the_model() -> None:
    delta, spent = tally().fit(WEIGHTS, round=0)
    assert spent is None
    assert delta.dtype == torch.float32
    assert delta[:6].tolist() == [2, 1, 0, 0, 1, 0]
    assert (len(delta), delta.sum().item()) == (LAYOUT.length, 8)


def test_a_site_without_records_that_judge_counts_nothing() -> None:
    nobody = Examples(torch.zeros(0, 1), torch.zeros(0, dtype=torch.long))
    assert not tally(nobody).fit(WEIGHTS, round=0).delta.any()


def test_noise_is_its_multiplier_times_the_sensitivity_on_every_cell() -> None:
    cost = SampledGaussian(1.0, 20.0, 1)
    delta, spent = tally(cost=cost).fit(WEIGHTS, round=3)
    assert spent == cost
    exact = tally().fit(WEIGHTS, round=3).delta.numpy().astype(np.int64)
    # Two cells a record: the square root of 2 times 20.
    noisy = noisy_counts(exact, std=20 * 2**0.5, stream=stream(3))
    assert delta.tolist() == noisy.tolist()
    assert (delta == 0).double().mean() < 0.1
    assert not torch.equal(delta, tally(cost=cost).fit(WEIGHTS, round=4).delta)


def test_labels_of_another_form_are_refused_before_anything_is_asked() -> None:
    wrong = Examples(EXAMPLES.features, EXAMPLES.labels.float())
    with pytest.raises(DataError, match="no labels of the task's form"):
        tally(wrong)


def test_a_sites_own_figures_stay_with_it() -> None:
    kept: list[tuple[int, Metrics]] = []
    model = nn.Linear(1, 1)
    counting = Tally(
        *(model, TASK, EXAMPLES),
        layout=LAYOUT,
        cost=SampledGaussian(1.0, 20.0, 1),
        stream_for=stream,
        on_metrics=lambda round, metrics: kept.append((round, metrics)),
    )
    counting.fit(WEIGHTS, round=5)
    ((round, metrics),) = kept
    # Exact, before the noise.
    assert (round, metrics.records, metrics.accuracy, metrics.majority) == (5, 4, 0.75, 0.75)


def test_counts_beyond_float32_stay_whole_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    huge = np.full(LAYOUT.length, 2**24 + 1, dtype=np.int64)
    huge[0] = -huge[0]
    monkeypatch.setattr(CountsLayout, "counts", lambda *_: huge)
    delta = tally().fit(WEIGHTS, round=0).delta
    assert delta[:2].tolist() == [-MAX_COUNT, MAX_COUNT]


def test_two_sites_and_one_together_count_the_same() -> None:
    halves = [Examples(EXAMPLES.features[part], EXAMPLES.labels[part]) for part in ([0, 1], [2, 3])]
    fit = partial(Tally.fit, weights=WEIGHTS, round=0)
    total = sum((fit(tally(half)).delta for half in halves), torch.zeros(LAYOUT.length))
    assert torch.equal(total, fit(tally()).delta)
