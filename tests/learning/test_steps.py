"""The server's steps: known answers over two rounds, by hand, chosen so that slips show."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from securefl.learning.protocol import ServerStep, StepResult
from securefl.learning.steps import (
    beside_statistics,
    fedadagrad,
    fedadam,
    fedavg,
    fedavgm,
    fedyogi,
)
from securefl.vector import Statistics

STEPS: dict[str, ServerStep] = {
    "fedavg": fedavg,
    "fedavgm": fedavgm,
    "fedadam": fedadam,
    "fedyogi": fedyogi,
    "fedadagrad": fedadagrad,
}
each_step = pytest.mark.parametrize("step", STEPS.values(), ids=STEPS.keys())


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def two_rounds(step: Callable[[Tensor, Tensor, StepResult], StepResult]) -> StepResult:
    """Estimates (2, -4), then (1, 8), from weights (10, 20)."""
    start = StepResult(vector(10.0, 20.0), {})
    first = step(start.weights, vector(2.0, -4.0), start)
    return step(first.weights, vector(1.0, 8.0), first)


def test_fedavg_known_answer() -> None:
    result = two_rounds(lambda weights, estimate, last: fedavg(weights, estimate, last.state))
    assert result.weights.tolist() == [13.0, 24.0]
    assert result.state == {}
    halved = two_rounds(
        lambda weights, estimate, last: fedavg(weights, estimate, last.state, lr=0.5)
    )
    assert halved.weights.tolist() == [11.5, 22.0]


def test_fedavgm_known_answer() -> None:
    # v1 = (2, -4), w1 = w0 + .5 v1 = (11, 18).
    # v2 = .75 v1 + e2 = (2.5, 5), w2 = w1 + .5 v2 = (12.25, 20.5).
    # Without momentum it would be (11.5, 22), with (1 - momentum) e it would be (10.5625, 20.125).
    result = two_rounds(
        lambda w, estimate, last: fedavgm(w, estimate, last.state, lr=0.5, momentum=0.75)
    )
    assert result.weights.tolist() == [12.25, 20.5]
    assert result.state["velocity"].tolist() == [2.5, 5.0]


def test_fedavgm_defaults_are_rate_one_and_momentum_nine_tenths() -> None:
    # w1 = (12, 16); v2 = .9 (2, -4) + (1, 8) = (2.8, 4.4).
    result = two_rounds(lambda weights, estimate, last: fedavgm(weights, estimate, last.state))
    assert result.weights.tolist() == pytest.approx([14.8, 20.4])


def test_fedadam_known_answer() -> None:
    # beta1 = .5, beta2 = .75, tau = 1, so v0 = 1.
    # Round 1: m = (1, -2); v = .75 + .25 (4, 16) = (1.75, 4.75).
    # Round 2: m = .5 m + .5 (1, 8) = (1, 3);
    # v = .75 (1.75, 4.75) + .25 (1, 64) = (1.5625, 19.5625), and 1.5625 = 1.25^2.
    result = two_rounds(
        lambda w, e, last: fedadam(w, e, last.state, lr=2.0, beta1=0.5, beta2=0.75, tau=1.0)
    )
    expected = [
        10 + 2 / (math.sqrt(1.75) + 1) + 2 / 2.25,
        20 - 4 / (math.sqrt(4.75) + 1) + 6 / (math.sqrt(19.5625) + 1),
    ]
    assert result.weights.tolist() == pytest.approx(expected, rel=1e-12)
    assert result.state["first"].tolist() == [1.0, 3.0]
    assert result.state["second"].tolist() == [1.5625, 19.5625]


def test_fedyogi_known_answer() -> None:
    # beta1 = .5, beta2 = .75, tau = 1, so v0 = 1; m as for fedadam.
    # Round 1: squares (4, 16) are above v: v = 1 + .25 (4, 16) = (2, 5).
    # Round 2: squares (1, 64): below the first v, above the second: v = (2 - .25, 5 + 16).
    result = two_rounds(
        lambda w, e, last: fedyogi(w, e, last.state, lr=2.0, beta1=0.5, beta2=0.75, tau=1.0)
    )
    expected = [
        10 + 2 / (math.sqrt(2) + 1) + 2 / (math.sqrt(1.75) + 1),
        20 - 4 / (math.sqrt(5) + 1) + 6 / (math.sqrt(21) + 1),
    ]
    assert result.weights.tolist() == pytest.approx(expected, rel=1e-12)
    assert result.state["first"].tolist() == [1.0, 3.0]
    assert result.state["second"].tolist() == [1.75, 21.0]


def test_fedadagrad_known_answer() -> None:
    # v0 = tau^2 = 1; v = 1 + (4, 16), then + (1, 64); m is the estimate itself unless beta1 > 0.
    result = two_rounds(lambda w, e, last: fedadagrad(w, e, last.state, lr=2.0, tau=1.0))
    expected = [
        10 + 4 / (math.sqrt(5) + 1) + 2 / (math.sqrt(6) + 1),
        20 - 8 / (math.sqrt(17) + 1) + 16 / (math.sqrt(81) + 1),
    ]
    assert result.weights.tolist() == pytest.approx(expected, rel=1e-12)
    assert result.state["second"].tolist() == [6.0, 81.0]
    running = two_rounds(lambda w, e, last: fedadagrad(w, e, last.state, beta1=0.5))
    assert running.state["first"].tolist() == [1.0, 3.0]


@pytest.mark.parametrize(("step", "second"), [(fedyogi, 1e-6 + 0.01), (fedadagrad, 1e-6 + 1.0)])
def test_defaults_of_the_adaptive_steps(step: ServerStep, second: float) -> None:
    # lr .1, tau 1e-3; fedyogi: beta1 .9, beta2 .99; fedadagrad: beta1 0. From 0 with estimate 1.
    first = 0.1 if step is fedyogi else 1.0
    moved = step(vector(0.0), vector(1.0), {}).weights.item()
    assert moved == pytest.approx(0.1 * first / (math.sqrt(second) + 1e-3), rel=1e-12)


def test_fedadam_defaults_known_answer() -> None:
    # lr .1, beta1 .9, beta2 .99, tau 1e-3: from 0 with estimate 1, m = .1 and v = .01 + .99e-6.
    # With bias correction it would be about .0999, with v0 = 0 .0990099.
    moved = fedadam(vector(0.0), vector(1.0), {}).weights.item()
    assert moved == pytest.approx(0.1 * 0.1 / (math.sqrt(0.01 + 0.99e-6) + 1e-3), rel=1e-12)


def test_fedadam_without_estimate_stays_where_it_is() -> None:
    assert fedadam(vector(3.0), vector(0.0), {}).weights.tolist() == [3.0]


@pytest.mark.parametrize("wrong", [0.0, -0.1, math.nan])
def test_a_rate_or_tau_that_is_not_positive_is_refused(wrong: float) -> None:
    ones = vector(1.0)
    with pytest.raises(ValueError, match="fedavg needs lr > 0, got"):
        fedavg(ones, ones, {}, lr=wrong)
    with pytest.raises(ValueError, match="fedavgm needs lr > 0, got"):
        fedavgm(ones, ones, {}, lr=wrong)
    with pytest.raises(ValueError, match="fedadam needs lr > 0, got"):
        fedadam(ones, ones, {}, lr=wrong)
    with pytest.raises(ValueError, match="fedadam needs tau > 0, got"):
        fedadam(ones, ones, {}, tau=wrong)


@pytest.mark.parametrize("wrong", [1.0, -0.1, math.nan])
def test_a_momentum_outside_0_to_1_is_refused(wrong: float) -> None:
    ones = vector(1.0)
    with pytest.raises(ValueError, match=r"fedavgm needs momentum in \[0, 1\), got"):
        fedavgm(ones, ones, {}, momentum=wrong)
    with pytest.raises(ValueError, match=r"fedadam needs beta1 in \[0, 1\), got"):
        fedadam(ones, ones, {}, beta1=wrong)
    with pytest.raises(ValueError, match=r"fedadam needs beta2 in \[0, 1\), got"):
        fedadam(ones, ones, {}, beta2=wrong)


def test_without_momentum_fedavgm_is_fedavg_and_fedadam_forgets_its_state() -> None:
    weights, estimate = vector(1.0, 2.0), vector(3.0, -1.0)
    still = fedavgm(weights, estimate, {"velocity": vector(7.0, 7.0)}, momentum=0.0)
    assert torch.equal(still.weights, fedavg(weights, estimate, {}).weights)
    moved = fedadam(vector(0.0), vector(3.0), {}, lr=2.0, beta1=0.0, beta2=0.0, tau=1.0)
    assert moved.weights.tolist() == [2.0 * 3 / (3 + 1)]


@each_step
def test_the_weights_move_in_the_direction_of_the_estimate(step: ServerStep) -> None:
    moved = step(vector(0.0, 0.0), vector(1.0, -1.0), {}).weights
    assert moved[0] > 0 > moved[1]


@each_step
def test_a_step_repeats_and_does_not_change_its_inputs(step: ServerStep) -> None:
    state = step(vector(0.0, 0.0), vector(1.0, 2.0), {}).state
    weights, estimate = vector(1.0, 2.0), vector(3.0, -1.0)
    copies = {name: value.clone() for name, value in state.items()}
    first, second = step(weights, estimate, state), step(weights, estimate, state)
    assert torch.equal(first.weights, second.weights)
    assert (weights.tolist(), estimate.tolist()) == ([1.0, 2.0], [3.0, -1.0])
    assert state.keys() == copies.keys() == first.state.keys()
    assert all(torch.equal(state[name], copies[name]) for name in copies)
    assert all(first.state[name] is not state[name] for name in copies)


@each_step
def test_a_step_keeps_shape_and_float32(step: ServerStep) -> None:
    result = step(torch.zeros(3), torch.ones(3), {})
    assert (result.weights.shape, result.weights.dtype) == ((3,), torch.float32)
    assert all(
        (value.shape, value.dtype) == ((3,), torch.float32) for value in result.state.values()
    )


def test_statistics_move_by_the_estimate_whatever_the_step_does_to_the_parameters() -> None:
    # Two parameters, then a mean and two variances; the rate and the momentum are for parameters.
    step = beside_statistics(
        lambda w, estimate, state: fedavgm(w, estimate, state, lr=0.5, momentum=0.75),
        Statistics(start=2, size=3, variances=(slice(3, 5),)),
    )
    first = step(vector(10, 20, 1, 2, 3), vector(2, -4, -5, 0.5, 1), {})
    assert first.weights.tolist() == [11, 18, -4, 2.5, 4]
    second = step(first.weights, vector(1, 8, 1, -9, -4), first.state)
    # 2.5 - 9 is no variance.
    assert second.weights.tolist() == [12.25, 20.5, -3, 0, 0]
    assert second.state["velocity"].tolist() == [2.5, 5.0]


def test_a_step_beside_no_statistics_is_the_step_itself() -> None:
    assert beside_statistics(fedadam, Statistics(start=2, size=0, variances=())) is fedadam
