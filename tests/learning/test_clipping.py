"""Clipped sums without the gradients of single examples, held to Opacus' hooks and to autograd."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn
from torch.nn import functional

from securefl import vector
from securefl.data.task import Examples, Task
from securefl.learning.clipping import layers, places
from securefl.learning.clipping.arithmetic import clip_factors, rounded_down, squared_norms
from securefl.learning.clipping.gradients import Outer, Summed, Whole
from securefl.learning.clipping.recorder import OtherRows, Recorder
from securefl.learning.dp_sgd import DpSgd
from securefl.learning.options import StepOptions
from securefl.learning.plan import DpPlan
from securefl.learning.sampling import poisson_batches
from securefl.rng import seeded_keystream

N = 7
CLOSE = 1e-12


class Twice(nn.Module):
    """Calls one layer twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.first(torch.tanh(self.first(x)))))  # type: ignore[no-any-return]


class Tied(nn.Module):
    """Has two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.second(torch.tanh(self.first(x)))))  # type: ignore[no-any-return]


class Scales(nn.Module):
    """Has a parameter of its own beside a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.layer = nn.Parameter(torch.randn(6)), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x * self.scale)  # type: ignore[no-any-return]


def half_frozen() -> nn.Module:
    model = nn.Sequential(
        nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3), nn.Tanh()
    )
    for p in (model[0].weight, model[2].bias, model[4].weight, model[4].bias):
        p.requires_grad_(False)
    return model


def images(last: int, *convolutions: nn.Module) -> nn.Module:
    return nn.Sequential(*convolutions, nn.Tanh(), nn.Flatten(), nn.Linear(last, 3))


# name -> model, shape of a record, types of which Opacus writes down the gradients
MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], tuple[str, ...]]] = {
    "linear": (lambda: nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)), (6,), ()),
    "linear without bias": (
        lambda: nn.Sequential(nn.Linear(6, 5, bias=False), nn.Tanh(), nn.Linear(5, 3)),
        (6,),
        (),
    ),
    "linear on sequences": (lambda: images(4 * 5, nn.Linear(6, 5)), (4, 6), ()),
    "linear on tables of vectors": (lambda: images(2 * 4 * 5, nn.Linear(6, 5)), (2, 4, 6), ()),
    "half frozen": (half_frozen, (6,), ()),
    "conv1d": (lambda: images(16, nn.Conv1d(2, 4, 3, padding=1, stride=2)), (2, 8), ()),
    "conv1d in groups": (
        lambda: images(16, nn.Conv1d(2, 4, 3, padding=2, dilation=2, stride=2, groups=2)),
        (2, 8),
        (),
    ),
    "conv2d": (
        lambda: images(
            6 * 16,
            nn.Conv2d(2, 4, 3, padding=1, stride=2),
            nn.GroupNorm(2, 4),
            nn.Tanh(),
            nn.Conv2d(4, 6, (3, 1), groups=2, dilation=2, padding=(2, 0)),
        ),
        (2, 8, 8),
        (),
    ),
    "conv3d": (
        lambda: images(
            4 * 4 * 2 * 2,
            nn.Conv3d(2, 4, 3, padding=1, stride=(1, 2, 2), bias=False),
            nn.GroupNorm(1, 4),
        ),
        (2, 4, 4, 4),
        (),
    ),
    "group norm of vectors": (
        lambda: nn.Sequential(nn.Linear(6, 4), nn.GroupNorm(2, 4), nn.Tanh(), nn.Linear(4, 3)),
        (6,),
        (),
    ),
    "layer norm": (
        lambda: nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 3)),
        (6,),
        (),
    ),
    "layer norm of images": (
        lambda: images(32, nn.Conv2d(2, 2, 3, padding=1, stride=2), nn.LayerNorm((4, 4))),
        (2, 8, 8),
        (),
    ),
    "one layer twice": (Twice, (6,), ()),
    "tied weights": (Tied, (6,), ("Linear",)),
    "a parameter of its own": (lambda: nn.Sequential(Scales(), nn.Linear(3, 3)), (6,), ("Scales",)),
    "padding by name": (
        lambda: images(4 * 64, nn.Conv2d(2, 4, 3, padding="same")),
        (2, 8, 8),
        ("Conv2d",),
    ),
    "instance norm": (
        lambda: images(4 * 36, nn.Conv2d(2, 4, 3), nn.InstanceNorm2d(4, affine=True)),
        (2, 8, 8),
        ("InstanceNorm2d",),
    ),
}
each_model = pytest.mark.parametrize(
    ("build", "shape", "written"), MODELS.values(), ids=MODELS.keys()
)


@pytest.fixture(params=["rows that are written down", "norms only"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both forms of the gradients of layers that read many places."""
    if request.param == "norms only":
        monkeypatch.setattr(layers, "MAX_WHOLE", 0)
    return str(request.param)


def made(build: Callable[[], nn.Module], seed: int = 1) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build().double().train()


def batch(*shape: int, seed: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(N, *shape, dtype=torch.float64, generator=generator)
    return inputs, torch.randint(3, (N,), generator=generator)


def opacus_rows(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """The gradients (n, d) of Opacus' hooks."""
    wrapped = GradSampleModule(copy.deepcopy(model), loss_reduction="mean")
    functional.cross_entropy(wrapped(inputs.clone().requires_grad_()), labels).backward()  # type: ignore[no-untyped-call]
    trained: list[Any] = [p for p in wrapped.parameters() if p.requires_grad]
    return torch.cat([p.grad_sample.flatten(1) for p in trained], dim=1)


def autograd_rows(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """The gradients (n, d), one backward pass an example."""
    trained = [p for p in model.parameters() if p.requires_grad]
    rows = []
    for place in range(len(labels)):
        loss = functional.cross_entropy(model(inputs[[place]]), labels[[place]])
        rows.append(torch.cat([part.flatten() for part in torch.autograd.grad(loss, trained)]))
    return torch.stack(rows)


def flat_sum(recorder: Recorder, gradients: Any, factors: Tensor) -> Tensor:
    sums = dict(gradients.sums(factors))
    return torch.cat([sums[p].flatten() for p in recorder.parameters() if p.requires_grad])


FACTORS = torch.tensor([0.3, 0.0, 1.0, 0.25, 1e-3, 1.0, 0.5], dtype=torch.float64)


@each_model
def test_norms_and_sums_are_those_of_opacus_hooks(
    build: Callable[[], nn.Module], shape: tuple[int, ...], written: tuple[str, ...], form: str
) -> None:
    model, (inputs, labels) = made(build), batch(*shape)
    rows = opacus_rows(model, inputs, labels)
    recorder = Recorder(model)
    assert recorder.written == written
    for _ in range(2):  # nothing of a batch is left for the next
        gradients = recorder.gradients(inputs, labels, functional.cross_entropy)
        assert torch.allclose(gradients.norms(), rows.norm(dim=1), rtol=CLOSE, atol=CLOSE)
        total = flat_sum(recorder, gradients, FACTORS)
        assert torch.allclose(total, FACTORS @ rows, rtol=CLOSE, atol=CLOSE)
    assert all(p.grad is None for p in recorder.parameters())


@pytest.mark.parametrize("name", ["conv2d", "padding by name"])
def test_the_layout_of_the_weights_changes_nothing(name: str, form: str) -> None:
    build, shape, _ = MODELS[name]
    inputs, labels = batch(*shape)
    rows = opacus_rows(made(build), inputs, labels)
    recorder = Recorder(made(build).to(memory_format=torch.channels_last))
    for given in (inputs, inputs.contiguous(memory_format=torch.channels_last)):
        gradients = recorder.gradients(given, labels, functional.cross_entropy)
        assert torch.allclose(gradients.norms(), rows.norm(dim=1), rtol=CLOSE)
        assert torch.allclose(flat_sum(recorder, gradients, FACTORS), FACTORS @ rows, atol=CLOSE)


def test_a_layer_may_be_changed_in_place_by_the_next_which_opacus_refuses() -> None:
    model = made(lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(inplace=True), nn.Linear(5, 3)))
    inputs, labels = batch(6)
    rows = autograd_rows(model, inputs, labels)
    recorder = Recorder(model)
    gradients = recorder.gradients(inputs, labels, functional.cross_entropy)
    assert torch.allclose(gradients.norms(), rows.norm(dim=1), rtol=CLOSE)
    assert torch.allclose(flat_sum(recorder, gradients, FACTORS), FACTORS @ rows, atol=CLOSE)


@pytest.mark.parametrize("padding", [None, 2])
def test_words_that_occur_twice_add_up_and_padding_is_not_trained(padding: int | None) -> None:
    # Not held to Opacus, which trains the padding.
    def build() -> nn.Module:
        embedding = nn.Embedding(5, 4, padding_idx=padding)
        return nn.Sequential(embedding, nn.Tanh(), nn.Flatten(), nn.Linear(6 * 4, 3))

    model = made(build)
    words = torch.randint(5, (N, 6), generator=torch.Generator().manual_seed(3))
    _, labels = batch(1)
    rows = autograd_rows(model, words, labels)
    recorder = Recorder(model)
    gradients = recorder.gradients(words, labels, functional.cross_entropy)
    assert recorder.written == ()
    assert torch.allclose(gradients.norms(), rows.norm(dim=1), rtol=CLOSE)
    assert torch.allclose(flat_sum(recorder, gradients, FACTORS), FACTORS @ rows, atol=CLOSE)


class Casts(nn.Module):
    """Calls a layer by the name of its input, and another one in half of the precision."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.first(input=x))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.last(hidden).float()  # type: ignore[no-any-return]


def test_a_layer_may_be_called_by_name_and_in_another_precision() -> None:
    model = made(Casts).float()
    inputs, labels = (part.float() if part.is_floating_point() else part for part in batch(6))
    recorder = Recorder(copy.deepcopy(model))
    gradients = recorder.gradients(inputs, labels, functional.cross_entropy)
    total = flat_sum(recorder, gradients, torch.ones(N))
    assert total.dtype is torch.float32
    expected = autograd_rows(model, inputs, labels).sum(dim=0)
    torch.testing.assert_close(total, expected, rtol=0.1, atol=0.05)


def test_a_layer_that_passes_without_gradients_adds_nothing() -> None:
    class Fixed(Casts):
        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                hidden = self.first(x)
            return self.last(hidden)  # type: ignore[no-any-return]

    recorder = Recorder(made(Fixed))
    gradients = recorder.gradients(*batch(6), functional.cross_entropy)
    sums = dict(gradients.sums(torch.ones(N)))
    assert float(sums[recorder.first.weight].abs().max()) == 0.0
    assert float(sums[recorder.last.weight].abs().max()) > 0.0


def test_a_layer_without_influence_on_the_loss_adds_nothing() -> None:
    class Aside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.called, self.unused = (nn.Linear(6, 3) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            self.called(x)
            return self.used(x)  # type: ignore[no-any-return]

    recorder = Recorder(made(Aside))
    gradients = recorder.gradients(*batch(6), functional.cross_entropy)
    total = flat_sum(recorder, gradients, FACTORS)
    assert total[: 6 * 3 + 3].abs().min() > 0
    assert torch.equal(total[6 * 3 + 3 :], torch.zeros(2 * (6 * 3 + 3), dtype=torch.float64))


def test_the_sum_over_no_examples_is_zero() -> None:
    recorder = Recorder(made(MODELS["conv2d"][0]))
    nothing = recorder.nothing()
    assert nothing.norms().shape == (0,)
    assert not flat_sum(recorder, nothing, torch.zeros(0)).any()


def test_a_layer_that_reads_other_rows_than_records_is_refused() -> None:
    class Reshaped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x.view(-1, 3)).view(len(x), 2, 3).sum(dim=1)  # type: ignore[no-any-return]

    recorder = Recorder(made(Reshaped))
    with pytest.raises(OtherRows, match=r"^a layer of type Linear does not read one row a record$"):
        recorder.gradients(*batch(6), functional.cross_entropy)


def test_an_error_in_the_model_leaves_its_parameters_trainable() -> None:
    model = made(lambda: nn.Sequential(nn.Linear(6, 5), nn.Linear(4, 3)))
    recorder = Recorder(model)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        recorder.gradients(*batch(6), functional.cross_entropy)
    assert all(p.requires_grad for p in recorder.parameters())


def test_a_pass_that_nobody_asked_the_gradients_of_leaves_nothing_behind() -> None:
    recorder = Recorder(made(MODELS["conv2d"][0]))
    recorder(batch(2, 8, 8)[0])
    assert not recorder._calls
    with torch.no_grad():
        assert not recorder(batch(2, 8, 8)[0]).requires_grad


def test_layers_that_compute_something_else_are_left_to_opacus() -> None:
    class Halved(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) / 2

    def hooked(register: str) -> nn.Module:
        layer = nn.Linear(3, 3)
        getattr(layer, register)(lambda *given: None)
        return layer

    normed = nn.Linear(3, 3)
    normed.weight_g = nn.Parameter(torch.ones(3))
    others = [
        Halved(3, 3),
        normed,
        hooked("register_forward_pre_hook"),
        hooked("register_forward_hook"),
        hooked("register_full_backward_hook"),
        nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"),
        nn.ConvTranspose2d(1, 1, 3),
        nn.Embedding(3, 3, max_norm=1.0),
        nn.Embedding(3, 3, scale_grad_by_freq=True),
        nn.Embedding(3, 3, sparse=True),
    ]
    assert [layers.of_layer(layer) for layer in others] == [None] * len(others)
    assert layers.of_layer(nn.Linear(3, 3)) is layers.linear


# --- norms that hold


def test_norms_of_millions_of_numbers_are_exact_where_float32_is_not() -> None:
    rows = torch.full((2, 2_400_000), 0.1)
    exact = float(rows[0, 0].double()) * 2_400_000**0.5
    assert squared_norms(rows).sqrt().tolist() == pytest.approx([exact, exact], rel=1e-12)
    assert abs(float(rows[0].norm()) / exact - 1) > 1e-6


def cancelling(seed: int, rest: float) -> tuple[Tensor, Tensor]:
    """Inputs and gradients at outputs whose products cancel, all but a small rest of them."""
    generator = torch.Generator().manual_seed(seed)
    same = 1e3 * torch.randn(4, 1, 64, generator=generator).expand(4, 32, 64)
    ends = torch.randn(4, 32, 16, generator=generator)
    ends -= ends.mean(dim=1, keepdim=True)
    return same.contiguous(), ends + rest


@pytest.mark.parametrize("rest", [0.0, 1e-4])
@pytest.mark.parametrize("limit", [0, 1], ids=["pairs of places", "a few examples at a time"])
def test_a_norm_is_no_lower_than_that_of_what_is_added_up_where_terms_cancel(
    limit: int, rest: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "MAX_WHOLE", limit)
    # Few places are taken in pairs.
    outputs = 16 if limit else 4096
    layer = nn.Linear(64, outputs, bias=False)
    lower = 0
    for seed in range(20):
        inputs, few = cancelling(seed, rest)
        ends = few.repeat(1, 1, outputs // 16) / 16
        gradients = layers.linear(layer, inputs, ends)
        assert isinstance(gradients, Summed)
        for place, bound in enumerate(gradients.norms().tolist()):
            (total,) = gradients.sums(torch.eye(4)[place])
            assert bound >= float(total.double().norm())
            exact = ends[place].double().t() @ inputs[place].double()
            assert bound >= float(exact.norm())
            pairs = (inputs[place] @ inputs[place].t()) * (ends[place] @ ends[place].t())
            lower += float(pairs.sum().clamp(min=0).sqrt()) < float(total.norm())
    assert lower  # without the bound, some norms would have been too low


@pytest.mark.parametrize("limit", [0, 1], ids=["pairs of places", "a few examples at a time"])
def test_a_norm_counts_numbers_whose_squares_are_lost(
    limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "MAX_WHOLE", limit)
    inputs, ends = torch.full((2, 8, 256), 2e-23), torch.full((2, 8, 256), 1e17)
    gradients = layers.linear(nn.Linear(256, 256, bias=False), inputs, ends)
    assert isinstance(gradients, Summed)
    (total,) = gradients.sums(torch.tensor([1.0, 0.0]))
    assert float(total.double().norm()) > 1e-3
    assert float(gradients.norms()[0]) >= float(total.double().norm())


def test_a_scaled_gradient_is_not_rounded_up_where_numbers_are_subnormal() -> None:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.full((1, 64), 1e38)
    for outputs in torch.rand(50, 1, 64, generator=generator) * 1e-3:
        for gradients in (
            Outer(inputs, outputs, weight=True, bias=False),
            Outer(inputs, outputs.expand(1, 64).sort().values, weight=True, bias=True),
        ):
            factors = clip_factors(gradients.norms(), 1e-4)
            total = gradients.sums(factors)[0]
            assert float(total.double().norm()) <= 1e-4 * (1 + 1e-6)


def test_large_gradients_of_a_word_that_cancel_do_not_swallow_those_of_others() -> None:
    layer = nn.Embedding(4, 2)
    words, outputs = torch.tensor([[1, 2], [1, 1]]), torch.ones(2, 2, 2)
    outputs[1, 0], outputs[1, 1] = 1e12, -1e12
    gradients = layers.Lookups(layer, words, outputs)
    assert gradients.norms().tolist() == [2.0, 0.0]
    (alone,) = gradients.sums(torch.tensor([1.0, 0.0]))
    (both,) = gradients.sums(torch.ones(2))
    assert torch.equal(alone, both)


def test_factors_known_answers() -> None:
    norms = torch.tensor([0.0, 0.5, 2.0, 1e300, float("inf"), float("nan")], dtype=torch.float64)
    factors = clip_factors(norms, 1.0)
    assert factors.tolist() == pytest.approx([1.0, 1.0, 0.5, 1e-300, 0.0, 0.0], rel=1e-6)
    assert float(factors[2]) == 1.0 / (2.0 + 1e-6)  # as Opacus does


def test_a_factor_is_never_rounded_up() -> None:
    factors = torch.rand(1000, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    rounded = rounded_down(factors, torch.float32)
    assert rounded.dtype is torch.float32
    assert bool((rounded.double() <= factors).all())
    assert bool((rounded.double() >= factors * (1 - 2**-22)).all())
    exact = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    assert rounded_down(exact, torch.float32).tolist() == [0.0, 0.5, 1.0]
    assert (factors.float().double() > factors).any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
def test_an_example_that_is_not_finite_adds_nothing_in_any_form(bad: float) -> None:
    ones = torch.ones(2, 3, 4)
    spoilt = ones.clone()
    spoilt[1] = bad
    only_first = torch.tensor([1.0, 0.0])
    layer = nn.Linear(4, 4, bias=False)
    summed = Summed(torch.ones(2), spoilt, spoilt, places.SequencePlaces(layer, ones, ones).add_up)
    outer = Outer(spoilt[:, 0], spoilt[:, 0], weight=True, bias=True)
    for gradients in (summed, outer, Whole([spoilt])):
        for total in gradients.sums(only_first):
            assert bool(torch.isfinite(total).all())
    assert torch.equal(summed.sums(only_first)[0], torch.full((4, 4), 3.0))
    assert torch.equal(outer.sums(only_first)[0], torch.ones(4, 4))


# --- whole steps


@pytest.mark.parametrize("physical", [None, 4])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_steps_are_those_of_opacus_optimizer(physical: int | None, momentum: float) -> None:
    """Without noise, with the same Poisson draws, of which some are empty."""
    task = Task(features=6, classes=3)
    generator = torch.Generator().manual_seed(4)
    examples = Examples(
        torch.randn(20, 6, dtype=torch.float64, generator=generator),
        torch.randint(3, (20,), generator=generator),
    )
    plan = DpPlan(records=20, batch=2, epochs=3, clip=0.5, noise_multiplier=0.0)
    options = StepOptions(
        optimizer=lambda parameters, lr: torch.optim.SGD(parameters, lr=lr, momentum=momentum),
        physical_batch=physical,
    )
    model = made(MODELS["linear"][0])
    weights = vector.to_vector(model)
    machine = DpSgd(copy.deepcopy(model), task, lr=0.3, options=options)
    sampling, noise = seeded_keystream(1, "poisson"), seeded_keystream(1, "noise")
    delta = machine.run(weights, examples, plan, sampling=sampling, noise=noise).delta

    wrapped: Any = GradSampleModule(model, loss_reduction="mean")
    optimizer = DPOptimizer(
        torch.optim.SGD(wrapped.parameters(), lr=0.3, momentum=momentum),
        noise_multiplier=0.0,
        max_grad_norm=0.5,
        expected_batch_size=2,
    )
    batches = list(
        poisson_batches(20, sample_rate=0.1, steps=30, stream=seeded_keystream(1, "poisson"))
    )
    assert min(len(chosen) for chosen in batches) == 0
    for chosen in batches:
        optimizer.zero_grad()
        if len(chosen):
            inputs = examples.features[chosen].requires_grad_()
            task.loss(wrapped(inputs), examples.labels[chosen]).backward()  # type: ignore[no-untyped-call]
        else:
            for p in wrapped.parameters():
                p.grad_sample = p.new_zeros(0, *p.shape)
        optimizer.step()
    assert torch.allclose(delta, vector.to_vector(wrapped) - weights, rtol=CLOSE, atol=CLOSE)
