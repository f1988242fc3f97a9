"""The model that a coordinator's run starts from, where the scenario's seed does not make it."""

from pathlib import Path
from typing import TypeVar

from securefl import vector
from securefl.runs.checkpoint import load_checkpoint
from securefl.scenario.assemble.public import PublicParts

FIRST_MODEL = "first.safetensors"

Parts = TypeVar("Parts", bound=PublicParts)


def from_first_model(folder: Path, parts: Parts) -> Parts:
    """Returns parts that start from the folder's first model, if it has one.

    Raises:
        RunFolderError: the file is damaged.
    """
    path = folder / FIRST_MODEL
    if path.exists():
        vector.load_vector(parts.model, load_checkpoint(path).state.weights)
    return parts
