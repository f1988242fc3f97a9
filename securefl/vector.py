"""Models as one float32 vector (d,), its bytes and its hash."""

import hashlib
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from securefl.errors import ProtocolError


class Statistics(NamedTuple):
    """The coordinates of a vector that are no parameters.

    Attributes:
        start: number of coordinates of the trainable parameters, which come first.
        size: number of coordinates behind them.
        variances: coordinates that must not be negative.
    """

    start: int
    size: int
    variances: tuple[slice, ...]


def to_vector(model: nn.Module) -> Tensor:
    """Returns a copy of the trainable parameters, then of the statistics, (d,), on the CPU.

    Both are in their declared order. A model without running statistics is its parameters.
    """
    parts = [tensor.detach().reshape(-1) for tensor in _parts(model).values()]
    return torch.cat(parts).cpu()


def _parts(model: nn.Module) -> dict[str, Tensor]:
    """Returns name -> tensor of all that a vector holds, in its order."""
    return {**_trainable(model), **travelling_buffers(model)}


def _trainable(model: nn.Module) -> dict[str, Tensor]:
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


def travelling_buffers(model: nn.Module) -> dict[str, Tensor]:
    """Returns name -> buffer of those that are part of an update, such as running statistics.

    They are the floating-point buffers of a model's `state_dict`, except for those of frozen
    modules. Counters and other integers have no mean that means anything.
    """
    buffers = {
        f"{path}.{name}" if path else name: buffer
        for path, module in model.named_modules()
        for name, buffer in module.named_buffers(recurse=False)
        if buffer.is_floating_point() and name not in module._non_persistent_buffers_set
    }
    if not buffers:
        return {}
    at_home = {id(buffer) for module in frozen_modules(model) for buffer in module.buffers()}
    return {name: buffer for name, buffer in buffers.items() if id(buffer) not in at_home}


def frozen_modules(model: nn.Module) -> list[nn.Module]:
    """Returns the modules that have parameters, inside them or themselves, and train none."""
    frozen = []
    for module in model.modules():
        trained = [parameter.requires_grad for parameter in module.parameters()]
        if trained and not any(trained):
            frozen.append(module)
    return frozen


def load_vector(model: nn.Module, weights: Tensor) -> None:
    """Writes weights (d,) into the trainable parameters and the statistics of the model.

    Batch norm's counters of batches start again at zero.

    Raises:
        ValueError: the model does not have exactly d coordinates.
    """
    parts = _parts(model)
    sizes = [part.numel() for part in parts.values()]
    if weights.shape != (sum(sizes),):
        raise ValueError(
            f"the model has {sum(sizes)} coordinates, the vector has shape {tuple(weights.shape)}"
        )
    with torch.no_grad():
        for part, values in zip(parts.values(), torch.split(weights, sizes), strict=True):
            part.copy_(values.view_as(part))
        # A counter that went on would carry something from one client to the next.
        for name, buffer in model.named_buffers():
            if is_counter(name):
                buffer.zero_()


def is_counter(name: str) -> bool:
    """Whether a buffer is batch norm's count of batches, which no vector carries."""
    return name.rpartition(".")[2] == "num_batches_tracked"


def shapes(model: nn.Module) -> dict[str, torch.Size]:
    """Returns name -> shape of everything in the vector, in its order."""
    return {name: part.shape for name, part in _parts(model).items()}


def size(model: nn.Module) -> int:
    """Returns d, the number of coordinates; the weights need no memory for it."""
    return sum(shape.numel() for shape in shapes(model).values())


def statistics(model: nn.Module) -> Statistics:
    """Returns the coordinates of the running statistics, and the variances among them."""
    start = sum(parameter.numel() for parameter in _trainable(model).values())
    place = start
    variances = []
    for name, buffer in travelling_buffers(model).items():
        end = place + buffer.numel()
        if name.rpartition(".")[2] == "running_var":
            variances.append(slice(place, end))
        place = end
    return Statistics(start, place - start, tuple(variances))


def named(weights: Tensor, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Cuts weights (d,) into the named parts that it is made of; they share its memory.

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


def is_finite(vector: Tensor) -> bool:
    """Whether no coordinate (d,), d >= 1, is NaN or infinite.

    The norm is neither NaN nor infinite then, in a thirtieth of the time of
    `torch.isfinite(vector).all()`. Only that of very large coordinates may overflow.
    """
    if math.isfinite(torch.linalg.vector_norm(vector)):
        return True
    # Either end is NaN if any coordinate is.
    low, high = torch.aminmax(vector)
    return math.isfinite(low) and math.isfinite(high)


def to_bytes(vector: Tensor) -> bytes:
    """Returns the 4 d bytes of a vector: float32, little-endian."""
    return bytes(view_of_bytes(vector))


def view_of_bytes(vector: Tensor) -> memoryview:
    """Returns the bytes of `to_bytes`, without a copy where the vector lies in memory like that."""
    values = vector.detach().to(torch.float32).contiguous().numpy()
    return values.astype("<f4", copy=False).view(np.uint8).data


def from_bytes(data: bytes | memoryview, *, d: int) -> Tensor:
    """Returns the vector (d,) that `to_bytes` wrote, as float32.

    Raises:
        ProtocolError: data is not exactly 4 d bytes; checked before anything is allocated.
    """
    # Copied: the vector must not share memory with a message.
    values = _floats(data, d=d).astype(np.float32)
    return torch.from_numpy(values)


def read_into(vector: Tensor, data: memoryview) -> None:
    """Writes the vector that `to_bytes` wrote into another one (d,) of float32.

    Raises:
        ProtocolError: data is not exactly 4 d bytes.
    """
    np.copyto(vector.numpy(), _floats(data, d=vector.numel()))


def _floats(data: bytes | memoryview, *, d: int) -> NDArray[np.float32]:
    """Returns the bytes of a vector as its numbers, without a copy."""
    if len(data) != 4 * d:
        raise ProtocolError(f"a vector of {d} coordinates takes {4 * d} bytes, got {len(data)}")
    return np.frombuffer(data, dtype="<f4")


def layout(model: nn.Module) -> str:
    """Returns names and shapes of everything in the vector, and a hash of the rest, as one line.

    This is the part of a model's hash that training does not change.
    """
    described = [_described(_trainable(model))]
    buffers = travelling_buffers(model)
    if buffers:
        described.append(f"buffers:{_described(buffers)}")
    rest = _at_home(model)
    if rest:
        described.append(f"frozen:{_digest(rest)}")
    return ";".join(described)


def _described(parts: Mapping[str, Tensor]) -> str:
    return ";".join(f"{name}{tuple(part.shape)}" for name, part in parts.items())


def _at_home(model: nn.Module) -> dict[str, Tensor]:
    """Returns name -> parameter or buffer of those that no vector holds, without counters."""
    travelling = _parts(model)
    everything = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {
        name: value
        for name, value in everything.items()
        if name not in travelling and not is_counter(name)
    }


def _digest(parts: Mapping[str, Tensor]) -> str:
    """Returns the SHA-256 over names, types, shapes and values, as hex digits."""
    digest = hashlib.sha256()
    for name, part in parts.items():
        head = f"{name}{tuple(part.shape)}{part.dtype}".encode()
        digest.update(len(head).to_bytes(8, "little") + head)
        # A flat copy first: a view as bytes needs a dimension, and values in their order.
        flat = part.detach().reshape(-1).contiguous().cpu()
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def model_hash(layout: str, weights: Tensor) -> bytes:
    """Returns the SHA-256 over names, shapes and the float32 little-endian weights."""
    # The length separates the layout from the weights: no byte can move from one to the other.
    length = len(layout).to_bytes(8, "little")
    digest = hashlib.sha256(length + layout.encode())
    digest.update(to_bytes(weights))
    return digest.digest()
