"""The device on which models train and are evaluated.

    model.to(device_called("cuda"))
    with full_precision(device_of(model)):
        outputs = model(moved(examples, chosen, device_of(model)).features)

Nothing else leaves the CPU: records lie there, and so do vectors, channels, rules and noise.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from securefl.data.task import Examples
from securefl.errors import SecureflError

CPU = torch.device("cpu")


def device_called(name: str | None) -> torch.device:
    """Returns the device that a scenario's engine.device names; without one, the CPU.

    Raises:
        SecureflError: this machine does not have it.
    """
    # `is_available` would start the driver, after which no process could fork workers.
    if name == "cuda" and torch.cuda.device_count() == 0:
        raise SecureflError(
            "engine.device = 'cuda' needs a GPU and a torch that is built for it, and torch "
            "finds none here: set engine.device = 'cpu'"
        )
    return torch.device(name or "cpu")


def device_of(model: nn.Module) -> torch.device:
    """Returns where a model's parameters are; the CPU for a model without any."""
    return next((p.device for p in model.parameters()), CPU)


def described(device: torch.device) -> str:
    """Returns a device as a run's metrics name it, such as "cuda (NVIDIA H200)"."""
    if device.type != "cuda":
        return device.type
    return f"cuda ({torch.cuda.get_device_name(device)})"


def moved(examples: Examples, chosen: Tensor, device: torch.device) -> Examples:
    """Returns the records at some indices (batch,), on the device."""
    return Examples(examples.features[chosen].to(device), examples.labels[chosen].to(device))


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Lets torch compute with whole float32 numbers while the context lasts.

    By default, a GPU's convolutions round their inputs to 10 bits (TF32). Then a clipped sum could
    exceed the clip by a thousandth, and results would differ from a CPU's by as much.
    """
    if device.type != "cuda":
        with _whole_on_cpu():
            yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def _whole_on_cpu() -> Iterator[None]:
    """Forbids a CPU to round to 8 bits, as it may where a caller allowed a GPU rough products."""
    backend: Any = torch.backends.mkldnn
    if not hasattr(backend, "matmul"):  # torch before 2.9
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)
        return
    kinds = (backend.matmul, backend.conv)
    allowed = [kind.fp32_precision for kind in kinds]
    for kind in kinds:
        kind.fp32_precision = "ieee"
    try:
        yield
    finally:
        for kind, precision in zip(kinds, allowed, strict=True):
            kind.fp32_precision = precision
