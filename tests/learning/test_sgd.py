"""Plain local SGD and its shuffled batches, against a hand-written loop and known answers."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from securefl import vector
from securefl.data.task import Examples, Task
from securefl.learning.dp_sgd import DpSgd
from securefl.learning.evaluate import predict
from securefl.learning.models.linear import logistic, mlp
from securefl.learning.options import USUAL, StepOptions
from securefl.learning.plan import DpPlan
from securefl.learning.sampling import shuffled_batches
from securefl.learning.sgd import SgdTrainer
from securefl.rng import Keystream, seeded_keystream

deterministic = settings(derandomize=True, max_examples=40, deadline=None, database=None)

Build = Callable[[Task, torch.Generator], nn.Module]
MODELS: dict[str, tuple[Task, Build]] = {
    "logistic": (
        Task(features=3, classes=2),
        lambda task, generator: logistic(task, generator=generator),
    ),
    "mlp": (
        Task(features=4, classes=3),
        lambda task, generator: mlp(task, hidden=(5,), generator=generator),
    ),
}
each_model = pytest.mark.parametrize(("task", "build"), MODELS.values(), ids=MODELS.keys())


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_examples(task: Task, records: int) -> Examples:
    generator = seeded(2)
    features = torch.randn(records, task.features, generator=generator)
    return Examples(features, torch.randint(task.classes, (records,), generator=generator))


def oracle(
    model: nn.Module,
    task: Task,
    examples: Examples,
    weights: Tensor,
    *,
    batches: list[Tensor],
    lr: float,
) -> Tensor:
    """The change of weights by w <- w - lr x the mean of the gradients, one example at a time."""
    current = weights.clone()
    for chosen in batches:
        total = torch.zeros_like(weights)
        vector.load_vector(model, current)
        for record in chosen.tolist():
            logits = model(examples.features[record : record + 1])
            loss = task.loss(logits, examples.labels[record : record + 1])
            gradients = torch.autograd.grad(loss, list(model.parameters()))
            total += torch.cat([gradient.reshape(-1) for gradient in gradients])
        current -= lr * total / len(chosen)
    return current - weights


@deterministic
@given(st.integers(1, 60), st.integers(1, 70))
def test_an_epoch_has_every_record_once_in_full_batches_and_a_rest(
    records: int, batch: int
) -> None:
    batches = list(shuffled_batches(records, batch=batch, stream=seeded_keystream(1, "shuffle")))
    assert len(batches) == math.ceil(records / batch)
    assert [len(chosen) for chosen in batches[:-1]] == [batch] * (len(batches) - 1)
    assert sorted(torch.cat(batches).tolist()) == list(range(records))


def test_no_records_make_no_batch() -> None:
    assert list(shuffled_batches(0, batch=4, stream=seeded_keystream(1, "shuffle"))) == []


def test_an_epoch_has_the_order_that_its_stream_draws() -> None:
    batches = list(shuffled_batches(10, batch=4, stream=seeded_keystream(1, "shuffle")))
    assert torch.cat(batches).tolist() == seeded_keystream(1, "shuffle").permutation(10).tolist()
    assert torch.cat(batches).tolist() != list(range(10))


@each_model
def test_sgd_is_a_loop_over_single_examples(task: Task, build: Build) -> None:
    model, examples = build(task, seeded()), some_examples(task, 11)
    weights = vector.to_vector(build(task, seeded(3))) + 0.1
    trainer = SgdTrainer(
        model,
        task,
        examples,
        client=2,
        batch=4,
        epochs=3,
        lr=0.3,
        stream_for=partial(seeded_keystream, 5),
    )
    delta, spent = trainer.fit(weights, round=7)
    stream = seeded_keystream(5, "shuffle", 2, 7)
    batches = [chosen for _ in range(3) for chosen in shuffled_batches(11, batch=4, stream=stream)]
    expected = oracle(build(task, seeded()), task, examples, weights, batches=batches, lr=0.3)
    assert spent is None
    torch.testing.assert_close(delta, expected, rtol=1e-4, atol=1e-6)
    # Shown able to fail: a lost batch, or the same order in every epoch, moves the answer by far
    # more than the tolerance.
    for slip in (batches[:-1], batches[: len(batches) // 3] * 3):
        other = oracle(build(task, seeded()), task, examples, weights, batches=slip, lr=0.3)
        assert (other - expected).norm() > 1e-3 * expected.norm()


def test_one_step_of_logistic_regression_known_answer() -> None:
    # By hand, at probability 1/2 for both records: gradients (p - y) x = (-1, -2) / 2 and
    # (3, 0) / 2, of the bias -1/2 and 1/2. Their mean is (.5, -.5) and 0, so lr .5 moves the
    # weights by (-.25, .25) and 0.
    task = Task(features=2, classes=2)
    examples = Examples(torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([1, 0]))
    trainer = SgdTrainer(
        logistic(task, generator=seeded()),
        task,
        examples,
        client=0,
        batch=2,
        epochs=1,
        lr=0.5,
        stream_for=partial(seeded_keystream, 1),
    )
    assert trainer.fit(torch.zeros(3), round=0).delta.tolist() == pytest.approx([-0.25, 0.25, 0.0])


@each_model
def test_training_repeats_and_does_not_change_weights_and_records(task: Task, build: Build) -> None:
    examples = some_examples(task, 9)
    copy = Examples(examples.features.clone(), examples.labels.clone())
    trainer = SgdTrainer(
        build(task, seeded()),
        task,
        examples,
        client=0,
        batch=2,
        epochs=2,
        lr=0.3,
        stream_for=partial(seeded_keystream, 1),
    )
    weights = vector.to_vector(build(task, seeded(3)))
    before = weights.clone()
    first, other_round, again = (trainer.fit(weights, round=round).delta for round in (0, 1, 0))
    assert torch.equal(first, again)
    assert not torch.equal(first, other_round)
    assert torch.equal(weights, before)
    assert torch.equal(examples.features, copy.features)
    assert torch.equal(examples.labels, copy.labels)


def test_the_stream_is_named_by_purpose_client_and_round() -> None:
    names: list[tuple[str, int, int]] = []

    def stream_for(purpose: str, client: int, round: int) -> Keystream:
        names.append((purpose, client, round))
        return seeded_keystream(1, purpose, client, round)

    task = Task(features=3, classes=2)
    model = logistic(task, generator=seeded())
    trainer = SgdTrainer(
        model,
        task,
        some_examples(task, 5),
        client=4,
        batch=2,
        epochs=2,
        lr=0.1,
        stream_for=stream_for,
    )
    trainer.fit(torch.zeros(4), round=9)
    assert sorted(names) == [("dropout", 4, 9), ("shuffle", 4, 9)]


def test_plain_training_costs_nothing_because_it_claims_nothing() -> None:
    assert SgdTrainer.cost is None


def with_dropout() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 3))


@pytest.mark.parametrize("private", [False, True])
def test_a_model_trains_with_dropout_and_is_evaluated_without(private: bool) -> None:
    task = Task(features=3, classes=3)
    model = with_dropout()
    examples = some_examples(task, 12)
    modes: list[bool] = []  # of the dropout layer, at each batch
    model[1].register_forward_hook(lambda layer, inputs, output: modes.append(layer.training))
    weights = vector.to_vector(model)
    first = predict(model, task, examples.features)
    assert torch.equal(first, predict(model, task, examples.features))
    assert modes == [False, False]
    if private:
        machine = DpSgd(model, task, lr=0.1)
        plan = DpPlan(records=12, batch=12, epochs=1, clip=1.0, noise_multiplier=0.0)
        sampling, noise = seeded_keystream(1, "a"), seeded_keystream(1, "b")
        machine.run(weights, examples, plan, sampling=sampling, noise=noise)
    else:
        trainer = SgdTrainer(
            model,
            task,
            examples,
            client=0,
            batch=4,
            epochs=1,
            lr=0.1,
            stream_for=partial(seeded_keystream, 1),
        )
        trainer.fit(weights, round=0)
    assert set(modes[2:]) == {True}


@pytest.mark.parametrize("options", [USUAL, StepOptions(physical_batch=4)], ids=["whole", "parts"])
def test_a_record_that_is_left_alone_keeps_batch_norm_at_its_statistics(
    options: StepOptions,
) -> None:
    # Five records: batches of 4 and 1, or one batch in parts of 4 and 1.
    task = Task(features=3, classes=2)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    examples = some_examples(task, 5)
    trainer = SgdTrainer(
        model,
        task,
        examples,
        client=0,
        batch=4 if options is USUAL else 5,
        epochs=1,
        lr=0.1,
        stream_for=lambda purpose, client, round: seeded_keystream(1, purpose),
        options=options,
    )
    start = vector.to_vector(model)
    after = start + trainer.fit(start, round=0).delta
    # torch's momentum of .1, once, from a mean of zero: the last record moved nothing.
    size = 4 if options is USUAL else 5
    stream = seeded_keystream(1, "shuffle")
    first = next(iter(shuffled_batches(5, batch=size, stream=stream)))[:4]
    vector.load_vector(model, start)
    mean = model[0](examples.features[first]).mean(dim=0)
    place = vector.statistics(model).start
    assert torch.allclose(after[place : place + 4], 0.1 * mean, atol=1e-6)


def test_a_site_of_one_record_trains_a_model_with_batch_norm() -> None:
    task = Task(features=3, classes=2)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    trainer = SgdTrainer(
        model,
        task,
        some_examples(task, 1),
        client=0,
        batch=4,
        epochs=1,
        lr=0.1,
        stream_for=lambda purpose, client, round: seeded_keystream(1, purpose),
    )
    delta = trainer.fit(vector.to_vector(model), round=0).delta
    assert bool((delta != 0).any())
    assert delta[vector.statistics(model).start :].tolist() == [0] * 8
