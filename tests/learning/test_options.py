"""How steps are taken: optimizers, schedules, class weights.

Each known answer is computed by hand from the optimizer's paper. DP-Adam's noise is measured as
DP-SGD's is, and the test is shown able to fail.
"""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor, nn

from securefl import vector
from securefl.data.task import Examples, Task
from securefl.learning import options
from securefl.learning.dp_sgd import DpSgd, DpSgdTrainer, KeystreamDPOptimizer
from securefl.learning.models.linear import logistic
from securefl.learning.options import USUAL, StepOptions, weighted_loss
from securefl.learning.plan import DpPlan
from securefl.rng import seeded_keystream
from tests.learning.steps import (
    BINARY,
    SEVERAL,
    THREE,
    close,
    delta_of,
    noisy,
    plain,
    seeded,
    some_examples,
    whole,
)

FALSE_ALARM = 1e-6

# --- optimizers and schedules


Take = Callable[[list[float], list[float]], list[float]]
LR, DECAY, MOMENTUM = 0.1, 0.3, 0.6


def by_hand_momentum(weights: list[float], gradients: list[float]) -> list[float]:
    velocity, w = 0.0, weights[0]
    path = []
    for gradient in gradients:
        velocity = MOMENTUM * velocity + gradient + DECAY * w
        w -= LR * velocity
        path.append(w)
    return path


def by_hand_adam(weights: list[float], gradients: list[float], *, apart: bool) -> list[float]:
    first, second, w = 0.0, 0.0, weights[0]
    path = []
    for t, given in enumerate(gradients, start=1):
        gradient = given if apart else given + DECAY * w
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        if apart:
            w -= LR * DECAY * w
        w -= LR * (first / (1 - 0.9**t)) / (math.sqrt(second / (1 - 0.999**t)) + 1e-8)
        path.append(w)
    return path


OPTIMIZERS: dict[str, tuple[options.MakeOptimizer, Take]] = {
    "sgd": (
        partial(options.sgd, momentum=MOMENTUM, weight_decay=DECAY),
        by_hand_momentum,
    ),
    "adam": (partial(options.adam, weight_decay=DECAY), partial(by_hand_adam, apart=False)),
    "adamw": (partial(options.adamw, weight_decay=DECAY), partial(by_hand_adam, apart=True)),
}
each_optimizer = pytest.mark.parametrize(
    ("make", "by_hand"), OPTIMIZERS.values(), ids=OPTIMIZERS.keys()
)


@each_optimizer
def test_an_optimizer_known_answer(make: options.MakeOptimizer, by_hand: Take) -> None:
    gradients = [0.5, -2.0, 0.25]
    weight = nn.Parameter(torch.tensor([1.5]))
    optimizer = make([weight], LR)
    path = []
    for gradient in gradients:
        weight.grad = torch.tensor([gradient])
        optimizer.step()
        path.append(weight.item())
    assert path == pytest.approx(by_hand([1.5], gradients), rel=1e-5)


def slope(task: Task, weights: Tensor, examples: Examples) -> Tensor:
    """The gradient (d,) of the mean loss of a logistic model at these weights."""
    model = logistic(task, generator=seeded())
    vector.load_vector(model, weights)
    loss = task.loss(model(examples.features), examples.labels)
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])


@pytest.mark.parametrize("private", [False, True])
@each_optimizer
def test_both_ways_of_training_hand_the_mean_gradient_to_the_optimizer(
    make: options.MakeOptimizer, by_hand: Take, private: bool
) -> None:
    """Coordinate by coordinate, with gradients that are taken at the weights of each step."""
    examples = some_examples(BINARY, 6)
    start = torch.tensor([0.3, -0.2, 0.1, 0.5])
    weights = start
    gradients: list[list[float]] = [[], [], [], []]
    for _ in range(3):
        for place, gradient in enumerate(slope(BINARY, weights, examples).tolist()):
            gradients[place].append(gradient)
        columns = zip(start.tolist(), gradients, strict=True)
        weights = torch.tensor([by_hand([w], seen)[-1] for w, seen in columns])
    delta = delta_of(StepOptions(optimizer=make), start, examples, private=private, lr=LR)
    torch.testing.assert_close(delta, weights - start, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("private", [False, True])
@each_optimizer
def test_an_optimizer_starts_afresh_each_round(
    make: options.MakeOptimizer, by_hand: Take, private: bool
) -> None:
    examples, start = some_examples(BINARY, 6), torch.zeros(4)
    model, how = logistic(BINARY, generator=seeded()), StepOptions(optimizer=make)
    if private:
        machine = DpSgd(model, BINARY, lr=LR, options=how)
        deltas = [noisy(machine, start, examples, whole(6, steps=3)) for _ in range(2)]
    else:
        trainer = plain(model, BINARY, examples, how, epochs=3)
        deltas = [trainer.fit(start, round=0).delta for _ in range(2)]
    assert torch.equal(*deltas)


def test_a_schedule_known_answer() -> None:
    assert [options.constant(round) for round in (0, 7)] == [1.0, 1.0]
    assert [options.cosine(round, rounds=4) for round in range(4)] == pytest.approx(
        [1.0, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2]
    )
    step = partial(options.step, step_every=3, step_factor=0.1)
    assert [step(round) for round in range(7)] == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.01])
    at = partial(options.step, step_at=(2, 3), step_factor=0.1)
    assert [at(round) for round in range(5)] == pytest.approx([1, 1, 0.1, 0.01, 0.01])
    # The last round still learns.
    assert options.cosine(19, rounds=20) > 0.005


@pytest.mark.parametrize("private", [False, True])
def test_the_round_decides_the_learning_rate(private: bool) -> None:
    examples, start = some_examples(BINARY, 6), torch.zeros(4)
    how = StepOptions(schedule=partial(options.step, step_every=2, step_factor=0.5))
    first = -0.2 * slope(BINARY, start, examples)
    for round, factor in ((1, 1.0), (2, 0.5), (5, 0.25)):
        model = logistic(BINARY, generator=seeded())
        if private:
            machine = DpSgd(model, BINARY, lr=0.2, options=how)
            trainer = DpSgdTrainer(
                machine, examples, whole(6), client=0, stream_for=partial(seeded_keystream, 1)
            )
            delta = trainer.fit(start, round=round).delta
        else:
            delta = plain(model, BINARY, examples, how, lr=0.2).fit(start, round=round).delta
        close(delta, factor * first)


# --- the noise of DP-Adam


def variance_is_right(draws: Tensor, *, std: float) -> bool:
    """Whether zero-mean normal draws have this deviation, by the chi-square of their squares."""
    statistic = float((draws.double() / std).square().sum())
    size = draws.numel()
    lowest, highest = chi2.ppf(FALSE_ALARM / 2, size), chi2.isf(FALSE_ALARM / 2, size)
    return float(lowest) < statistic < float(highest)


@pytest.mark.parametrize("make", [options.adam, partial(options.adamw, weight_decay=0.5)])
def test_adam_gets_the_gradient_with_all_its_noise(
    make: options.MakeOptimizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without records, the gradient that enters Adam is clip x noise / normaliser and nothing else.
    task = Task(features=4000, classes=2)
    plan = DpPlan(records=100, batch=20, epochs=1, clip=0.25, noise_multiplier=1.7)
    entered: list[Tensor] = []
    step = torch.optim.Adam.step

    def watched(self: torch.optim.Adam) -> None:
        (group,) = self.param_groups
        entered.append(torch.cat([p.grad.flatten() for p in group["params"]]))
        step(self)

    monkeypatch.setattr(torch.optim.Adam, "step", watched)
    model = logistic(task, generator=seeded())
    machine = DpSgd(model, task, lr=0.01, options=StepOptions(optimizer=make))
    start = torch.full((4001,), 3.0)
    no_records = Examples(torch.zeros(0, 4000), torch.zeros(0, dtype=torch.int64))
    delta = noisy(machine, start, no_records, plan)
    assert len(entered) == plan.steps == 5
    noise = torch.stack(entered) * plan.normaliser / plan.clip
    assert variance_is_right(noise, std=1.7)
    assert not variance_is_right(noise, std=0.95 * 1.7)
    assert not variance_is_right(noise, std=1.05 * 1.7)
    # The first step of Adam is lr x the sign, whatever the noise's size; no step is above 3.2 lr.
    assert 0 < float(delta.abs().max()) < 5 * 0.01 * (3.2 + 0.5 * 3.0)


@pytest.mark.parametrize(
    "make",
    [
        partial(options.sgd, weight_decay=0.7),
        partial(options.adam, weight_decay=0.7),
        partial(options.adamw, weight_decay=0.7),
    ],
)
def test_weight_decay_does_not_enter_the_gradients_that_are_clipped(
    make: options.MakeOptimizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large weights would fill the clip, and leave no room for the records."""
    sums: list[Tensor] = []
    add_noise = KeystreamDPOptimizer.add_noise

    def watched(self: KeystreamDPOptimizer) -> None:
        sums.append(torch.cat([p.summed_grad.flatten() for p in self.params]))
        add_noise(self)

    monkeypatch.setattr(KeystreamDPOptimizer, "add_noise", watched)
    examples = some_examples(THREE, 5)
    start = torch.full((15,), 4.0)
    for how in (USUAL, StepOptions(optimizer=make)):
        machine = DpSgd(logistic(THREE, generator=seeded()), THREE, lr=0.1, options=how)
        noisy(machine, start, examples, whole(5, clip=0.5))
    assert torch.equal(*sums)


# --- class weights


def test_class_weights_scale_the_loss_of_each_record_and_not_the_divisor() -> None:
    # By hand: a logit of 0 costs ln 2 whatever the label; with weights 2 and 5 two records of class
    # 0 and one of class 1 cost (2 + 2 + 5) / 3 of it. Over the sum of weights it would be ln 2.
    weights = torch.tensor([2.0, 5.0])
    loss = weighted_loss(BINARY, weights, torch.zeros(3, 1), torch.tensor([0, 0, 1]))
    assert float(loss) == pytest.approx(3 * math.log(2))


def test_class_weights_of_three_classes_known_answer() -> None:
    # By hand: logits of 0 cost ln 3; records of classes 0, 2, 2 with weights .5, 1, 4.
    weights = torch.tensor([0.5, 1.0, 4.0])
    loss = weighted_loss(THREE, weights, torch.zeros(3, 3), torch.tensor([0, 2, 2]))
    assert float(loss) == pytest.approx(8.5 / 3 * math.log(3))


def test_class_weights_of_several_labels_count_where_a_record_has_the_label() -> None:
    # By hand: each of 2 x 3 labels costs ln 2. Weights .5, 1, 4 count for the labels that are
    # there: (.5 + 1 + 1) + (1 + 1 + 4) = 8.5 of 6.
    weights = torch.tensor([0.5, 1.0, 4.0])
    labels = torch.tensor([[1, 0, 0], [0, 0, 1]])
    loss = weighted_loss(SEVERAL, weights, torch.zeros(2, 3), labels)
    assert float(loss) == pytest.approx(8.5 / 6 * math.log(2))


@pytest.mark.parametrize("task", [BINARY, THREE, SEVERAL])
@pytest.mark.parametrize("private", [False, True])
def test_class_weights_of_one_change_nothing_and_others_do(task: Task, private: bool) -> None:
    examples = some_examples(task, 9)
    start = vector.to_vector(logistic(task, generator=seeded()))

    def delta(class_weights: tuple[float, ...] | None) -> Tensor:
        how, model = StepOptions(class_weights=class_weights), logistic(task, generator=seeded())
        if private:
            return noisy(DpSgd(model, task, lr=0.5, options=how), start, examples, whole(9))
        return (
            plain(logistic(task, generator=seeded()), task, examples, how).fit(start, round=0).delta
        )

    ones = (1.0,) * task.classes
    close(delta(ones), delta(None))
    assert float((delta((*ones[:-1], 3.0)) - delta(None)).norm()) > 0.01


def weighted_mean_of_single_gradients(
    task: Task, examples: Examples, weights: list[float], *, clip: float
) -> Tensor:
    """The oracle: one example at a time, weighted, then clipped, then averaged."""
    start = torch.zeros(task.features + 1)
    total = torch.zeros_like(start)
    for record, label in enumerate(examples.labels.tolist()):
        single = Examples(
            examples.features[record : record + 1], examples.labels[record : record + 1]
        )
        gradient = weights[label] * slope(task, start, single)
        total += gradient * min(1.0, clip / (float(gradient.norm()) + 1e-6))
    return total / len(examples)


@pytest.mark.parametrize("clip", [0.2, 1e4])
def test_class_weights_scale_a_gradient_before_it_is_clipped(clip: float) -> None:
    examples, weights = some_examples(BINARY, 8), [0.25, 40.0]
    how = StepOptions(class_weights=tuple(weights))
    machine = DpSgd(logistic(BINARY, generator=seeded()), BINARY, lr=1.0, options=how)
    delta = noisy(machine, torch.zeros(4), examples, whole(8, clip=clip))
    expected = weighted_mean_of_single_gradients(BINARY, examples, weights, clip=clip)
    close(delta, -expected)


@pytest.mark.parametrize("task", [BINARY, THREE, SEVERAL])
@pytest.mark.parametrize("weight", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("physical", [None, 2])
def test_under_class_weights_one_record_moves_the_sum_by_at_most_the_clip(
    task: Task, weight: float, physical: int | None
) -> None:
    how = StepOptions(class_weights=(weight,) * task.classes, physical_batch=physical)
    clip = 0.5
    machine = DpSgd(logistic(task, generator=seeded()), task, lr=1.0, options=how)
    start = torch.zeros(len(vector.to_vector(machine.module)))
    examples = some_examples(task, 7)
    plan = whole(7, clip=clip)
    every = -7 * noisy(machine, start, examples, plan)
    for place in range(7):
        kept = [record for record in range(7) if record != place]
        others = Examples(examples.features[kept], examples.labels[kept])
        moved = every - -7 * noisy(machine, start, others, plan)
        assert float(moved.norm()) <= clip * (1 + 1e-5)
        assert weight < 1 or float(moved.norm()) > 0.1 * clip
