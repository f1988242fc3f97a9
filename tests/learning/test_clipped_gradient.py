"""One clipped-gradient sum a round: each record at most the clip, whichever site holds it.

The oracle of sums is a hand-written loop over single examples, in float64.
"""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from scipy.stats import binom, chi2
from torch import Tensor, nn

from securefl import vector
from securefl.data.task import Examples, Task
from securefl.learning.clipped_gradient import (
    ClippedGradientTrainer,
    ModelSums,
    clipped_gradient_trainers,
    projected,
    sums_of,
)
from securefl.learning.clipping.exact import WholeRows
from securefl.learning.dp_sgd import DpSgd
from securefl.learning.head_sums import HeadSums, Rows, linear_head
from securefl.learning.models.images import cnn
from securefl.learning.models.linear import logistic, mlp
from securefl.learning.models.scattering.features import FixedFeatures, Recipe
from securefl.learning.models.scattering.head import scattering
from securefl.learning.models.scattering.prior import Prior
from securefl.learning.options import StepOptions
from securefl.learning.plan import ROUNDED, DpPlan, LocalTraining, SumPlan
from securefl.privacy.events import DiscreteGaussianSum, SampledGaussian
from securefl.rng import Keystream, seeded_keystream

FALSE_ALARM = 1e-6
TASKS = {
    "two classes": Task(features=6, classes=2),
    "three classes": Task(features=6, classes=3),
    "several labels": Task(features=6, classes=3, multilabel=True),
    "an image": Task(features=12, classes=2, image=(3, 2, 2)),
}
each_task = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())
RECIPE = Recipe(scales=1, angles=2, pooling=1)
STREAMS = partial(seeded_keystream, 5)


def some_examples(task: Task, records: int, *, seed: int = 2) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    if task.image:
        pixels = torch.randint(256, (records, *task.image), generator=generator)
        features = pixels.to(torch.uint8)
    else:
        features = 2 * torch.randn(records, task.features, generator=generator)
    if task.multilabel:
        return Examples(features, torch.randint(2, (records, task.classes), generator=generator))
    return Examples(features, torch.randint(task.classes, (records,), generator=generator))


def some_weights(model: nn.Module) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(vector.size(model), generator=generator)


def loop_sum(
    model: nn.Module, task: Task, examples: Examples, weights: Tensor, *, clip: float
) -> Tensor:
    """The sum (d,) of gradients that are taken and clipped one at a time, in float64."""
    vector.load_vector(model, weights)
    total = torch.zeros(len(weights), dtype=torch.float64)
    for record in range(len(examples)):
        one = slice(record, record + 1)
        loss = task.loss(model(task.inputs(examples.features[one])), examples.labels[one])
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        gradient = torch.cat([part.flatten() for part in gradients]).double()
        total += gradient * min(1.0, clip / (float(gradient.norm()) + 1e-6))
    return total


def training(
    task: Task,
    examples: dict[int, Examples],
    plans: dict[int, DpPlan],
    *,
    model: nn.Module | None = None,
) -> LocalTraining:
    generator = torch.Generator().manual_seed(1)
    return LocalTraining(
        model=logistic(task, generator=generator) if model is None else model,
        task=task,
        examples=examples,
        batch=32,
        epochs=1,
        lr=1.0,
        stream_for=STREAMS,
        plans=plans,
    )


# --- the sums


@each_task
@pytest.mark.parametrize("clip", [0.3, 100.0])
def test_a_linear_model_gives_the_sum_of_clipped_gradients(task: Task, clip: float) -> None:
    model = logistic(task, generator=torch.Generator())
    examples, weights = some_examples(task, 40), some_weights(model)
    expected = loop_sum(model, task, examples, weights, clip=clip)
    heads = HeadSums(model, task, StepOptions())
    prepared = heads.prepared(examples)
    assert isinstance(prepared, Rows)
    in_closed_form = heads.clipped_sum(weights, prepared, None, clip=clip)
    torch.testing.assert_close(in_closed_form, expected, rtol=1e-5, atol=1e-5)
    # Records that are too many to keep are read again each time, with the same result.
    unprepared = heads.clipped_sum(weights, examples, None, clip=clip)
    torch.testing.assert_close(unprepared, in_closed_form, rtol=0, atol=1e-12)


@pytest.mark.parametrize("closed", [True, False], ids=["closed form", "any model"])
def test_one_record_moves_the_sum_of_many_no_further_than_noise_is_sized_for(closed: bool) -> None:
    """Records that point one way round alike, and without the first all others lie elsewhere."""
    task = Task(features=784, classes=2, image=(1, 28, 28))
    drawing = torch.Generator().manual_seed(0)
    records = 4_708
    pixels = torch.randint(256, (records, *task.image), generator=drawing)
    alike = (pixels[:1] + (pixels > 250)).to(torch.uint8)
    examples = Examples(alike, torch.zeros(records, dtype=torch.long))
    model = logistic(task, generator=torch.Generator().manual_seed(1))
    weights = vector.to_vector(model)
    sums: HeadSums | ModelSums = HeadSums(model, task, StepOptions())
    if not closed:
        sums = ModelSums(DpSgd(model, task, lr=1.0))
    prepared = sums.prepared(examples)
    plan = SumPlan.of(records, clip=1.0, rate=None).with_noise(1.0)
    every = sums.clipped_sum(weights, prepared, None, clip=1.0)
    others = sums.clipped_sum(weights, prepared, torch.arange(1, records), clip=1.0)
    first = sums.clipped_sum(weights, prepared, torch.arange(1), clip=1.0)
    assert float((every - others).norm()) <= plan.sensitivity == plan.deviation
    shift = float((every - others - first).norm())
    if closed:  # Nothing but the value of each of the three sums is rounded, in float64.
        assert shift <= 3 * 2.0**-51 * float(every.norm())
    else:  # Besides its own gradient, a record moves the roundings of all others.
        assert 1e-7 < shift <= plan.sensitivity - plan.clip


@pytest.mark.parametrize("shares", [[0.3, 0.7], [0.2, 0.5, 0.3]], ids=["two", "three"])
def test_a_declared_prior_stands_for_the_bias_in_every_gradient(shares: list[float]) -> None:
    task = Task(features=144, classes=len(shares), image=(1, 12, 12))
    model = scattering(task, pooling=1, prior=shares, generator=torch.Generator())
    examples, weights = some_examples(task, 30), some_weights(model)
    heads = HeadSums(model, task, StepOptions())
    found = heads.clipped_sum(weights, heads.prepared(examples), None, clip=0.4)
    expected = loop_sum(model.train(), task, examples, weights, clip=0.4)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    without = loop_sum(model.eval(), task, examples, weights, clip=0.4)
    assert (found - without).norm() > 0.1


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_any_model_gives_the_sum_of_clipped_gradients(name: str) -> None:
    task = Task(features=36, classes=3, image=(1, 6, 6))
    generator = torch.Generator().manual_seed(1)
    if name == "mlp":
        model = mlp(task, hidden=(4,), generator=generator)
    else:
        model = cnn(task, channels=(4, 4), generator=generator)
    examples, weights = some_examples(task, 30), some_weights(model)
    expected = loop_sum(model, task, examples, weights, clip=0.5)
    local = training(task, {0: examples}, {}, model=model)
    options = StepOptions(physical_batch=7)
    for sums in (sums_of(local), sums_of(replace(local, options=options))):
        assert isinstance(sums, ModelSums)
        total = sums.clipped_sum(weights, sums.prepared(examples), None, clip=0.5)
        torch.testing.assert_close(total, expected, rtol=1e-4, atol=1e-5)


@each_task
def test_both_ways_take_class_weights_into_the_gradient_before_it_is_clipped(task: Task) -> None:
    model = logistic(task, generator=torch.Generator())
    options = StepOptions(class_weights=tuple(0.5 + i for i in range(task.classes)))
    examples, weights = some_examples(task, 30), some_weights(model)
    heads = HeadSums(model, task, options)
    others = ModelSums(
        DpSgd(logistic(task, generator=torch.Generator()), task, lr=1.0, options=options)
    )
    chosen = torch.tensor([0, 3, 4, 17, 29])
    one = heads.clipped_sum(weights, heads.prepared(examples), chosen, clip=2.0)
    other = others.clipped_sum(weights, examples, chosen, clip=2.0)
    plain = HeadSums(model, task, StepOptions()).clipped_sum(weights, examples, chosen, clip=2.0)
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(one, plain, atol=1e-3)


def test_blocks_of_records_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    task = TASKS["three classes"]
    model = logistic(task, generator=torch.Generator())
    heads = HeadSums(model, task, StepOptions())
    examples, weights = some_examples(task, 23), some_weights(model)
    whole = heads.clipped_sum(weights, heads.prepared(examples), None, clip=0.5)
    monkeypatch.setattr("securefl.learning.head_sums.NUMBERS_A_BLOCK", 5 * task.features)
    for records in (examples, heads.prepared(examples)):
        blocks = heads.clipped_sum(weights, records, None, clip=0.5)
        torch.testing.assert_close(blocks, whole, rtol=0, atol=1e-6)


def test_no_record_adds_more_than_the_clip_whatever_it_holds() -> None:
    task = TASKS["two classes"]
    model = logistic(task, generator=torch.Generator())
    weights = some_weights(model)
    for extreme in (1e-30, 1.0, 1e6, 1e25, math.inf, math.nan):
        examples = Examples(torch.full((1, 6), extreme), torch.tensor([1]))
        for sums in (
            HeadSums(model, task, StepOptions()),
            ModelSums(DpSgd(logistic(task, generator=torch.Generator()), task, lr=1.0)),
        ):
            total = sums.clipped_sum(weights, sums.prepared(examples), None, clip=0.25)
            assert float(total.norm()) <= 0.25 * (1 + 1e-6)
            if not math.isfinite(extreme):
                assert not total.any()


def test_no_records_have_a_sum_of_zero() -> None:
    task = TASKS["two classes"]
    model = logistic(task, generator=torch.Generator())
    for sums in (
        HeadSums(model, task, StepOptions()),
        ModelSums(DpSgd(logistic(task, generator=torch.Generator()), task, lr=1.0)),
    ):
        nobody = torch.zeros(0, dtype=torch.int64)
        prepared = sums.prepared(some_examples(task, 4))
        assert not sums.clipped_sum(some_weights(model), prepared, nobody, clip=1.0).any()


def frozen(layer: nn.Linear) -> nn.Linear:
    layer.bias.requires_grad_(False)
    return layer


@pytest.mark.parametrize(
    ("model", "is_head"),
    [
        (nn.Linear(4, 2), True),
        (nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), True),
        (nn.Sequential(FixedFeatures(RECIPE), nn.Linear(4, 2)), True),
        (nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)), False),
        (nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 2)), False),
        (nn.Sequential(nn.Linear(4, 2), nn.Flatten()), False),
        (nn.Linear(4, 2, bias=False), True),
        (nn.Sequential(nn.Linear(4, 2, bias=False), Prior([0.1, 0.2])), True),
        (nn.Sequential(Prior([0.1]), nn.Linear(4, 2)), False),
        (frozen(nn.Linear(4, 2)), False),
        (nn.Sequential(), False),
    ],
    ids=[
        "linear",
        "flatten",
        "fixed",
        "two layers",
        "dropout",
        "last",
        "no bias",
        "prior",
        "prior first",
        "frozen",
        "none",
    ],
)
def test_a_linear_head_is_one_linear_layer_that_trains_on_fixed_features(
    model: nn.Module, is_head: bool
) -> None:
    assert (linear_head(model) is not None) is is_head


def test_fixed_features_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    task = Task(features=64, classes=2, image=(1, 8, 8))
    calls = []
    rows = Recipe.rows

    def counted(recipe: Recipe, images: Tensor) -> Tensor:
        calls.append(len(images))
        return rows(recipe, images)

    monkeypatch.setattr(Recipe, "rows", counted)
    model = nn.Sequential(FixedFeatures(RECIPE), nn.Linear(RECIPE.width(1), 1))
    examples = some_examples(task, 9)
    trainer = clipped_gradient_trainers(
        training(task, {0: examples}, {0: SumPlan.of(9, clip=1.0, rate=None)}, model=model)
    )[0]
    weights = some_weights(model)
    deltas = [trainer.fit(weights, round=round).delta for round in range(3)]
    assert calls == [9]
    expected = loop_sum(model, task, examples, weights, clip=1.0) / -9
    torch.testing.assert_close(deltas[2].double(), expected, rtol=1e-5, atol=1e-6)


def test_a_trainer_with_other_sums_prepares_its_records_for_them() -> None:
    task = TASKS["an image"]
    examples = some_examples(task, 9)
    plan = SumPlan.of(9, clip=1.0, rate=None)
    (trainer,) = clipped_gradient_trainers(training(task, {0: examples}, {0: plan})).values()
    assert isinstance(trainer, ClippedGradientTrainer)
    weights = some_weights(logistic(task, generator=torch.Generator()))
    in_closed_form = trainer.fit(weights, round=0).delta
    machine = DpSgd(logistic(task, generator=torch.Generator()), task, lr=1.0)
    other = trainer.with_sums(ModelSums(machine))
    torch.testing.assert_close(other.fit(weights, round=0).delta, in_closed_form)
    # The first one keeps its own.
    assert isinstance(trainer.sums, HeadSums)
    assert torch.equal(trainer.fit(weights, round=1).delta, in_closed_form)


# --- one client


def test_a_plan_of_sums_known_answer() -> None:
    plan = SumPlan.of(40, clip=0.5, rate=0.25)
    assert (plan.sample_rate, plan.steps, plan.normaliser, plan.length) == (0.25, 1, 10.0, 20.0)
    assert SumPlan.of(40, clip=0.5, rate=None).normaliser == 40.0
    noisy = plan.with_noise(3.0)
    assert noisy.cost == SampledGaussian(0.25, 3.0, 1)
    assert noisy.deviation == pytest.approx(1.5 * (1 + 40 * 1.49e-7), rel=1e-9)


def test_a_client_whose_noise_is_not_its_own_adds_none_and_pays_for_the_sum() -> None:
    task = TASKS["two classes"]
    event = DiscreteGaussianSum.of(9.0, 3, sensitivity=1.0, granularity=0.1, dimension=7)
    plan = replace(SumPlan.of(20, clip=1.0, rate=None), noise_multiplier=5.0, release=event)
    silent = SumPlan.of(20, clip=1.0, rate=None)
    examples = some_examples(task, 20)
    one, other = (
        clipped_gradient_trainers(training(task, {0: examples}, {0: each}))[0]
        for each in (plan, silent)
    )
    weights = torch.ones(7)
    assert one.cost == event
    assert one.fit(weights, round=0).spent == event
    assert torch.equal(one.fit(weights, round=0).delta, other.fit(weights, round=0).delta)


@pytest.mark.parametrize("hidden", [(), (3,)], ids=["closed form", "any model"])
def test_where_others_add_the_noise_a_sum_has_room_for_its_roundings(
    hidden: tuple[int, ...],
) -> None:
    task = TASKS["two classes"]
    event = DiscreteGaussianSum.of(9.0, 3, sensitivity=1.0, granularity=0.1, dimension=7)
    own = SumPlan.of(20_000, clip=0.5, rate=None)
    examples = Examples(torch.full((1, 6), 1e6), torch.tensor([1]))
    lengths = []
    for plan in (own, replace(own, release=event)):
        model = mlp(task, hidden=hidden, generator=torch.Generator().manual_seed(2))
        weights = -vector.to_vector(model).abs() if not hidden else vector.to_vector(model)
        local = training(task, {0: examples}, {0: plan}, model=model)
        delta = clipped_gradient_trainers(local)[0].fit(weights, round=0).delta.double()
        lengths.append(float(delta.norm()) * 20_000)
    room = 20_000 * 0.5 * ROUNDED if hidden else 0.0
    assert lengths[0] == pytest.approx(0.5, rel=1e-5)
    assert lengths[0] - lengths[1] == pytest.approx(room, abs=1e-6)


def test_the_sum_is_divided_by_the_declared_number_of_records() -> None:
    task = TASKS["two classes"]
    examples, weights = some_examples(task, 12), torch.ones(7)
    expected = loop_sum(
        logistic(task, generator=torch.Generator()), task, examples, weights, clip=0.5
    )
    for declared in (12, 30):
        plan = SumPlan.of(declared, clip=0.5, rate=None)
        trainer = clipped_gradient_trainers(training(task, {0: examples}, {0: plan}))[0]
        delta = trainer.fit(weights, round=0).delta
        torch.testing.assert_close(delta.double(), -expected / declared, rtol=1e-5, atol=1e-6)


def test_more_records_than_declared_make_no_update_longer_than_the_clip() -> None:
    task = TASKS["two classes"]
    same = Examples(torch.ones(50, 6), torch.ones(50, dtype=torch.int64))
    plan = SumPlan.of(10, clip=0.5, rate=None)
    trainer = clipped_gradient_trainers(training(task, {0: same}, {0: plan}))[0]
    delta = trainer.fit(-torch.ones(7), round=0).delta
    assert float(delta.norm()) == pytest.approx(0.5, rel=1e-6)


def test_a_projection_known_answer() -> None:
    total = torch.tensor([3.0, 4.0], dtype=torch.float64)
    assert torch.equal(projected(total, 5.0), total)
    torch.testing.assert_close(projected(total, 1.0), total / 5)


@pytest.mark.parametrize(("scale", "passes"), [(1.0, True), (1.1, False)])
def test_local_noise_has_the_deviation_of_the_plan(scale: float, passes: bool) -> None:
    task = Task(features=20_000, classes=2)
    examples = Examples(torch.zeros(3, 20_000), torch.zeros(3, dtype=torch.int64))
    plan = SumPlan.of(4, clip=0.5, rate=None).with_noise(2.0 * scale)
    trainer = clipped_gradient_trainers(training(task, {0: examples}, {0: plan}))[0]
    # The features are zeros: all coordinates but that of the bias are noise, 2 x .5 / 4.
    noise = trainer.fit(torch.zeros(20_001), round=0).delta[:-1].double()
    statistic = float((noise / 0.25).square().sum())
    lowest, highest = chi2.ppf(FALSE_ALARM / 2, 20_000), chi2.isf(FALSE_ALARM / 2, 20_000)
    assert bool(lowest < statistic < highest) is passes
    assert trainer.cost == SampledGaussian(1.0, 2.0 * scale, 1)


def test_a_poisson_batch_takes_each_record_by_its_own_coin() -> None:
    # Record i alone has feature i, so that its gradient shows in coordinate i.
    n, rate = 400, 0.3
    task = Task(features=n, classes=2)
    examples = Examples(torch.eye(n), torch.ones(n, dtype=torch.int64))
    plan = SumPlan.of(n, clip=10.0, rate=rate)
    trainer = clipped_gradient_trainers(training(task, {0: examples}, {0: plan}))[0]
    weights = torch.zeros(n + 1)
    drawn = torch.stack([trainer.fit(weights, round=round).delta[:-1] != 0 for round in range(50)])
    number = int(drawn.sum())
    assert binom.ppf(FALSE_ALARM / 2, 50 * n, rate) < number
    assert number < binom.isf(FALSE_ALARM / 2, 50 * n, rate)
    assert not torch.equal(drawn[0], drawn[1])
    # Each takes part in some rounds, and in its expectation a sum is that of all records.
    assert drawn.any(dim=0).all()
    delta = trainer.fit(weights, round=0).delta[:-1]
    assert float(delta[drawn[0]].mean()) == pytest.approx(0.5 / (rate * n))


def test_streams_of_a_client_are_its_own() -> None:
    task = TASKS["two classes"]
    purposes: list[tuple[str, int, int]] = []

    def stream_for(purpose: str, client: int, round: int) -> Keystream:
        purposes.append((purpose, client, round))
        return STREAMS(purpose, client, round)

    plan = SumPlan.of(8, clip=1.0, rate=0.5).with_noise(1.0)
    local = training(task, {3: some_examples(task, 8)}, {3: plan})
    steps: list[tuple[int, ...]] = []
    local = replace(local, stream_for=stream_for, on_step=lambda *step: steps.append(step))
    clipped_gradient_trainers(local)[3].fit(torch.zeros(7), round=4)
    assert sorted(purposes) == [("dropout", 3, 4), ("noise", 3, 4), ("poisson", 3, 4)]
    assert steps == [(3, 1, 1)]


def test_a_plan_of_local_steps_is_refused() -> None:
    task = TASKS["two classes"]
    local = training(task, {0: some_examples(task, 3)}, {0: DpPlan(3, 1, 1, 1.0, 1.0)})
    with pytest.raises(TypeError, match="client 0 needs a SumPlan, got DpPlan"):
        clipped_gradient_trainers(local)


def test_a_head_and_its_rows_belong_together() -> None:
    task = TASKS["two classes"]
    deep = mlp(task, hidden=(3,), generator=torch.Generator())
    with pytest.raises(ValueError, match="no linear layer on fixed features"):
        HeadSums(deep, task, StepOptions())
    inputs = WholeRows(torch.zeros(1, 6), torch.ones(1))
    rows = Rows(inputs, torch.zeros(1), torch.zeros(1))
    with pytest.raises(TypeError, match="rows are for a linear layer"):
        ModelSums(DpSgd(deep, task, lr=1.0)).clipped_sum(
            torch.zeros(vector.size(deep)), rows, None, clip=1.0
        )


# --- partition invariance


@pytest.mark.parametrize("deal", [(60,), (30, 30), (1, 9, 50), (20, 25, 15)])
def test_the_weighted_mean_does_not_depend_on_which_site_holds_a_record(
    deal: tuple[int, ...],
) -> None:
    task = TASKS["three classes"]
    pool = some_examples(task, 60)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(sum(deal) + len(deal)))
    parts = torch.split(order, list(deal))
    examples = {
        client: Examples(pool.features[part], pool.labels[part])
        for client, part in enumerate(parts)
    }
    plans: dict[int, DpPlan] = {
        client: SumPlan.of(len(part), clip=0.4, rate=None) for client, part in enumerate(parts)
    }
    model = logistic(task, generator=torch.Generator())
    weights = some_weights(model)
    trainers = clipped_gradient_trainers(training(task, examples, plans))
    mean = sum(
        len(examples[client]) / 60 * trainer.fit(weights, round=0).delta.double()
        for client, trainer in trainers.items()
    )
    expected = loop_sum(model, task, pool, weights, clip=0.4) / -60
    torch.testing.assert_close(mean, expected, rtol=1e-5, atol=1e-7)


def test_trainers_are_made_for_every_client() -> None:
    task = TASKS["two classes"]
    examples = {client: some_examples(task, 5, seed=client) for client in (0, 4)}
    plans: dict[int, DpPlan] = dict.fromkeys(examples, SumPlan.of(5, clip=1.0, rate=None))
    trainers = clipped_gradient_trainers(training(task, examples, plans))
    assert set(trainers) == {0, 4}
    assert all(isinstance(trainer, ClippedGradientTrainer) for trainer in trainers.values())
