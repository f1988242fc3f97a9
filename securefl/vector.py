"""Models as one float32 vector (d,), its bytes and its hash."""

import hashlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from securefl.errors import ProtocolError


def to_vector(model: nn.Module) -> Tensor:
    """Returns a copy of the trainable parameters, (d,), in their declared order."""
    return torch.cat([parameter.detach().reshape(-1) for parameter in _trainable(model)])


def _trainable(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def frozen_modules(model: nn.Module) -> list[nn.Module]:
    """Returns the modules that have parameters, inside them or themselves, and train none."""
    frozen = []
    for module in model.modules():
        trained = [parameter.requires_grad for parameter in module.parameters()]
        if trained and not any(trained):
            frozen.append(module)
    return frozen


def load_vector(model: nn.Module, weights: Tensor) -> None:
    """Writes weights (d,) into the trainable parameters of the model.

    Raises:
        ValueError: the model does not have exactly d trainable coordinates.
    """
    parameters = _trainable(model)
    sizes = [parameter.numel() for parameter in parameters]
    if weights.shape != (sum(sizes),):
        raise ValueError(
            f"the model has {sum(sizes)} coordinates, the vector has shape {tuple(weights.shape)}"
        )
    with torch.no_grad():
        for parameter, part in zip(parameters, torch.split(weights, sizes), strict=True):
            parameter.copy_(part.view_as(parameter))


def shapes(model: nn.Module) -> dict[str, torch.Size]:
    """Returns name -> shape of the trainable parameters, in the order of the vector."""
    parameters = model.named_parameters()
    return {name: parameter.shape for name, parameter in parameters if parameter.requires_grad}


def named(weights: Tensor, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Cuts weights (d,) into the parameters that it is made of; the parts share its memory.

    Raises:
        ValueError: the shapes do not add up to d coordinates.
    """
    sizes = [shape.numel() for shape in shapes.values()]
    if weights.shape != (sum(sizes),):
        raise ValueError(
            f"the shapes have {sum(sizes)} coordinates, the vector has shape {tuple(weights.shape)}"
        )
    parts = torch.split(weights, sizes)
    return {
        name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)
    }


def to_bytes(vector: Tensor) -> bytes:
    """Returns the 4 d bytes of a vector: float32, little-endian."""
    values = vector.detach().to(torch.float32).numpy()
    return values.astype("<f4", copy=False).tobytes()


def from_bytes(data: bytes | memoryview, *, d: int) -> Tensor:
    """Returns the vector (d,) that `to_bytes` wrote, as float32.

    Raises:
        ProtocolError: data is not exactly 4 d bytes; checked before anything is allocated.
    """
    if len(data) != 4 * d:
        raise ProtocolError(f"a vector of {d} coordinates takes {4 * d} bytes, got {len(data)}")
    # astype copies: the vector must not share memory with a message.
    values = np.frombuffer(data, dtype="<f4").astype(np.float32)
    return torch.from_numpy(values)


def layout(model: nn.Module) -> str:
    """Returns names and shapes of the trainable parameters as one line.

    This is the part of a model's hash that training does not change.
    """
    described = [f"{name}{tuple(shape)}" for name, shape in shapes(model).items()]
    return ";".join(described)


def model_hash(layout: str, weights: Tensor) -> bytes:
    """Returns the SHA-256 over names, shapes and the float32 little-endian weights."""
    # The length separates the layout from the weights: no byte can move from one to the other.
    length = len(layout).to_bytes(8, "little")
    digest = hashlib.sha256(length + layout.encode())
    digest.update(to_bytes(weights))
    return digest.digest()
