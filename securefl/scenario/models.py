"""Name -> model: a part of the catalog.

Values are literals: `securefl ls` reads this text instead of importing it (`ui/sources.py`).
"""

from collections.abc import Mapping

from securefl.learning.models import images, linear, residual
from securefl.scenario.entries import ModelEntry

MODELS: Mapping[str, ModelEntry] = {
    "logistic": ModelEntry(linear.logistic, provided=("generator",)),
    "mlp": ModelEntry(linear.mlp, provided=("generator",)),
    "cnn": ModelEntry(images.cnn, provided=("generator",)),
    "resnet18": ModelEntry(residual.resnet18, provided=("generator",)),
    "resnet50": ModelEntry(residual.resnet50, provided=("generator",)),
}
