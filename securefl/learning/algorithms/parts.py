"""The parts of a model that stay at a site: its norm layers, or its head."""

from collections.abc import Collection
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from securefl import vector

_NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


def norm_layers(model: nn.Module, personal: tuple[str, ...] | None = None) -> Tensor:
    """Returns (d,), whether a coordinate is of a norm layer; running statistics are, too.

    Args:
        model: has them.
        personal: takes no names.

    Raises:
        ValueError: the model has no norm layer with anything that trains.
    """
    names = [
        f"{path}.{name}"
        for path, module in model.named_modules()
        if isinstance(module, _NORMS)
        for name in (*dict(module.named_parameters()), *dict(module.named_buffers()))
    ]
    chosen = _coordinates(model, set(names))
    if not bool(chosen.any()):
        raise ValueError("fedbn needs norm layers, and the model has none that train")
    return chosen


def head(model: nn.Module, personal: tuple[str, ...] | None = None) -> Tensor:
    """Returns (d,), whether a coordinate is of the head.

    Args:
        model: has it.
        personal: patterns of the names of its parameters; None for the last layer that trains.

    Raises:
        ValueError: a pattern fits nothing, or everything would be the head.
    """
    shapes = vector.shapes(model)
    if personal is None:
        last = [name for name, value in model.named_parameters() if value.requires_grad][-1]
        layer = last.rpartition(".")[0]
        names = {name for name in shapes if name.rpartition(".")[0] == layer}
    else:
        names = set()
        for pattern in personal:
            fitting = {name for name in shapes if fnmatchcase(name, pattern)}
            if not fitting:
                raise ValueError(f"personal: {pattern!r} fits none of {', '.join(shapes)}")
            names |= fitting
    chosen = _coordinates(model, names)
    if bool(chosen.all()):
        raise ValueError(
            "the personal part is the whole model, so that nothing is learned together: name "
            "fewer parameters in training.personal"
        )
    return chosen


def _coordinates(model: nn.Module, names: Collection[str]) -> Tensor:
    """Returns (d,), whether a coordinate is of one of these parameters and buffers."""
    return torch.cat(
        [
            torch.full((shape.numel(),), name in names)
            for name, shape in vector.shapes(model).items()
        ]
    )
