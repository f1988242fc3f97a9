"""EWC: the Fisher information by hand, the pull on a quadratic by hand, and the noise's size."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from securefl.data.task import Examples, Task
from securefl.learning import options
from securefl.learning.algorithms.corrections import Corrections
from securefl.learning.algorithms.ewc import Ewc, fisher_sum, noisy_fisher
from securefl.learning.algorithms.protocol import Place, Terms
from securefl.learning.algorithms.steps import ewc
from securefl.rng import seeded_keystream

TERMS = Terms(
    d=2, parameters=2, steps=None, usual_steps=1, most_steps=1, weights=None, lr=lambda round: 0.1
)


class Silent:
    """A trainer that is only handed on."""

    cost = None

    def fit(self, weights: torch.Tensor, *, round: int) -> object:
        raise AssertionError("nobody trains here")


def corrected(fisher: list[float], anchor: list[float]) -> Corrections:
    corrections = Corrections((3,), 2, anchored=True)
    start = torch.tensor(anchor)
    place = Place(3, 1, corrections, None, start, fisher=torch.tensor(fisher))
    Ewc(TERMS).at_client(Silent(), place)  # type: ignore[arg-type]
    return corrections


def test_ewc_known_answer_on_a_quadratic() -> None:
    # The new task is (w - 4)^2 / 2 in both coordinates, from w* = (1, 1) at lr .5, strength 2,
    # F = (1, 0). First coordinate: w1 = 1 + .5 x 3 = 2.5; w2 = 2.5 - .5 (-1.5 + 2 x 1.5) = 1.75.
    # Second: no pull, w1 = 2.5, w2 = 2.5 + .5 x 1.5 = 3.25.
    corrections = corrected([1.0, 0.0], [1.0, 1.0])
    w = nn.Parameter(torch.tensor([1.0, 1.0]))
    with corrections.of(3):
        steps = ewc(options.sgd([w], 0.5), strength=2.0, corrections=corrections)
    for _ in range(2):
        steps.zero_grad()
        (0.5 * (w - 4.0).square()).sum().backward()  # type: ignore[no-untyped-call]
        steps.step()
    assert w.tolist() == [1.75, 3.25]


def test_ewc_pulls_to_the_earlier_model_and_not_to_where_the_round_began() -> None:
    corrections = corrected([1.0, 1.0], [0.0, 0.0])
    w = nn.Parameter(torch.tensor([2.0, -2.0]))  # of a later round
    with corrections.of(3):
        steps = ewc(options.sgd([w], 0.25), strength=1.0, corrections=corrections)
    w.grad = torch.zeros(2)
    steps.step()
    assert w.tolist() == [1.5, -1.5]


def test_ewc_on_a_quadratic_ends_between_both_tasks() -> None:
    # It minimises a (w - 4)^2 / 2 + strength F (w - w*)^2 / 2: w = (4 + s F w*) / (1 + s F).
    strength, fisher, anchor = 3.0, 0.5, -1.0
    corrections = corrected([fisher, fisher], [anchor, anchor])
    w = nn.Parameter(torch.full((2,), anchor))
    with corrections.of(3):
        steps = ewc(options.sgd([w], 0.1), strength=strength, corrections=corrections)
    for _ in range(500):
        steps.zero_grad()
        (0.5 * (w - 4.0).square()).sum().backward()  # type: ignore[no-untyped-call]
        steps.step()
    pull = strength * fisher
    assert w.tolist() == pytest.approx([(4.0 + pull * anchor) / (1 + pull)] * 2, abs=1e-5)


def test_without_an_earlier_version_there_is_nothing_to_hold_on_to() -> None:
    plain = Corrections((3,), 2)
    assert plain.anchor is None
    place = Place(3, 1, plain, None, torch.zeros(2), fisher=torch.zeros(2))
    with pytest.raises(ValueError, match="ewc needs the Fisher information of an earlier version"):
        Ewc(TERMS).at_client(Silent(), place)  # type: ignore[arg-type]
    missing = Place(3, 1, Corrections((3,), 2, anchored=True), None, torch.zeros(2))
    with pytest.raises(ValueError, match="ewc needs the Fisher information"):
        Ewc(TERMS).at_client(Silent(), missing)  # type: ignore[arg-type]
    with plain.of(3), pytest.raises(ValueError, match="there is none"):
        ewc(options.sgd([nn.Parameter(torch.zeros(2))], 0.1), strength=1.0, corrections=plain)


def linear(weights: list[float]) -> nn.Linear:
    model = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([weights]))
    return model


def test_fisher_information_of_a_logistic_model_by_hand() -> None:
    # At w = 0 every probability is 1/2: a record's gradient is (1/2 - y) x, squared x^2 / 4.
    features = torch.tensor([[2.0, 0.0], [4.0, 6.0]])
    records = Examples(features, torch.tensor([1, 0]))
    total = fisher_sum(linear([0.0, 0.0]), Task(features=2, classes=2), records)
    assert total.tolist() == [1.0 + 4.0, 9.0]


def test_a_clip_bounds_each_record_by_itself() -> None:
    # Gradients (1, 0) and (-2, -3) of norms 1 and sqrt 13; a clip of 1 scales the second.
    features = torch.tensor([[2.0, 0.0], [4.0, 6.0]])
    records = Examples(features, torch.tensor([0, 0]))
    total = fisher_sum(linear([0.0, 0.0]), Task(features=2, classes=2), records, clip=1.0)
    assert total.tolist() == pytest.approx([1.0 + 4 / 13, 9 / 13])


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(-1e4, 1e4, width=32), st.floats(-1e4, 1e4, width=32), st.integers(0, 1)
        ),
        min_size=1,
        max_size=5,
    ),
    st.floats(0.1, 10.0),
)
def test_one_record_moves_the_sum_by_the_square_of_the_clip_at_most(
    rows: list[tuple[float, float, int]], clip: float
) -> None:
    features = torch.tensor([row[:2] for row in rows], dtype=torch.float32)
    labels = torch.tensor([row[2] for row in rows])
    model, task = linear([0.3, -0.2]), Task(features=2, classes=2)
    whole = fisher_sum(model, task, Examples(features, labels), clip=clip)
    less = fisher_sum(model, task, Examples(features[1:], labels[1:]), clip=clip)
    assert float((whole - less).norm()) <= clip**2 * (1 + 1e-9)


def test_a_gradient_that_is_not_finite_counts_as_zero() -> None:
    features = torch.tensor([[math.inf, 0.0], [2.0, 0.0]])
    records = Examples(features, torch.tensor([1, 1]))
    total = fisher_sum(linear([0.0, 0.0]), Task(features=2, classes=2), records, clip=10.0)
    assert total.tolist() == [1.0, 0.0]


def test_the_noise_has_the_size_that_is_paid_for_and_the_mean_the_declared_divisor() -> None:
    # The sum is far from 0, so that nothing is cut there. With 4,000 coordinates the standard
    # deviation is within 5 % but with probability 1e-5 (chi-square); a clip for clip^2 is off by 3.
    total = torch.full((4000,), 1e4, dtype=torch.float64)
    stream = seeded_keystream(1, "test")
    fisher = noisy_fisher(total, records=50, clip=3.0, noise_multiplier=2.0, stream=stream)
    assert float(fisher.mean()) == pytest.approx(1e4 / 50, rel=0.001)
    assert float(fisher.std()) == pytest.approx(2.0 * 9.0 / 50, rel=0.05)
    zero = torch.zeros(1000, dtype=torch.float64)
    cut = noisy_fisher(zero, records=50, clip=3.0, noise_multiplier=2.0, stream=stream)
    assert float(cut.min()) == 0.0
    assert cut.dtype == torch.float32
