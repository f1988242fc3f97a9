"""Clients in a stack train as they do one at a time."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from securefl.data.task import Examples
from securefl.learning.options import StepOptions, step
from securefl.learning.plan import LocalTraining
from securefl.learning.sgd import sgd_trainers
from securefl.learning.stacked.choice import unstackable
from securefl.learning.stacked.sgd import StackedSgd
from tests.learning.stacked.cases import IMAGES, MODELS, SIZES, clients, weights_of


def alone(local: LocalTraining, weights: Tensor, *, round: int = 0) -> dict[int, Tensor]:
    trainers = sgd_trainers(local)
    return {client: trainers[client].fit(weights, round=round).delta for client in trainers}


def stacked(local: LocalTraining, weights: Tensor, *, round: int = 0) -> dict[int, Tensor]:
    trained = StackedSgd(local).fit_many(weights, list(local.examples), round=round)
    assert all(result.spent is None for result in trained.values())
    return {client: result.delta for client, result in trained.items()}


def assert_equal(
    ours: dict[int, Tensor], theirs: dict[int, Tensor], *, within: float = 1e-12
) -> None:
    assert sorted(ours) == sorted(theirs)
    for client, delta in theirs.items():
        assert float(delta.abs().max()) > 1e-4
        torch.testing.assert_close(ours[client], delta, rtol=within, atol=within)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("dtype", "within"), [(torch.float64, 1e-12), (torch.float32, 1e-6)], ids=["64", "32"]
)
def test_a_stack_trains_as_one_client_at_a_time(
    name: str, dtype: torch.dtype, within: float
) -> None:
    local = clients(name, dtype=dtype)
    weights = weights_of(local)
    assert_equal(stacked(local, weights), alone(local, weights), within=within)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_of_these_tests_is_stackable(name: str) -> None:
    assert unstackable(clients(name, dtype=torch.float32)) is None


def test_images_are_bytes_until_their_step() -> None:
    local = clients("cnn", dtype=torch.float32)
    generator = torch.Generator().manual_seed(1)
    examples = {
        client: Examples(
            torch.randint(256, (size, *IMAGES.image), dtype=torch.uint8, generator=generator),
            torch.randint(3, (size,), generator=generator),
        )
        for client, size in enumerate(SIZES)
    }
    local = replace(local, examples=examples)
    weights = weights_of(local)
    assert_equal(stacked(local, weights), alone(local, weights), within=1e-6)


@pytest.mark.parametrize("client", range(len(SIZES)))
def test_one_client_is_a_stack_too(client: int) -> None:
    local = clients("mlp")
    weights = weights_of(local)
    trained = StackedSgd(local).fit_many(weights, [client], round=0)
    assert_equal({client: trained[client].delta}, {client: alone(local, weights)[client]})


def test_a_stack_is_used_for_other_clients_and_rounds() -> None:
    local = clients("cnn")
    weights = weights_of(local)
    machine = StackedSgd(local)
    for round, some in enumerate([[3, 1], [0, 1, 2], [2], [1, 3, 0, 2]]):
        trained = machine.fit_many(weights, some, round=round)
        theirs = alone(local, weights, round=round)
        assert_equal(
            {client: trained[client].delta for client in trained},
            {client: theirs[client] for client in some},
        )
        weights = weights + trained[some[0]].delta


def test_the_learning_rate_has_its_schedule() -> None:
    halved = partial(step, step_every=1, step_factor=0.5)
    local = clients("mlp", options=StepOptions(schedule=halved))
    weights = weights_of(local)
    for round in (0, 2):
        assert_equal(stacked(local, weights, round=round), alone(local, weights, round=round))


@pytest.mark.parametrize("name", ["mlp", "two classes", "several labels"])
def test_classes_have_their_weights(name: str) -> None:
    factors = (0.5, 2.0) if name == "two classes" else (0.5, 2.0, 1.0)
    local = clients(name, options=StepOptions(class_weights=factors))
    weights = weights_of(local)
    assert unstackable(local) is None
    assert_equal(stacked(local, weights), alone(local, weights))


def test_every_client_is_told_of_each_of_its_steps() -> None:
    told: list[tuple[int, int, int]] = []
    local = clients("mlp", on_step=lambda *args: told.append(args))
    stacked(local, weights_of(local))
    ours, told = told, []
    local = replace(local, on_step=lambda *args: told.append(args))
    alone(local, weights_of(local))
    assert sorted(ours) == told
    assert len(told) == 2 * (3 + 1 + 4 + 1)


def test_a_record_that_is_not_finite_spoils_its_own_client_only() -> None:
    local = clients("cnn")
    weights = weights_of(local)
    theirs = alone(local, weights)
    local.examples[2].features[0] = torch.nan
    ours = stacked(local, weights)
    assert not ours[2].isfinite().any()
    del ours[2], theirs[2]
    assert_equal(ours, theirs)


def test_the_result_of_a_client_does_not_hold_on_to_the_next_stack() -> None:
    local = clients("mlp")
    weights = weights_of(local)
    machine = StackedSgd(local)
    first = machine.fit_many(weights, [0, 1], round=0)
    before = first[0].delta.clone()
    machine.fit_many(weights, [0, 1], round=1)
    assert torch.equal(first[0].delta, before)


def test_a_client_whose_gradients_are_bent_joins_no_stack() -> None:
    local = clients("mlp", bends={1: lambda gradient, way: -gradient})
    with pytest.raises(ValueError, match="client 1 bends its gradients"):
        StackedSgd(local).fit_many(weights_of(local), [0, 1], round=0)


def test_changes_go_where_the_caller_wants_them_in_the_order_of_the_results() -> None:
    local = clients("mlp", dtype=torch.float32)
    weights = weights_of(local)
    usual = StackedSgd(local).fit_many(weights, list(local.examples), round=0)
    out = torch.full((6, len(weights)), 7.0)
    given = StackedSgd(local).fit_many(weights, list(local.examples), round=0, out=out)
    # The client with most steps, of 13 records, first; then by number.
    assert list(given) == [2, 0, 1, 3]
    for row, (client, trained) in zip(out, given.items(), strict=False):
        assert trained.delta.data_ptr() == row.data_ptr()
        assert torch.equal(row, usual[client].delta)
    assert bool((out[4:] == 7).all())
