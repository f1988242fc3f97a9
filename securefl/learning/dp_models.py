"""Which models DP-SGD can train."""

import copy

from opacus import GradSampleModule
from opacus.utils.module_utils import trainable_modules
from opacus.validators import ModuleValidator
from torch import nn

from securefl.errors import ScenarioError


def check_model(model: nn.Module) -> None:
    """Refuses a model that DP-SGD cannot train.

    A layer that mixes the records of a batch, such as batch norm, is worse than an error: clipping
    one record's gradient would not bound that record's influence.

    Raises:
        ScenarioError: a layer is not supported; the sentence names it.
    """
    for name, layer in trainable_modules(model):
        # One class at a time, since what Opacus says about a whole model names no layer.
        validator = ModuleValidator.VALIDATORS.get(type(layer))
        errors = [] if validator is None else validator(layer)
        if errors:
            why = str(errors[0]).partition(". ")[0]
            raise ScenarioError(f"model: DP-SGD cannot train layer {name!r}: {why}")
    try:
        GradSampleModule(copy.deepcopy(model))
    except (NotImplementedError, ValueError) as reason:
        why = " ".join(str(reason).split())
        raise ScenarioError(f"model: DP-SGD cannot train it: {why}") from None
