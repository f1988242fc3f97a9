"""Clients in a stack train with DP-SGD as they do one at a time."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from securefl.data.task import Examples
from securefl.learning.dp_sgd import dp_sgd_trainers
from securefl.learning.options import StepOptions, step
from securefl.learning.plan import LocalTraining
from securefl.learning.protocol import Trained
from securefl.learning.stacked.dp_sgd import StackedDpSgd
from tests.learning.stacked.cases import MODELS, SIZES, clients, plans, records, weights_of

# Of changes in float64, where both multiply as the library does.
WITHIN = 1e-12
# Where one client at a time rounds rows to whole numbers, and then multiplies exactly.
WITHIN_EXACT = 1e-6


def exactly_alone(local: LocalTraining, weights: Tensor, *, round: int = 0) -> dict[int, Trained]:
    trainers = dp_sgd_trainers(local)
    return {client: trainers[client].fit(weights, round=round) for client in trainers}


def alone(local: LocalTraining, weights: Tensor, *, round: int = 0) -> dict[int, Trained]:
    """Returns the training of one client at a time, with the library's products."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("securefl.learning.dp_sgd.usual_linears", lambda model: [])
        return exactly_alone(local, weights, round=round)


def stacked(local: LocalTraining, weights: Tensor, *, round: int = 0) -> dict[int, Trained]:
    return StackedDpSgd(local).fit_many(weights, list(local.examples), round=round)


def assert_equal(
    ours: dict[int, Trained], theirs: dict[int, Trained], *, within: float = WITHIN
) -> None:
    assert sorted(ours) == sorted(theirs)
    for client, (delta, spent) in theirs.items():
        assert float(delta.abs().max()) > 1e-4
        assert ours[client].spent == spent
        scale = max(1.0, float(delta.abs().max()))  # rounding grows with the numbers
        torch.testing.assert_close(ours[client].delta, delta, rtol=0, atol=within * scale)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("dtype", "within"), [(torch.float64, WITHIN), (torch.float32, 1e-6)], ids=["64", "32"]
)
def test_a_stack_trains_as_one_client_at_a_time(
    name: str, dtype: torch.dtype, within: float
) -> None:
    # Clips from far below to far above the gradients' norms.
    for clip in (0.1, 1.0, 100.0):
        local = clients(name, dtype=dtype, plans=plans(clip=clip))
        weights = weights_of(local)
        assert_equal(stacked(local, weights), alone(local, weights), within=within)


@pytest.mark.parametrize("name", MODELS)
def test_a_stack_trains_as_one_client_at_a_time_whose_products_are_exact(name: str) -> None:
    local = clients(name, plans=plans(clip=1.0))
    weights = weights_of(local)
    assert_equal(stacked(local, weights), exactly_alone(local, weights), within=WITHIN_EXACT)


def test_every_client_has_its_own_clip_noise_and_rate() -> None:
    local = clients("mlp", plans=plans())
    assert len({plan.sample_rate for plan in local.plans.values()}) > 2
    weights = weights_of(local)
    assert_equal(stacked(local, weights), alone(local, weights))


def test_steps_without_records_are_noise_alone() -> None:
    # A rate of 1 in 1,000: nearly all batches are empty.
    local = clients("mlp", plans=plans(records=4000, batch=4, epochs=1, noise_multiplier=1.0))
    local = replace(local, plans={c: replace(p, records=40) for c, p in local.plans.items()})
    weights = weights_of(local)
    assert_equal(stacked(local, weights), alone(local, weights))
    quiet = replace(local, plans={c: p.with_noise(0.0) for c, p in local.plans.items()})
    empty = {c: Examples(e.features[:0], e.labels[:0]) for c, e in local.examples.items()}
    for delta, spent in stacked(replace(quiet, examples=empty), weights).values():
        assert not delta.any()
        assert spent is not None
        assert spent.steps == 10
    noise = stacked(replace(local, examples=empty), weights)
    assert all(bool(delta.all()) for delta, _ in noise.values())


@pytest.mark.parametrize("name", ["mlp", "cnn", "words", "steps"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e30])
def test_a_gradient_that_is_not_finite_counts_as_zero(name: str, value: float) -> None:
    local = clients(name, plans=plans(noise_multiplier=0.0), dtype=torch.float32)
    weights = weights_of(local)
    for examples in local.examples.values():
        examples.features[0] = value
    ours = stacked(local, weights)
    assert all(bool(delta.isfinite().all()) for delta, _ in ours.values())
    theirs = alone(local, weights)
    for client in ours:
        torch.testing.assert_close(ours[client].delta, theirs[client].delta, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["logistic", "mlp", "cnn", "words", "steps", "own forward"])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_one_record_moves_a_step_by_at_most_the_clip(name: str, scale: float) -> None:
    # One step on a record alone: the change is -lr x its clipped gradient / normaliser.
    of_one = (1,) * 4
    local = clients(
        name, dtype=torch.float32, sizes=of_one, lr=1.0, plans=plans(of_one, noise_multiplier=0.0)
    )
    task = MODELS[name][0]
    examples = {}
    for client in range(4):
        record = records(task, 1, seed=20 + client, dtype=torch.float32)
        examples[client] = Examples(record.features * scale, record.labels)
    one = {
        client: replace(plan, records=1, batch=1, epochs=1, clip=0.01)
        for client, plan in local.plans.items()
    }
    local = replace(local, examples=examples, plans=one)
    for delta, _ in stacked(local, torch.zeros_like(weights_of(local))).values():
        assert float(delta.double().norm()) <= 0.01
    moved = stacked(local, weights_of(local))
    # Most change by the clip itself, up to what rounding takes off the weights.
    assert max(float(delta.double().norm()) for delta, _ in moved.values()) > 0.0099


def test_noise_comes_from_each_clients_own_stream_and_has_its_scale() -> None:
    local = clients("mlp", plans=plans(noise_multiplier=2.0), lr=1.0)
    weights = weights_of(local)
    noisy = stacked(local, weights)
    quiet_plans = {client: plan.with_noise(0.0) for client, plan in local.plans.items()}
    empty = {c: Examples(e.features[:0], e.labels[:0]) for c, e in local.examples.items()}
    noise = stacked(replace(local, examples=empty), weights)
    del quiet_plans
    for client, (delta, _) in noise.items():
        plan = local.plans[client]
        scale = plan.noise_multiplier * plan.clip / plan.normaliser * plan.steps**0.5
        # 71 coordinates: 8 standard deviations of the standard deviation.
        assert 0.4 * scale < float(delta.std()) < 1.6 * scale
    deltas = torch.stack([delta for delta, _ in noise.values()])
    assert float(torch.corrcoef(deltas).fill_diagonal_(0).abs().max()) < 0.6
    again = stacked(local, weights)
    assert all(torch.equal(again[client].delta, noisy[client].delta) for client in noisy)


def test_the_learning_rate_has_its_schedule_and_classes_their_weights() -> None:
    options = StepOptions(
        schedule=partial(step, step_every=1, step_factor=0.5), class_weights=(0.5, 2.0, 1.0)
    )
    local = clients("mlp", options=options, plans=plans())
    weights = weights_of(local)
    for round in (0, 2):
        assert_equal(stacked(local, weights, round=round), alone(local, weights, round=round))


def test_every_client_is_told_of_each_of_its_noisy_steps() -> None:
    told: list[tuple[int, int, int]] = []
    local = clients("mlp", on_step=lambda *args: told.append(args), plans=plans())
    stacked(local, weights_of(local))
    ours, told = told, []
    local = replace(local, on_step=lambda *args: told.append(args))
    alone(local, weights_of(local))
    assert sorted(ours) == told
    assert {client for client, _, _ in told} == set(range(len(SIZES)))


def test_the_noise_of_a_round_is_not_that_of_another() -> None:
    local = clients("mlp", plans=plans(noise_multiplier=1.0))
    weights = weights_of(local)
    first, second = (stacked(local, weights, round=round) for round in (0, 1))
    assert not torch.equal(first[0].delta, second[0].delta)
