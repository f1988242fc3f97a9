"""Local DP-SGD: clipping one example at a time, noise of the right size, and random batches.

The oracle of clipping is a hand-written loop over single examples. Statistical tests of the noise
and of the batches are shown able to fail: a scale or rate that is 10 % wrong is caught.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations, islice, pairwise

import pytest
import torch
from scipy.stats import binom, chi2
from torch import Tensor, nn

from securefl import vector
from securefl.data.task import Examples, Task
from securefl.learning import dp_sgd
from securefl.learning.dp_sgd import DpSgd, DpSgdTrainer
from securefl.learning.models.images import cnn
from securefl.learning.models.linear import logistic, mlp
from securefl.learning.plan import DpPlan
from securefl.learning.protocol import Trained
from securefl.learning.sampling import poisson_batches
from securefl.privacy.events import SampledGaussian
from securefl.privacy.noise.gaussian import hardened_normal
from securefl.rng import Keystream, seeded_keystream

FALSE_ALARM = 1e-6  # share of seeds for which a right mechanism fails a statistical test

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
    "cnn": (
        Task(features=108, classes=3, image=(3, 6, 6)),
        lambda task, generator: cnn(task, channels=(4, 4), generator=generator),
    ),
    "3-D cnn": (
        Task(features=64, classes=2, image=(1, 4, 4, 4)),
        lambda task, generator: cnn(task, channels=(4,), generator=generator),
    ),
}
each_model = pytest.mark.parametrize(("task", "build"), MODELS.values(), ids=MODELS.keys())


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_examples(task: Task, records: int, *, seed: int = 2) -> Examples:
    generator = seeded(seed)
    features = torch.randn(records, *(task.image or (task.features,)), generator=generator)
    return Examples(features, torch.randint(task.classes, (records,), generator=generator))


def run(
    machine: DpSgd,
    weights: Tensor,
    examples: Examples,
    plan: DpPlan,
    *,
    sampling: int = 1,
    noise: int = 1,
) -> Trained:
    return machine.run(
        weights,
        examples,
        plan,
        sampling=seeded_keystream(sampling, "poisson"),
        noise=seeded_keystream(noise, "noise"),
    )


def clipped_sum(
    model: nn.Module, task: Task, examples: Examples, chosen: list[int], *, clip: float
) -> Tensor:
    """The sum (d,) of the gradients, taken and clipped one example at a time.

    The factor of a gradient is Opacus' clip / (norm + 1e-6).
    """
    total = torch.zeros_like(vector.to_vector(model))
    for record in chosen:
        logits = model(examples.features[record : record + 1])
        loss = task.loss(logits, examples.labels[record : record + 1])
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        gradient = torch.cat([part.reshape(-1) for part in gradients])
        total += gradient * min(1.0, clip / (float(gradient.norm()) + 1e-6))
    return total


def oracle(
    model: nn.Module, task: Task, examples: Examples, weights: Tensor, plan: DpPlan, *, lr: float
) -> Tensor:
    """The change that a plan makes to weights without noise, with the batches of `run`."""
    current = weights.clone()
    stream = seeded_keystream(1, "poisson")
    for chosen in poisson_batches(
        len(examples), sample_rate=plan.sample_rate, steps=plan.steps, stream=stream
    ):
        vector.load_vector(model, current)
        total = clipped_sum(model, task, examples, chosen.tolist(), clip=plan.clip)
        current -= lr * total / plan.normaliser
    return current - weights


def variance_is_right(draws: Tensor, *, std: float) -> bool:
    """Whether zero-mean normal draws have this deviation.

    The sum of squares over std^2 is chi-square with one degree of freedom a draw.
    """
    size = draws.numel()
    statistic = float((draws.double() / std).square().sum())
    lowest = float(chi2.ppf(FALSE_ALARM / 2, size))
    highest = float(chi2.isf(FALSE_ALARM / 2, size))
    return lowest < statistic < highest


# --- the plan


@pytest.mark.parametrize(
    ("records", "batch", "epochs", "rate", "steps", "normaliser"),
    [
        (500, 32, 1, 0.064, 16, 32),
        (200, 32, 1, 0.16, 7, 32),
        (86, 32, 3, 32 / 86, 9, 32),
        (33, 32, 3, 32 / 33, 6, 32),
        (32, 32, 2, 1.0, 2, 32),
        (31, 32, 2, 1.0, 2, 31),
        (1, 1, 1, 1.0, 1, 1),
        (10**17 + 1, 10, 1, 1e-16, 10**16 + 1, 10),
    ],
)
def test_a_plan_known_answer(
    records: int, batch: int, epochs: int, rate: float, steps: int, normaliser: int
) -> None:
    plan = DpPlan(records=records, batch=batch, epochs=epochs, clip=1.5, noise_multiplier=0.7)
    assert plan.sample_rate == pytest.approx(rate, rel=1e-15)
    assert (plan.steps, plan.normaliser) == (steps, normaliser)
    assert plan.cost == SampledGaussian(plan.sample_rate, 0.7, steps)


# --- random batches


def sizes_are_binomial(sizes: Tensor, *, records: int, rate: float) -> bool:
    """Whether sizes have binomial mean and variance, each within 4.9 standard errors."""
    moments = binom.stats(records, rate, moments="mvsk")
    mean, variance, _, excess = (float(moment) for moment in moments)
    steps = sizes.numel()
    sizes = sizes.double()
    mean_is_right = abs(float(sizes.mean()) - mean) < 4.9 * math.sqrt(variance / steps)
    spread = float((sizes - mean).square().sum()) / variance
    return mean_is_right and abs(spread - steps) < 4.9 * math.sqrt(steps * (2 + excess))


def test_batch_sizes_are_binomial() -> None:
    batches = list(
        poisson_batches(200, sample_rate=0.1, steps=3000, stream=seeded_keystream(1, "poisson"))
    )
    sizes = torch.tensor([len(chosen) for chosen in batches])
    assert len(batches) == 3000
    assert sizes_are_binomial(sizes, records=200, rate=0.1)


def test_the_batch_size_test_catches_wrong_rates_and_fixed_sizes() -> None:
    for rate in (0.09, 0.11):
        batches = poisson_batches(
            200, sample_rate=rate, steps=3000, stream=seeded_keystream(1, "poisson")
        )
        assert not sizes_are_binomial(
            torch.tensor([len(b) for b in batches]), records=200, rate=0.1
        )
    assert not sizes_are_binomial(torch.full((3000,), 20), records=200, rate=0.1)


def test_every_record_is_drawn_equally_often_and_at_most_once_a_batch() -> None:
    batches = list(
        poisson_batches(200, sample_rate=0.1, steps=3000, stream=seeded_keystream(1, "poisson"))
    )
    assert all(len(set(chosen.tolist())) == len(chosen) for chosen in batches)
    counts = torch.bincount(torch.cat(batches), minlength=200)
    assert counts.numel() == 200
    # 5.6 deviations: a false alarm of 1e-6 over all 200 records, rounded up.
    assert float((counts - 300).abs().max()) < 5.6 * math.sqrt(300 * 0.9)
    assert sizes_are_binomial(counts, records=3000, rate=0.1)


def test_batches_of_two_steps_are_independent() -> None:
    # About 1 in 100 pairs of coins of the same record in two steps in a row are both heads.
    batches = list(
        poisson_batches(200, sample_rate=0.1, steps=3000, stream=seeded_keystream(2, "poisson"))
    )
    drawn_twice = sum(
        len(set(batch.tolist()) & set(following.tolist())) for batch, following in pairwise(batches)
    )
    pairs = 200 * 2999
    assert abs(drawn_twice - 0.01 * pairs) < 4.9 * math.sqrt(pairs * 0.01)


def test_rate_one_draws_every_record_and_a_site_without_records_has_empty_batches() -> None:
    whole = list(
        poisson_batches(5, sample_rate=1.0, steps=2, stream=seeded_keystream(1, "poisson"))
    )
    assert [chosen.tolist() for chosen in whole] == [[0, 1, 2, 3, 4]] * 2
    empty = list(
        poisson_batches(0, sample_rate=0.5, steps=3, stream=seeded_keystream(1, "poisson"))
    )
    assert [chosen.tolist() for chosen in empty] == [[], [], []]


# --- clipping


@each_model
@pytest.mark.parametrize("clip", [0.05, 1.0, 1e3])
def test_without_noise_dp_sgd_is_a_loop_that_clips_single_examples(
    task: Task, build: Build, clip: float
) -> None:
    examples = some_examples(task, 23)
    weights = vector.to_vector(build(task, seeded(3))) + 0.1
    plan = DpPlan(records=23, batch=6, epochs=2, clip=clip, noise_multiplier=0.0)
    delta, spent = run(DpSgd(build(task, seeded()), task, lr=0.3), weights, examples, plan)
    expected = oracle(build(task, seeded()), task, examples, weights, plan, lr=0.3)
    torch.testing.assert_close(delta, expected, rtol=1e-4, atol=1e-5 * min(clip, 1.0))
    assert spent == plan.cost == SampledGaussian(6 / 23, 0.0, 8)


def test_the_memory_layout_of_images_does_not_change_their_clipping() -> None:
    task, build = MODELS["cnn"]
    channels_first = some_examples(task, 9)
    channels_last = Examples(
        channels_first.features.to(memory_format=torch.channels_last), channels_first.labels
    )
    plan = DpPlan(records=9, batch=9, epochs=1, clip=0.05, noise_multiplier=0.0)
    machine = DpSgd(build(task, seeded()), task, lr=0.3)
    weights = vector.to_vector(build(task, seeded(3))) + 0.1
    torch.testing.assert_close(
        run(machine, weights, channels_last, plan).delta,
        run(machine, weights, channels_first, plan).delta,
    )


def test_the_clip_factor_is_the_clip_over_the_norm_plus_a_millionth() -> None:
    # At label 0 the gradient of the bias is sigmoid(-12) = 6.144e-6, that of the weight 0. With
    # clip 2e-6 the factor is 2 / 7.144; without the millionth it would be 2 / 6.144.
    task = Task(features=1, classes=2)
    examples = Examples(torch.zeros(1, 1), torch.tensor([0]))
    plan = DpPlan(records=1, batch=1, epochs=1, clip=2e-6, noise_multiplier=0.0)
    weights = torch.tensor([0.0, -12.0])
    machine = DpSgd(logistic(task, generator=seeded()), task, lr=1e4)
    gradient = 1 / (1 + math.exp(12))
    delta = run(machine, weights, examples, plan).delta
    assert delta.tolist() == pytest.approx(
        [0.0, -1e4 * gradient * 2e-6 / (gradient + 1e-6)], rel=1e-3
    )


def test_a_trainer_on_another_machine_leaves_the_first_one_as_it_was() -> None:
    task = Task(features=2, classes=2)
    examples = some_examples(task, 8)
    plan = DpPlan(records=8, batch=4, epochs=1, clip=1.0, noise_multiplier=1.0)
    slow, fast = (DpSgd(logistic(task, generator=seeded()), task, lr=lr) for lr in (0.25, 0.5))
    streams = partial(seeded_keystream, 3)
    trainer = DpSgdTrainer(slow, examples, plan, client=4, stream_for=streams)
    weights = torch.zeros(3)
    before = trainer.fit(weights, round=0).delta
    expected = DpSgdTrainer(fast, examples, plan, client=4, stream_for=streams)
    faster = trainer.on(fast).fit(weights, round=0).delta
    assert torch.equal(faster, expected.fit(weights, round=0).delta)
    assert not torch.equal(faster, before)
    assert torch.equal(trainer.fit(weights, round=0).delta, before)


def test_one_clipped_step_known_answer() -> None:
    # By hand, at probability 1/2, the bias last. Record (3, 4) with label 1: gradient
    # -(1.5, 2, .5), norm sqrt(6.5). Record (0, 0) with label 0: (0, 0, .5), norm .5 < 1, not
    # clipped. Clip 1, expected batch 2, lr .5.
    task = Task(features=2, classes=2)
    examples = Examples(torch.tensor([[3.0, 4.0], [0.0, 0.0]]), torch.tensor([1, 0]))
    plan = DpPlan(records=2, batch=2, epochs=1, clip=1.0, noise_multiplier=0.0)
    machine = DpSgd(logistic(task, generator=seeded()), task, lr=0.5)
    delta = run(machine, torch.zeros(3), examples, plan).delta
    norm = math.sqrt(6.5)
    expected = [0.25 * 1.5 / norm, 0.25 * 2 / norm, 0.25 * (0.5 / norm - 0.5)]
    assert delta.tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("sampling", range(6))
def test_the_sum_is_divided_by_the_expected_batch_not_the_real_one(sampling: int) -> None:
    # Every gradient is (0, -.5) at label 1 and feature 0, so the delta counts the batch, in units
    # of lr x .5 / 10.
    task = Task(features=1, classes=2)
    examples = Examples(torch.zeros(60, 1), torch.ones(60, dtype=torch.int64))
    plan = DpPlan(records=10, batch=10, epochs=1, clip=1.0, noise_multiplier=0.0)
    machine = DpSgd(logistic(task, generator=seeded()), task, lr=0.2)
    # 10 records are declared and 60 are there: at rate 1 all 60 are drawn.
    whole = run(machine, torch.zeros(2), examples, plan).delta
    assert whole.tolist() == pytest.approx([0.0, 0.2 * 0.5 * 60 / 10])
    plan = DpPlan(records=20, batch=19, epochs=1, clip=1.0, noise_multiplier=0.0)
    first, second = poisson_batches(
        60, sample_rate=plan.sample_rate, steps=2, stream=seeded_keystream(sampling, "poisson")
    )
    delta = run(machine, torch.zeros(2), examples, plan, sampling=sampling).delta[1].item()
    first_step = 0.2 * 0.5 * len(first) / 19
    second_step = 0.2 / (1 + math.exp(first_step)) * len(second) / 19
    assert delta == pytest.approx(first_step + second_step, rel=1e-4)


def test_the_real_number_of_records_does_not_change_the_cost() -> None:
    task = Task(features=3, classes=2)
    plan = DpPlan(records=40, batch=8, epochs=1, clip=1.0, noise_multiplier=1.0)
    machine = DpSgd(logistic(task, generator=seeded()), task, lr=0.3)
    spent = {
        run(machine, torch.zeros(4), some_examples(task, real), plan).spent
        for real in (0, 1, 39, 40, 200)
    }
    assert spent == {SampledGaussian(0.2, 1.0, 5)}


ADVERSARIAL = [1e3, 1e18, 1e19, 1e20, 1e30, -1e30, 3e38, math.inf, -math.inf, math.nan]


@each_model
@pytest.mark.parametrize("value", ADVERSARIAL)
@pytest.mark.parametrize("scale", [1.0, 1e10])
def test_one_record_moves_the_clipped_sum_by_at_most_the_clip(
    task: Task, build: Build, value: float, scale: float
) -> None:
    machine = DpSgd(build(task, seeded()), task, lr=1.0)
    weights = scale * (vector.to_vector(build(task, seeded(3))) + 0.1)
    honest = some_examples(task, 7)
    clip = 0.5
    plan = DpPlan(records=8, batch=8, epochs=1, clip=clip, noise_multiplier=0.0)

    def summed(examples: Examples) -> Tensor:
        # Large weights would swallow the step, so the sum is read from the gradient itself.
        run(machine, weights, examples, plan)
        gradient = torch.cat([p.grad.reshape(-1) for p in machine.module.parameters()])
        return -gradient.double() * plan.normaliser

    without = summed(honest)
    for place in (0, 3, 7):
        row = torch.full((1, *(task.image or (task.features,))), value)
        row[0, -1] = 1.0  # group norm would scale a constant record away
        features = torch.cat([honest.features[:place], row, honest.features[place:]])
        labels = torch.cat([honest.labels[:place], torch.tensor([1]), honest.labels[place:]])
        moved = summed(Examples(features, labels)) - without
        assert torch.isfinite(moved).all()
        assert float(moved.norm()) <= clip * (1 + 1e-5)


def test_a_record_that_is_not_finite_counts_as_zero_and_the_others_count_in_full() -> None:
    task = Task(features=3, classes=2)
    machine = DpSgd(logistic(task, generator=seeded()), task, lr=1.0)
    honest = some_examples(task, 6)
    bad = Examples(
        torch.cat([honest.features, torch.full((2, 3), math.nan)]),
        torch.cat([honest.labels, torch.tensor([0, 1])]),
    )
    plan = DpPlan(records=8, batch=8, epochs=1, clip=1.0, noise_multiplier=0.0)
    expected = run(machine, torch.zeros(4), honest, plan).delta
    assert float(expected.norm()) > 0.1
    torch.testing.assert_close(
        run(machine, torch.zeros(4), bad, plan).delta, expected, rtol=1e-5, atol=1e-7
    )


# --- the noise


NO_RECORDS = Examples(torch.zeros(0, 4000), torch.zeros(0, dtype=torch.int64))
WIDE = Task(features=4000, classes=2)


@pytest.mark.parametrize(
    "plan",
    [
        DpPlan(records=1, batch=1, epochs=1, clip=1.0, noise_multiplier=1.0),
        DpPlan(records=100, batch=20, epochs=3, clip=0.25, noise_multiplier=1.7),
        DpPlan(records=7, batch=7, epochs=4, clip=8.0, noise_multiplier=0.3),
    ],
)
def test_noise_arrives_with_variance_steps_times_multiplier_squared(plan: DpPlan) -> None:
    # Without records every gradient is zero: delta = -lr / normaliser x clip x the sum of noises.
    machine = DpSgd(logistic(WIDE, generator=seeded()), WIDE, lr=0.3)
    delta, spent = run(machine, torch.zeros(4001), NO_RECORDS, plan)
    noise = delta / 0.3 * plan.normaliser / plan.clip
    std = plan.noise_multiplier * math.sqrt(plan.steps)
    assert variance_is_right(noise, std=std)
    assert not variance_is_right(noise, std=0.9 * std)
    assert not variance_is_right(noise, std=1.1 * std)
    assert abs(float(noise.mean())) < 4.9 * std / math.sqrt(noise.numel())
    assert spent == plan.cost


def test_noise_is_drawn_from_the_stream_in_the_order_of_the_parameters() -> None:
    task, build = MODELS["mlp"]
    model = build(task, seeded())
    sizes = [p.numel() for p in model.parameters()]
    plan = DpPlan(records=6, batch=3, epochs=1, clip=0.5, noise_multiplier=2.0)
    no_records = Examples(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    delta = run(
        DpSgd(model, task, lr=0.3), torch.zeros(sum(sizes)), no_records, plan, noise=9
    ).delta
    stream = seeded_keystream(9, "noise")
    steps = [
        torch.cat([torch.from_numpy(hardened_normal(size, stream)) for size in sizes])
        for _ in range(2)
    ]
    expected = -0.3 / 3 * 0.5 * 2.0 * (steps[0] + steps[1])
    torch.testing.assert_close(delta.double(), expected, rtol=1e-5, atol=1e-7)


def test_noise_is_added_to_the_clipped_sum() -> None:
    task, build = MODELS["mlp"]
    machine = DpSgd(build(task, seeded()), task, lr=0.3)
    examples = some_examples(task, 8)
    weights = vector.to_vector(build(task, seeded(3)))
    plans = [
        DpPlan(records=8, batch=8, epochs=1, clip=1.0, noise_multiplier=noise)
        for noise in (0.0, 3.0)
    ]
    clean, noisy = (run(machine, weights, examples, plan).delta for plan in plans)
    no_records = Examples(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    alone = run(machine, weights, no_records, plans[1]).delta
    torch.testing.assert_close(noisy, clean + alone, rtol=1e-4, atol=1e-6)
    assert float(clean.norm()) > 0.01


def test_empty_batches_are_kept_noised_and_counted() -> None:
    # Two records at rate 1/1000: about two of 1000 steps have a record at all.
    task = Task(features=40, classes=2)
    plan = DpPlan(records=1000, batch=1, epochs=1, clip=1.0, noise_multiplier=0.8)
    machine = DpSgd(logistic(task, generator=seeded()), task, lr=0.1)
    examples = some_examples(task, 2)
    stream = seeded_keystream(1, "poisson")
    sizes = [
        len(chosen) for chosen in poisson_batches(2, sample_rate=0.001, steps=1000, stream=stream)
    ]
    assert 990 <= sizes.count(0) < 1000
    delta, spent = run(machine, torch.zeros(41), examples, plan)
    assert spent == plan.cost == SampledGaussian(0.001, 0.8, 1000)
    stream, noise = seeded_keystream(1, "noise"), torch.zeros(41, dtype=torch.float64)
    for _ in range(1000):
        noise += torch.cat([torch.from_numpy(hardened_normal(size, stream)) for size in (40, 1)])
    of_records = delta.double() / -0.1 - 0.8 * noise
    assert 0 < float(of_records.norm()) <= sum(sizes) * 1.001  # at most one clip a drawn record


def test_the_event_counts_the_steps_that_were_noised(monkeypatch: pytest.MonkeyPatch) -> None:
    def two_of_five(
        records: int, *, sample_rate: float, steps: int, stream: Keystream
    ) -> Iterator[Tensor]:
        batches = poisson_batches(records, sample_rate=sample_rate, steps=steps, stream=stream)
        yield from islice(batches, 2)

    monkeypatch.setattr(dp_sgd, "poisson_batches", two_of_five)
    task = Task(features=3, classes=2)
    plan = DpPlan(records=10, batch=2, epochs=1, clip=1.0, noise_multiplier=1.0)
    machine = DpSgd(logistic(task, generator=seeded()), task, lr=0.1)
    spent = run(machine, torch.zeros(4), some_examples(task, 10), plan).spent
    assert spent == SampledGaussian(0.2, 1.0, 2)


# --- one machine, many clients


@each_model
def test_a_shared_machine_carries_nothing_over_from_client_to_client(
    task: Task, build: Build
) -> None:
    weights = vector.to_vector(build(task, seeded(3))) + 0.1
    plans = [
        DpPlan(records=20, batch=5, epochs=1, clip=0.1, noise_multiplier=0.5),
        DpPlan(records=9, batch=3, epochs=2, clip=3.0, noise_multiplier=2.0),
        DpPlan(records=4, batch=9, epochs=1, clip=0.7, noise_multiplier=0.0),
    ]
    sites = [
        some_examples(task, 20, seed=5),
        some_examples(task, 9, seed=6),
        some_examples(task, 4, seed=7),
    ]

    def all_of(order: list[int]) -> dict[int, Trained]:
        machine = DpSgd(build(task, seeded()), task, lr=0.3)
        return {
            i: run(machine, weights + i, sites[i], plans[i], sampling=i, noise=i) for i in order
        }

    first = all_of([0, 1, 2])
    for order in ([2, 1, 0], [1, 0, 2], [0, 0, 1, 1, 2, 2]):
        other = all_of(order)
        for i in range(3):
            assert torch.equal(other[i].delta, first[i].delta)
            assert other[i].spent == first[i].spent == plans[i].cost


@each_model
def test_training_does_not_change_weights_and_records(task: Task, build: Build) -> None:
    examples = some_examples(task, 8)
    weights = vector.to_vector(build(task, seeded(3)))
    copies = (weights.clone(), examples.features.clone(), examples.labels.clone())
    plan = DpPlan(records=8, batch=4, epochs=2, clip=1.0, noise_multiplier=1.0)
    run(DpSgd(build(task, seeded()), task, lr=0.3), weights, examples, plan)
    for tensor, copy in zip((weights, *examples), copies, strict=True):
        assert torch.equal(tensor, copy)
    assert not examples.features.requires_grad


def test_streams_are_named_by_purpose_client_and_round() -> None:
    names: list[tuple[str, int, int]] = []

    def stream_for(purpose: str, client: int, round: int) -> Keystream:
        names.append((purpose, client, round))
        return seeded_keystream(1, purpose, client, round)

    task = Task(features=3, classes=2)
    plan = DpPlan(records=6, batch=2, epochs=1, clip=1.0, noise_multiplier=1.0)
    machine = DpSgd(logistic(task, generator=seeded()), task, lr=0.3)
    examples = some_examples(task, 6)
    trainer = DpSgdTrainer(machine, examples, plan, client=4, stream_for=stream_for)
    delta, spent = trainer.fit(torch.zeros(4), round=9)
    assert sorted(names) == [("dropout", 4, 9), ("noise", 4, 9), ("poisson", 4, 9)]
    assert trainer.cost == spent == plan.cost
    expected = machine.run(
        torch.zeros(4),
        examples,
        plan,
        sampling=seeded_keystream(1, "poisson", 4, 9),
        noise=seeded_keystream(1, "noise", 4, 9),
    )
    assert torch.equal(delta, expected.delta)


def test_clients_and_rounds_draw_uncorrelated_noise() -> None:
    plan = DpPlan(records=1, batch=1, epochs=1, clip=1.0, noise_multiplier=1.0)
    machine = DpSgd(logistic(WIDE, generator=seeded()), WIDE, lr=1.0)
    streams = partial(seeded_keystream, 1)
    noises = []
    for client in (0, 1):
        trainer = DpSgdTrainer(machine, NO_RECORDS, plan, client=client, stream_for=streams)
        noises += [trainer.fit(torch.zeros(4001), round=round).delta.double() for round in (0, 1)]
    for noise, other in combinations(noises, 2):
        assert abs(float((noise * other).mean())) < 4.9 / math.sqrt(4001)


@pytest.mark.parametrize("batch", [1, 15, 16, 17])
def test_what_fills_a_batch_up_is_no_example(batch: int) -> None:
    task = Task(features=5, classes=3)
    machine = DpSgd(mlp(task, hidden=(4,), generator=torch.Generator()), task, lr=1.0)
    drawing = torch.Generator().manual_seed(1)
    features = torch.randn(20, 5, generator=drawing)
    examples = Examples(features, torch.randint(3, (20,), generator=drawing))
    gradients = machine.gradients(examples, torch.arange(batch))
    norms = gradients.norms()
    assert gradients.n == len(norms) == batch
    by_hand = [machine.gradients(examples, torch.tensor([i])) for i in range(batch)]
    torch.testing.assert_close(norms, torch.cat([one.norms() for one in by_hand]))
    # Others that follow, such as an audit's canaries, keep their places behind the filling.
    ones = torch.ones(2, sum(p.numel() for p in machine.trained))
    joined = gradients.joined(machine.by_parameter(ones))
    assert joined.n == len(joined.norms()) == batch + 2
    torch.testing.assert_close(joined.norms()[:batch], norms)
    factors = torch.arange(1.0, batch + 3, dtype=torch.float64)
    expected = sum(
        machine.flat_sum(one, factors[i : i + 1]) for i, one in enumerate(by_hand)
    ) + float(factors[-2:].sum())
    torch.testing.assert_close(machine.flat_sum(joined, factors), expected, rtol=1e-4, atol=1e-4)
