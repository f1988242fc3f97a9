"""Models as one float32 vector (d,), its bytes and its hash."""

import hashlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from securefl.errors import ProtocolError


def to_vector(model: nn.Module) -> Tensor:
    """(d,) copy of the trainable parameters, in their declared order."""
    return torch.cat([p.detach().reshape(-1) for p in model.parameters() if p.requires_grad])


def load_vector(model: nn.Module, weights: Tensor) -> None:
    """Write weights (d,) into the trainable parameters of model.

    Raises:
        ValueError: the model does not have exactly d trainable coordinates.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    if weights.shape != (count := sum(p.numel() for p in parameters),):
        raise ValueError(
            f"the model has {count} coordinates, the vector has shape {tuple(weights.shape)}"
        )
    with torch.no_grad():
        for parameter, part in zip(
            parameters, torch.split(weights, [p.numel() for p in parameters]), strict=True
        ):
            parameter.copy_(part.view_as(parameter))


def shapes(model: nn.Module) -> dict[str, torch.Size]:
    """Returns name -> shape of the trainable parameters, in the order of the vector."""
    return {name: p.shape for name, p in model.named_parameters() if p.requires_grad}


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
    """4 d bytes: float32, little-endian."""
    return vector.detach().to(torch.float32).numpy().astype("<f4", copy=False).tobytes()


def from_bytes(data: bytes | memoryview, *, d: int) -> Tensor:
    """(d,) float32 vector.

    Raises:
        ProtocolError: data is not exactly 4 d bytes (checked before anything is allocated).
    """
    if len(data) != 4 * d:
        raise ProtocolError(f"a vector of {d} coordinates takes {4 * d} bytes, got {len(data)}")
    return torch.from_numpy(np.frombuffer(data, dtype="<f4").astype(np.float32))


def layout(model: nn.Module) -> str:
    """Names and shapes of the trainable parameters as one line, the fixed part of a model's hash."""
    return ";".join(
        f"{name}{tuple(p.shape)}" for name, p in model.named_parameters() if p.requires_grad
    )


def model_hash(layout: str, weights: Tensor) -> bytes:
    """SHA-256 over names, shapes and the float32 little-endian weights."""
    digest = hashlib.sha256(len(layout).to_bytes(8, "little") + layout.encode())
    digest.update(to_bytes(weights))
    return digest.digest()
