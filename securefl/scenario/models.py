"""Name -> model: a part of the catalog.

Values are literals: `securefl ls` reads this text instead of importing it (`ui/sources.py`).
"""

from collections.abc import Mapping

from securefl.learning.models import (
    dense,
    efficient,
    images,
    linear,
    plain_stacks,
    residual,
    transformer,
)
from securefl.learning.models.scattering import head
from securefl.scenario.entries import ModelEntry

MODELS: Mapping[str, ModelEntry] = {
    "logistic": ModelEntry(linear.logistic, provided=("generator",)),
    "mlp": ModelEntry(linear.mlp, provided=("generator",)),
    "scattering": ModelEntry(head.scattering, provided=("generator",), grids=head.grids_of),
    "cnn": ModelEntry(images.cnn, provided=("generator",)),
    "resnet18": ModelEntry(residual.resnet18, provided=("generator",)),
    "resnet50": ModelEntry(residual.resnet50, provided=("generator",)),
    "vgg16": ModelEntry(plain_stacks.vgg16, provided=("generator",)),
    "alexnet": ModelEntry(plain_stacks.alexnet, provided=("generator",)),
    "densenet121": ModelEntry(dense.densenet121, provided=("generator",)),
    "efficientnet_b4": ModelEntry(efficient.efficientnet_b4, provided=("generator",)),
    "vit": ModelEntry(transformer.vit, provided=("generator",)),
}
