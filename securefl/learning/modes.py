"""Training mode for a model of which some parameters are frozen."""

from torch import nn

from securefl import vector


def training_mode(model: nn.Module) -> None:
    """Sets training mode, but evaluation mode in every module whose parameters are all frozen.

    A frozen batch norm must use the statistics that it came with, and a frozen backbone must not
    drop features. Without frozen modules this is `model.train()`.
    """
    model.train()
    for module in vector.frozen_modules(model):
        module.eval()
