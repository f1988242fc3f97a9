"""Models of strangers: what is wrong with one is told in a sentence before anything runs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from securefl.data.task import Task
from securefl.errors import ScenarioError
from securefl.learning.adapt import Adaptation
from securefl.learning.own_models import build_seeded, check_own_model
from securefl.learning.synthetic import synthetic
from securefl.rng import seeded_keystream

TASK = Task(features=6, classes=3)
IMAGES = Task(features=64, classes=2, image=(1, 8, 8))
Build = Callable[..., object]


class Between(nn.Module):
    """A linear layer, a function of what it gives, and another linear layer."""

    def __init__(self, function: Callable[[Tensor], Tensor], width: int = 4) -> None:
        super().__init__()
        self.first = nn.Linear(6, width)
        self.last = nn.Linear(width, 3)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.function(self.first(x)))
        return out


def refusal(build: Build, *, private: bool = False, task: Task = TASK, **keys: Any) -> str:
    with pytest.raises(ScenarioError, match=r"^model: ") as refused:
        check_own_model(build, task, private=private, name="mine", **keys)
    assert "\n" not in str(refused.value)
    return str(refused.value).removeprefix("model: ")


def accept(build: Build, *, private: bool, task: Task = TASK, **keys: Any) -> None:
    check_own_model(build, task, private=private, name="mine", **keys)


# Building


def test_a_build_draws_from_the_stream_and_leaves_the_generator_alone() -> None:
    def build(task: Task, *, width: int) -> nn.Module:
        return nn.Linear(task.features, width)

    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one = build_seeded(build, TASK, {"width": 5}, seeded_keystream(1, "init"))
    two = build_seeded(build, TASK, {"width": 5}, seeded_keystream(1, "init"))
    other = build_seeded(build, TASK, {"width": 5}, seeded_keystream(2, "init"))
    assert torch.equal(one.get_parameter("weight"), two.get_parameter("weight"))
    assert not torch.equal(one.get_parameter("weight"), other.get_parameter("weight"))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("value", "kind"), [(None, "nothing"), ({}, "a dict"), (nn.Linear, "a type")]
)
def test_a_function_that_builds_no_model_is_refused(value: object, kind: str) -> None:
    assert refusal(lambda task: value) == f"mine returned {kind}, not a torch.nn.Module"


def test_a_build_that_exits_is_a_fault_of_its_author() -> None:
    def build(task: Task) -> nn.Module:
        raise SystemExit(3)

    assert "mine cannot be built: SystemExit: 3 (test_own_models.py" in refusal(build)


def test_an_error_of_the_author_is_one_sentence_with_its_line() -> None:
    def build(task: Task) -> nn.Module:
        raise KeyError("width\nof nothing")

    sentence = refusal(build)
    line = build.__code__.co_firstlineno + 1
    expected = r"mine cannot be built: KeyError: 'width\nof nothing' (test_own_models.py, line "
    assert sentence == f"{expected}{line})"
    assert refusal(lambda task, *, width: nn.Linear(6, 3)).startswith(
        "mine cannot be built: TypeError: "
    )


def test_a_model_that_is_another_when_built_again_is_refused() -> None:
    def build(task: Task) -> nn.Module:
        model = nn.Linear(task.features, task.outputs)
        # NumPy's generator is not the run's.
        model.bias.data = torch.from_numpy(np.random.default_rng().random(3)).float()
        return model

    assert refusal(build) == (
        "mine has another 'bias' when it is built again under the same seed; "
        "draw it from torch's generator only"
    )
    widths = iter((3, 4))
    assert refusal(lambda task: nn.Linear(6, 3, bias=next(widths) == 3)) == (
        "mine has other parts when it is built again"
    )


# Parameters


def frozen(task: Task) -> nn.Module:
    return nn.Linear(6, 3).requires_grad_(False)


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.last = nn.Linear(6, 3)
        self.second = nn.Linear(6, 6)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.second(self.first(x)))
        return out


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (frozen, "mine has no parameter that trains"),
        (lambda task: nn.Flatten(), "mine has no parameter that trains"),
        (
            lambda task: Shared(),
            "mine shares one parameter as 'first.weight' and 'second.weight'; "
            "give each module its own",
        ),
        (
            lambda task: nn.Linear(6, 3).double(),
            "mine has 'weight' as torch.float64, and updates are float32; "
            "call .float() on the model",
        ),
        (
            lambda task: nn.LazyLinear(3),
            "mine has 'weight', whose shape only a first batch decides; "
            "give its layer the number of inputs",
        ),
    ],
)
def test_parameters_that_cannot_travel_are_refused(
    build: Build, sentence: str, private: bool
) -> None:
    assert refusal(build, private=private) == sentence


def test_changes_that_do_not_fit_the_model_are_refused() -> None:
    sentence = refusal(lambda task: nn.Linear(6, 3), adaptation=Adaptation("group"))
    assert sentence == "batch_norm has no effect: the model has no batch norm"


# Passes


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (
            lambda task: nn.Linear(6, 4),
            "mine returns outputs of shape (4, 4) for 4 records, this task needs (4, 3); "
            "use task.outputs for the last layer",
        ),
        (
            lambda task: nn.Sequential(nn.Linear(6, 3), nn.Flatten(0)),
            "mine returns outputs of shape (12,) for 4 records, this task needs (4, 3); "
            "use task.outputs for the last layer",
        ),
        (lambda task: nn.LSTM(6, 3), "mine returns a tuple for a batch, not a tensor"),
        (
            lambda task: Between(lambda x: x / 0),
            "mine returns outputs that are not finite",
        ),
        (
            lambda task: Between(lambda x: (x * 0).sqrt()),
            "mine has a gradient that is not finite, in 'first.weight'",
        ),
    ],
)
def test_outputs_of_another_form_are_refused(build: Build, sentence: str) -> None:
    assert refusal(build) == sentence


def test_a_pass_that_raises_is_told_with_its_line() -> None:
    sentence = refusal(lambda task: nn.Linear(7, 3))
    assert sentence.startswith("mine cannot take 4 records of shape (6,): RuntimeError: mat1 and")
    sentence = refusal(lambda task: Between(lambda x: x * (1 // 0)))
    assert "ZeroDivisionError" in sentence
    assert "(test_own_models.py, line" in sentence
    # The weights do not enter the outputs.
    sentence = refusal(lambda task: Constant())
    assert sentence.startswith("mine cannot pass gradients back: RuntimeError: element 0 of")


class Constant(nn.Linear):
    def __init__(self) -> None:
        super().__init__(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros(len(x), 3)


def test_a_model_that_cannot_judge_one_record_is_refused() -> None:
    def build(task: Task) -> nn.Module:
        return nn.Sequential(
            nn.Linear(6, 4), nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 3)
        )

    assert refusal(build).startswith("mine cannot take one record of shape (6,): ValueError: ")


# Buffers


class Counting(nn.Linear):
    """Counts its records in a buffer."""

    def __init__(self, start: Tensor, *, persistent: bool = True) -> None:
        super().__init__(6, 3)
        self.register_buffer("seen", start, persistent=persistent)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.get_buffer("seen").add_(len(x))
        return super().forward(x)


@pytest.mark.parametrize(
    ("start", "persistent"), [(torch.tensor(0), True), (torch.tensor(0.0), False)]
)
def test_a_buffer_that_changes_and_does_not_travel_is_refused(
    start: Tensor, persistent: bool
) -> None:
    sentence = refusal(lambda task: Counting(start.clone(), persistent=persistent))
    assert sentence == (
        "mine changes the buffer 'seen' in training, which no update carries; "
        "make it a persistent buffer of floating-point numbers"
    )


def test_a_buffer_that_changes_travels_without_noise_and_is_refused_with_it() -> None:
    accept(lambda task: Counting(torch.tensor(0.0)), private=False)
    assert refusal(lambda task: Counting(torch.tensor(0.0)), private=True) == (
        "mine changes the buffer 'seen' in training, which no noise covers; "
        "take it out or freeze its module"
    )


def normed(task: Task, *, affine: bool = True) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8, affine=affine), nn.Linear(8, 3))


def test_batch_norm_goes_without_noise_and_needs_group_norm_with_it() -> None:
    accept(normed, private=False)
    assert refusal(normed, private=True).endswith('set model.batch_norm = "group"')
    accept(normed, private=True, adaptation=Adaptation("group"))


# Neighbours


class AlwaysTraining(nn.BatchNorm1d):
    """A frozen batch norm whose author forgot that frozen is not evaluation mode."""

    def __init__(self) -> None:
        super().__init__(4, track_running_stats=False)
        self.requires_grad_(False)


class OnceRound(nn.Module):
    """Adds the mean of the batch before to each record."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)
        self.mean = torch.zeros(3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        shifted = out + self.mean
        if self.training:
            self.mean = out.detach().mean(dim=0)
        return shifted


class FunctionalNorm(nn.Module):
    """A batch norm that no check of layers' types can see."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.batch_norm(x, None, None, training=True) if self.training else x


def between(module: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 4), module, nn.Linear(4, 3))


def own_mean(x: Tensor) -> Tensor:
    # The outputs do not change, the gradients do.
    return x - x.mean(dim=0) + x.mean(dim=0).detach()


DEPENDENT: dict[str, tuple[Build, str]] = {
    "mean of the batch": (lambda task: Between(lambda x: x - x.mean(0)), "output"),
    "frozen batch norm in training mode": (lambda task: between(FunctionalNorm()), "output"),
    "gradient of the mean": (lambda task: Between(own_mean), "gradient"),
    "the record before": (lambda task: Between(lambda x: x + x.roll(1, 0)), "output"),
    "the first record": (lambda task: Between(lambda x: x + x[:1].detach()), "output"),
    "the size of the batch": (lambda task: Between(lambda x: x * len(x)), "output"),
    "the size of the batch, next to dropout": (
        lambda task: nn.Sequential(FunctionalDropout(), Between(lambda x: x * len(x))),
        "output",
    ),
    "an even batch": (lambda task: Between(lambda x: x * (1 + len(x) % 2)), "output"),
    "the batch before": (lambda task: OnceRound(), "output"),
}


@pytest.mark.parametrize(("build", "part"), DEPENDENT.values(), ids=DEPENDENT.keys())
def test_a_record_that_depends_on_its_neighbours_is_refused_under_noise(
    build: Build, part: str
) -> None:
    accept(build, private=False)
    sentence = refusal(build, private=True)
    assert sentence.startswith(f"mine gives a record another {part} ")
    assert sentence.endswith(
        "so that no noise covers what one record changes; use layers that treat each record by "
        "itself"
    )


def test_a_frozen_batch_norm_without_statistics_is_refused_under_noise() -> None:
    sentence = refusal(lambda task: between(AlwaysTraining()), private=True)
    assert sentence.startswith("mine has a batch norm, '1'")


def test_a_layer_that_starts_at_zero_hides_nothing() -> None:
    def build(task: Task) -> nn.Module:
        model = Between(lambda x: x - x.mean(0))
        nn.init.zeros_(model.last.weight)
        nn.init.zeros_(model.last.bias)
        nn.init.zeros_(model.first.weight)
        return model

    assert "another output among other records" in refusal(build, private=True)


@pytest.mark.parametrize("share", [0.0, 0.5], ids=["wholly", "in part"])
def test_a_parameter_that_is_used_outside_its_layer_is_refused_under_noise(share: float) -> None:
    class Borrowed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(6, 4)
            self.last = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            hidden = functional.linear(x, self.first.weight, self.first.bias)
            if share:  # else the layer is never called
                hidden = share * self.first(x) + (1 - share) * hidden
            out: Tensor = self.last(hidden)
            return out

    accept(lambda task: Borrowed(), private=False)
    assert refusal(lambda task: Borrowed(), private=True).startswith(
        "mine: no gradient of single records reaches the parameter 'first.weight'"
    )


def test_a_layer_that_opacus_does_not_support_is_refused_under_noise() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.memory = nn.LSTM(6, 3, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.memory(x[:, None])[0][:, 0]
            return out

    accept(lambda task: Last(), private=False)
    assert "DP-SGD cannot train layer 'memory'" in refusal(lambda task: Last(), private=True)


# What must be accepted


class FunctionalDropout(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return functional.dropout(x, 0.5, training=self.training)


class Noisy(nn.Module):
    """Draws, but in no way that dropout does."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x)


def convolutions(task: Task) -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3), nn.GroupNorm(2, 8), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Dropout2d(0.3), nn.Flatten(), nn.Linear(72, task.outputs)),
    )


class Scaled(nn.Module):
    """A layer of its own parameters, for which Opacus turns to functorch, in float32 only."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(6))

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.scale).float()


INDEPENDENT: dict[str, tuple[Task, Build]] = {
    "one layer": (TASK, lambda task: nn.Linear(6, 3)),
    "convolutions": (IMAGES, convolutions),
    "dropout": (TASK, lambda task: between(nn.Dropout(0.5))),
    "functional dropout": (TASK, lambda task: between(FunctionalDropout())),
    "noise": (TASK, lambda task: between(Noisy())),
    "functorch": (TASK, lambda task: nn.Sequential(Scaled(), nn.Linear(6, 3))),
    "layer norm": (TASK, lambda task: between(nn.LayerNorm(4))),
    "several labels": (
        Task(features=6, classes=4, multilabel=True),
        lambda task: nn.Linear(6, task.outputs),
    ),
    "targets": (
        Task(features=6, targets=((0.0, 1.0), (0.0, 9.0))),
        lambda task: nn.Linear(6, task.outputs),
    ),
    "a frozen part": (
        TASK,
        lambda task: nn.Sequential(nn.Linear(6, 4).requires_grad_(False), nn.Linear(4, 3)),
    ),
}


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize(("task", "build"), INDEPENDENT.values(), ids=INDEPENDENT.keys())
def test_a_model_that_treats_each_record_by_itself_is_accepted(
    task: Task, build: Build, private: bool
) -> None:
    accept(build, private=private, task=task)


def test_a_frozen_backbone_with_batch_norm_is_accepted_under_noise() -> None:
    adaptation = Adaptation(train=("2.*",))
    accept(normed, private=True, adaptation=adaptation)
    # Without parameters of its own it is not frozen.
    assert "has a batch norm, '1'" in refusal(
        normed, private=True, adaptation=adaptation, kwargs={"affine": False}
    )


@pytest.mark.parametrize("size", [4, 8, 32])
def test_a_norm_over_parts_of_a_batch_is_found(size: int) -> None:
    def ghost(x: Tensor) -> Tensor:
        return torch.cat(
            [part - part.mean(0) * (len(part) == size) for part in torch.split(x, size)]
        )

    assert "output in a batch than alone" in refusal(lambda task: Between(ghost), private=True)


def test_noise_that_mixes_records_is_found_although_it_draws() -> None:
    class Mixing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x - x.mean(0) + torch.randn_like(x)

    assert "among other records" in refusal(lambda task: between(Mixing()), private=True)


@pytest.mark.parametrize(
    "mix",
    [
        lambda x: x * torch.isfinite(x).all(),
        lambda x: x / x.detach().abs().max().clamp(min=1e3),
        lambda x: torch.eye(len(x), dtype=x.dtype) @ x,
    ],
    ids=["a guard", "a limit", "a mask of zeros"],
)
def test_a_model_that_mixes_extreme_records_only_is_found(
    mix: Callable[[Tensor], Tensor],
) -> None:
    sentence = refusal(lambda task: Between(mix), private=True)
    assert "next to records that are huge or not finite" in sentence


def test_a_model_that_takes_no_extreme_records_is_accepted() -> None:
    def whole(x: Tensor) -> Tensor:
        if not torch.isfinite(x).all():
            raise ValueError("a number is not finite")
        return x

    accept(lambda task: Between(whole), private=True)


def test_synthetic_records_have_the_shape_of_the_task() -> None:
    features, labels = synthetic(IMAGES, 5, seed=1)
    assert features.shape == (5, 1, 8, 8)
    assert bool((features.abs() <= 1).all())
    assert labels.shape == (5,)
    again, _ = synthetic(IMAGES, 5, seed=1, scale=2)
    assert torch.equal(again, 2 * features)
