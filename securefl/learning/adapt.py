"""What a scenario changes in a model that was built: norms, initial weights, frozen parameters."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from securefl import vector
from securefl.errors import ScenarioError

SHOWN_MISFITS = 5  # of a file of weights, in one message
MAX_GROUPS = 32  # of a group norm that replaces a batch norm
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")  # of a batch norm


@dataclass(frozen=True)
class Adaptation:
    """The changes that a scenario asks for; none by default.

    Args:
        batch_norm: "group" replaces every batch norm by a group norm.
        train: patterns of the names of parameters that train; None trains what the model does.
        private: training has noise, so that no buffer may travel.
    """

    batch_norm: str | None = None
    train: tuple[str, ...] | None = None
    private: bool = False


def adapted(
    model: nn.Module, adaptation: Adaptation, *, weights: Mapping[str, Tensor] | None = None
) -> nn.Module:
    """Returns the model as the scenario wants it; the one that is given is changed.

    Args:
        model: as its author built it.
        adaptation: the changes.
        weights: name -> initial value of every parameter and buffer; None keeps the author's.

    Raises:
        ValueError: a change has no effect or leaves nothing to train, or the weights do not fit.
    """
    if adaptation.batch_norm is not None:
        model = _with_group_norm(model)
    if weights is not None:
        _write(model, weights)
    if adaptation.train is not None:
        _freeze(model, adaptation.train)
    if adaptation.private:
        _keep_buffers_home(model)
    return model


def batch_norms(model: nn.Module) -> list[str]:
    """Returns the names of the batch norms that see the other records of a batch.

    A frozen one with running statistics treats each record by itself.
    """
    # Also norms without parameters that lie in a frozen module: they run in evaluation mode.
    frozen = {id(part) for module in vector.frozen_modules(model) for part in module.modules()}
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm)
        and (id(module) not in frozen or module.running_mean is None)
    ]


def check_norms(model: nn.Module, name: str) -> None:
    """Refuses batch norm under noise: one record would move the gradients of others.

    Raises:
        ScenarioError: the model, called `name`, has a batch norm that is not frozen.
    """
    for layer in batch_norms(model):
        raise ScenarioError(
            f"model: {name} has a batch norm, {layer!r}, which mixes the records of a batch, so "
            'that no noise covers what one record changes; set model.batch_norm = "group"'
        )


def _with_group_norm(model: nn.Module) -> nn.Module:
    """Returns the model with group norms in the place of batch norms.

    Source: Opacus' `ModuleValidator.fix`, which the tests compare with; Wu and He, ECCV 2018.
    Vectors get one group, where Opacus would make groups of one number, all of which become zero.
    """
    if isinstance(model, _BatchNorm):
        return _group_norm(model)
    places = [
        (module, name, child)
        for module in model.modules()
        for name, child in module.named_children()
        if isinstance(child, _BatchNorm)
    ]
    if not places:
        raise ValueError("batch_norm has no effect: the model has no batch norm")
    for module, name, child in places:
        setattr(module, name, _group_norm(child))
    return model


def _group_norm(norm: _BatchNorm) -> nn.GroupNorm:
    channels = norm.num_features
    # The number of groups has to divide the channels.
    groups = 1 if isinstance(norm, nn.BatchNorm1d) else math.gcd(MAX_GROUPS, channels)
    return nn.GroupNorm(groups, channels, affine=norm.affine)


def check_fit(model: nn.Module, tensors: Mapping[str, tuple[tuple[int, ...], bool]]) -> None:
    """Checks that a file holds weights of exactly this model.

    Counters of batches may be missing: training starts them at zero.

    Args:
        model: its weights need no memory.
        tensors: name -> shape, and whether the numbers are floating-point.

    Raises:
        ValueError: one sentence for each mismatch, the first ones of many.
    """
    sentences = _misfits(model, tensors)
    shown = sentences[:SHOWN_MISFITS]
    if len(sentences) > len(shown):
        shown.append(f"and {len(sentences) - len(shown)} more")
    if shown:
        raise ValueError("; ".join(shown))


def _misfits(model: nn.Module, tensors: Mapping[str, tuple[tuple[int, ...], bool]]) -> list[str]:
    """Returns a sentence for each parameter or buffer that a file lacks, or has otherwise."""
    wanted = _by_name(model)
    sentences = []
    for name, value in wanted.items():
        if name not in tensors:
            if not vector.is_counter(name):
                sentences.append(f"the file lacks {name!r}")
            continue
        shape, floating = tensors[name]
        if shape != tuple(value.shape):
            sentences.append(
                f"{name!r} has the shape {shape} in the file, {tuple(value.shape)} in the model"
            )
        elif floating is not value.is_floating_point():
            sentences.append(f"{name!r} has another type of numbers in the file than in the model")
    unknown = [name for name in tensors if name not in wanted]
    replaced = _of_replaced_norms(unknown, model)
    sentences += [f"the model has no {name!r}" for name in unknown if name not in replaced]
    if replaced:
        sentences.append(
            f"the model has no {replaced[0]!r}, as it has a group norm where the file has a batch "
            f"norm: remove the {len(replaced)} statistics of batch norm from the file, or load it "
            "without model.batch_norm"
        )
    return sentences


def _of_replaced_norms(names: list[str], model: nn.Module) -> list[str]:
    """Returns the names that are of a batch norm where the model has a group norm."""
    groups = {name for name, module in model.named_modules() if isinstance(module, nn.GroupNorm)}
    parts = [(name, *name.rpartition(".")[::2]) for name in names]
    return [name for name, place, part in parts if place in groups and part in _STATISTICS]


def _by_name(model: nn.Module) -> dict[str, Tensor]:
    """Returns name -> parameter or buffer of those that a file of weights holds."""
    return {name: value for name, value in model.state_dict().items() if value is not None}


def _write(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Writes values into the parameters and buffers of these names."""
    shapes = {
        name: (tuple(value.shape), value.is_floating_point()) for name, value in weights.items()
    }
    check_fit(model, shapes)
    with torch.no_grad():
        for name, value in _by_name(model).items():
            if name in weights:
                value.copy_(weights[name])


def _freeze(model: nn.Module, patterns: tuple[str, ...]) -> None:
    """Lets only the parameters train that some pattern matches.

    A parameter that its author froze stays frozen.
    """
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(
                f"train has {pattern!r}, which matches no parameter that trains; "
                f"there are {', '.join(names)}"
            )
    if not patterns:
        raise ValueError("train is empty: nothing would be trained")
    for name, parameter in model.named_parameters():
        if not any(fnmatchcase(name, pattern) for pattern in patterns):
            parameter.requires_grad_(False)


def _keep_buffers_home(model: nn.Module) -> None:
    """Takes every buffer out of the vector: noise covers parameters only.

    `check_own_model` refuses buffers that training changes. The others are constants, whose values
    stay in the model's layout.
    """
    for module in model.modules():
        for name, buffer in list(module.named_buffers(recurse=False)):
            # Its place must not change, which decides the order of the layout.
            module.register_buffer(name, buffer, persistent=False)
