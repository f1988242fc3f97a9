"""Networks for images, tried: gradients of single records against one record at a time."""

import copy
import math

import torch
from opacus import GradSampleModule
from opacus.validators import ModuleValidator
from torch import Tensor, nn

from securefl.data.task import Task
from securefl.learning.clipping.recorder import Recorder


def task_of(*image: int, classes: int = 3) -> Task:
    return Task(features=math.prod(image), classes=classes, image=image)


def fresh(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(task: Task, n: int = 2) -> Tensor:
    pixels = torch.randint(0, 256, (n, *task.image), dtype=torch.uint8, generator=fresh(1))
    return task.inputs(pixels)


def without_dropout(model: nn.Module) -> nn.Module:
    """The same network, in which no pass differs from the next."""
    for layer in model.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    return model


def one_at_a_time(model: nn.Module, task: Task, inputs: Tensor, labels: Tensor) -> list[Tensor]:
    """By parameter, the gradients (n, *shape) of n backward passes."""
    rows = []
    for place in range(len(labels)):
        model.zero_grad()
        task.loss(model(inputs[place : place + 1]), labels[place : place + 1]).backward()  # type: ignore[no-untyped-call]
        rows.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    return [torch.stack(of_records) for of_records in zip(*rows, strict=True)]


def by_opacus(model: nn.Module, task: Task, inputs: Tensor, labels: Tensor) -> list[Tensor]:
    """By parameter, the gradients (n, *shape) that Opacus writes down."""
    # It needs channels first, see test_images.
    plain = copy.deepcopy(model).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    wrapped = GradSampleModule(plain, loss_reduction="mean")
    task.loss(wrapped(inputs.clone().requires_grad_()), labels).backward()  # type: ignore[no-untyped-call]
    return [p.grad_sample for p in wrapped.parameters()]


def by_engine(model: nn.Module, task: Task, inputs: Tensor, labels: Tensor) -> list[Tensor]:
    """By parameter, the gradients (n, *shape) that DP-SGD of ours clips and sums."""
    recorder = Recorder(copy.deepcopy(model))
    gradients = recorder.gradients(inputs, labels, task.loss)
    rows = [
        {id(p): total for p, total in gradients.sums(factors)} for factors in torch.eye(len(labels))
    ]
    norms = torch.stack(
        [
            sum(total.double().square().sum() for total in row.values()).sqrt()  # type: ignore[union-attr]
            for row in rows
        ]
    )
    assert bool((gradients.norms() >= norms * (1 - 1e-9)).all())
    return [torch.stack([row[id(p)] for row in rows]) for p in recorder.parameters()]


def check_gradients(model: nn.Module, task: Task) -> None:
    """Checks that Opacus takes the network, and that single records have gradients of their own."""
    assert ModuleValidator.validate(model, strict=False) == []
    model = without_dropout(model).double()
    inputs, labels = images(task).double(), torch.tensor([0, task.classes - 1])
    expected = one_at_a_time(model, task, inputs, labels)
    assert all(bool(rows.flatten(1).any(dim=1).all()) for rows in expected)
    for way in (by_engine, by_opacus):
        for rows, single in zip(way(model, task, inputs, labels), expected, strict=True):
            assert torch.allclose(rows, single, rtol=1e-6, atol=1e-9 * float(single.abs().max()))
