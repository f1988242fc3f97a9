"""Clients of different sizes, models of every layer that stacks, and results one at a time."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from securefl import vector
from securefl.data.task import Examples, Task
from securefl.learning.models.images import cnn
from securefl.learning.models.linear import logistic, mlp
from securefl.learning.plan import DpPlan, LocalTraining
from securefl.learning.synthetic import synthetic
from securefl.rng import seeded_keystream

NUMBERS = Task(features=6, classes=3)
IMAGES = Task(features=2 * 8 * 8, classes=3, image=(2, 8, 8))
SOLIDS = Task(features=4**3, classes=3, image=(1, 4, 4, 4))
BINARY = Task(features=6, classes=2)
SEVERAL = Task(features=6, classes=3, multilabel=True)
COARSE = Task(features=6, classes=3, groups=((0, 1), (1, 2)))
PARTIAL = Task(features=6, classes=3, multilabel=True, partial=True)
REAL = Task(features=6, targets=((0.0, 1.0), (-1.0, 1.0)))
HUBER = Task(features=6, targets=((0.0, 1.0),), huber=True)
SIZES = (9, 4, 13, 1)  # records of each client; a batch has 4


class Words(nn.Module):
    """Takes signs as words: an embedding and a linear layer."""

    def __init__(self, width: int = 5, **keys: Any) -> None:
        super().__init__()
        self.words = nn.Embedding(2, width, **keys)
        self.last = nn.Linear(6 * width, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(self.words((x > 0).long()).flatten(1))
        return logits


class Residual(nn.Module):
    """A user's own forward: a sum of two paths, the mean over places, and a square."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.GroupNorm(1, 2), nn.ReLU())
        self.head = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head((x + self.body(x)).square().mean(dim=(2, 3)))
        return logits


class Places(nn.Module):
    """Uses the places of the maxima, too."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(4, return_indices=True)
        self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        maxima, places = self.pool(x)
        logits: Tensor = self.last((maxima + places / 64).flatten(1))
        return logits


class Steps(nn.Module):
    """Takes a record as a sequence of two steps of three numbers."""

    def __init__(self, *, bias: bool = True) -> None:
        super().__init__()
        self.each = nn.Linear(3, 4, bias=bias)
        self.last = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(self.each(x.view(-1, 2, 3)).tanh().sum(dim=1))
        return logits


def frozen(model: nn.Module, *names: str) -> nn.Module:
    """The model with some parameters frozen."""
    for name in names:
        model.get_parameter(name).requires_grad_(False)
    return model


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


Make = Callable[[], nn.Module]
MODELS: Mapping[str, tuple[Task, Make]] = {
    "logistic": (NUMBERS, lambda: logistic(NUMBERS, generator=_generator())),
    "mlp": (NUMBERS, lambda: mlp(NUMBERS, hidden=(5, 4), generator=_generator())),
    "mlp of images": (IMAGES, lambda: mlp(IMAGES, hidden=(5,), generator=_generator())),
    "wide layers": (IMAGES, lambda: mlp(IMAGES, hidden=(40, 80), generator=_generator())),
    "cnn": (IMAGES, lambda: cnn(IMAGES, channels=(4, 6), generator=_generator())),
    "cnn of solids": (SOLIDS, lambda: cnn(SOLIDS, channels=(3, 2), generator=_generator())),
    "strides": (
        IMAGES,
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, stride=2, groups=2, bias=False),
            nn.ReLU(),
            nn.Conv2d(4, 2, 2, dilation=2, padding=(1, 2)),
            nn.Flatten(),
            nn.LazyLinear(3),
        ),
    ),
    "one row of pixels": (
        NUMBERS,
        lambda: nn.Sequential(
            nn.Unflatten(1, (2, 3)), nn.Conv1d(2, 4, 2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)
        ),
    ),
    "norm of numbers": (
        NUMBERS,
        lambda: nn.Sequential(nn.Linear(6, 4), nn.GroupNorm(1, 4), nn.ReLU(), nn.Linear(4, 3)),
    ),
    "pools": (
        IMAGES,
        lambda: nn.Sequential(
            nn.Conv2d(2, 3, 3, padding=1),
            nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(12, 3),
        ),
    ),
    "without a bias": (
        NUMBERS,
        lambda: nn.Sequential(nn.Linear(6, 4, bias=False), nn.Tanh(), nn.Linear(4, 3)),
    ),
    "words": (NUMBERS, Words),
    "own forward": (IMAGES, Residual),
    "places": (IMAGES, Places),
    "steps": (NUMBERS, Steps),
    "steps without a bias": (NUMBERS, partial(Steps, bias=False)),
    "a frozen part, whose dropout rests": (
        NUMBERS,
        lambda: frozen(
            nn.Sequential(nn.Sequential(nn.Linear(6, 5), nn.Dropout(0.5)), nn.Linear(5, 3)),
            *("0.0.weight", "0.0.bias"),
        ),
    ),
    "a frozen layer": (
        NUMBERS,
        lambda: frozen(mlp(NUMBERS, hidden=(5,), generator=_generator()), "0.weight", "0.bias"),
    ),
    "a frozen weight": (
        IMAGES,
        lambda: frozen(
            cnn(IMAGES, channels=(4,), generator=_generator()), "0.weight", "1.bias", "6.weight"
        ),
    ),
    "two classes": (BINARY, lambda: mlp(BINARY, hidden=(5,), generator=_generator())),
    "several labels": (SEVERAL, lambda: mlp(SEVERAL, hidden=(5,), generator=_generator())),
    "coarse labels": (COARSE, lambda: mlp(COARSE, hidden=(5,), generator=_generator())),
    "partly observed": (PARTIAL, lambda: mlp(PARTIAL, hidden=(5,), generator=_generator())),
    "real targets": (REAL, lambda: mlp(REAL, hidden=(5,), generator=_generator())),
    "huber": (HUBER, lambda: mlp(HUBER, hidden=(5,), generator=_generator())),
}


def records(task: Task, number: int, *, seed: int, dtype: torch.dtype) -> Examples:
    """Synthetic records, their numbers in a type."""
    examples = synthetic(task, number, seed=seed)
    labels = examples.labels
    return Examples(
        examples.features.to(dtype), labels.to(dtype) if labels.is_floating_point() else labels
    )


def clients(
    name: str, *, dtype: torch.dtype = torch.float64, sizes: tuple[int, ...] = SIZES, **keys: Any
) -> LocalTraining:
    """The training of a model by clients of these sizes, in batches of 4 and two epochs."""
    task, make = MODELS[name]
    task = keys.get("task", task)
    torch.manual_seed(3)
    model: nn.Module = keys.get("model") or make()
    with torch.no_grad():
        model(records(task, 2, seed=0, dtype=torch.float32).features)  # for lazy layers
    given = {"batch": 4, "epochs": 2, "lr": 0.1, "stream_for": partial(seeded_keystream, 7)}
    return LocalTraining(
        examples={
            client: records(task, size, seed=client, dtype=dtype)
            for client, size in enumerate(sizes)
        },
        **{**given, **keys, "model": model.to(dtype), "task": task},
    )


def plans(sizes: tuple[int, ...] = SIZES, **keys: Any) -> dict[int, DpPlan]:
    """A plan of each client: batches of 4, each client with clip and noise of its own."""
    return {
        client: DpPlan(
            **{
                "records": size + 1,
                "batch": 4,
                "epochs": 2,
                "clip": 0.5 + client / 4,
                "noise_multiplier": 0.1 * client,
                **keys,
            }
        )
        for client, size in enumerate(sizes)
    }


def weights_of(local: LocalTraining) -> Tensor:
    """Weights (d,) at which no layer is zero."""
    weights = vector.to_vector(local.model)
    noise = torch.randn(weights.shape, generator=_generator(), dtype=weights.dtype)
    return weights + 0.2 * noise
