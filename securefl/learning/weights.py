"""Initial weights from a safetensors file."""

import hashlib
from pathlib import Path

import safetensors
from safetensors.torch import load_file
from torch import Tensor, nn

from securefl.errors import DataError, ScenarioError
from securefl.files import is_special
from securefl.learning.adapt import check_fit

_FLOATS = ("F", "BF")  # with which safetensors' names of floating-point types begin
_DAMAGED = "is no safetensors file, or a damaged one"


def digest(path: Path) -> str:
    """Returns the SHA-256 of a file, as hex digits. Raises ScenarioError without the file."""
    if is_special(path):
        raise ScenarioError(f"model.weights: {path} is no file")
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as reason:
        raise ScenarioError(f"model.weights: cannot read {path}: {reason.strerror}") from None


def check_weights(model: nn.Module, path: Path) -> None:
    """Checks that a file holds weights of this model, without reading them.

    Args:
        model: its own weights need no memory.
        path: of the file.

    Raises:
        ScenarioError: there is no such file, or it holds something else.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            tensors = {
                name: (tuple(part.get_shape()), part.get_dtype().startswith(_FLOATS))
                for name, part in parts.items()
            }
    except OSError as reason:
        why = reason.strerror or "no such file"
        raise ScenarioError(f"model.weights: cannot read {path}: {why}") from None
    except safetensors.SafetensorError:
        raise ScenarioError(f"model.weights: {path} {_DAMAGED}") from None
    try:
        check_fit(model, tensors)
    except ValueError as reason:
        raise ScenarioError(f"model.weights: {path} does not fit the model: {reason}") from None


def read_weights(path: Path, *, expected: str) -> dict[str, Tensor]:
    """Returns name -> values of a file with the SHA-256 `expected`.

    Raises:
        DataError: the file changed since it was checked, or holds a value that is not finite.
    """
    if digest(path) != expected:
        raise DataError(f"model.weights: {path} changed since the scenario was checked")
    tensors = load_file(path)
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise DataError(f"model.weights: {name!r} in {path} has a value that is not finite")
    return tensors
