"""A cell's model and server state as one safetensors file that knows whether it is whole."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from securefl import vector
from securefl.errors import RunFolderError
from securefl.federation.values import State
from securefl.files import write_atomic

SERVER_STATE_PREFIX = "state."
WHOLE_MODEL = "weights"  # the one tensor of files from before the parameters had names


@dataclass(frozen=True)
class Checkpoint:
    """The state after a round, and the record of that round.

    Attributes:
        state: weights (d,), the server step's state, and the number of the next round.
        record: of the round.
        shapes: parameter -> its shape, in the order of the vector; None where the file is from
            before parameters had names.
    """

    state: State
    record: Mapping[str, Any]
    shapes: Mapping[str, torch.Size] | None = None

    def fits(self, weights: Tensor, shapes: Mapping[str, torch.Size]) -> bool:
        """Returns whether the checkpoint is one of a model with these weights and parameters."""
        if self.shapes is None:
            return self.state.weights.shape == weights.shape
        # The order counts: it decides which coordinate is which.
        return list(self.shapes.items()) == list(shapes.items())


def save_checkpoint(path: Path, checkpoint: Checkpoint, shapes: Mapping[str, torch.Size]) -> None:
    """Writes the checkpoint in place of the last one.

    The file holds the model's parameters by name, as `load_state_dict` takes them, and the tensors
    of the server's step under the prefix "state.".

    Args:
        path: the file.
        checkpoint: what it holds.
        shapes: parameter -> its shape, in the order of the vector, as `vector.shapes` gives them.

    Raises:
        ValueError: a parameter is called as a tensor of the server's step is.
    """
    parameters = vector.named(checkpoint.state.weights, shapes)
    server = {
        f"{SERVER_STATE_PREFIX}{name}": value for name, value in checkpoint.state.step_state.items()
    }
    if ambiguous := sorted(set(parameters) & set(server)):
        raise ValueError(f"parameters may not be called {', '.join(ambiguous)}")
    # safetensors refuses views that share memory, which the parts of one vector do.
    tensors = {name: value.clone() for name, value in {**parameters, **server}.items()}
    facts = {
        "round": checkpoint.state.round,
        "record": checkpoint.record,
        "parameters": list(parameters),  # the file itself keeps no order
    }
    text = json.dumps(facts, allow_nan=False)
    metadata = {"state": text, "sha256": _digest(tensors, text)}
    write_atomic(path, save(tensors, metadata=metadata))


def load_checkpoint(path: Path) -> Checkpoint:
    """Returns the checkpoint at path, of this version or from before the parameters had names.

    Raises:
        RunFolderError: the file is damaged.
    """
    damaged = RunFolderError(
        f"the checkpoint {path} is damaged; put a copy back, or start again under another "
        "--out (the ledgers next to it count either way)"
    )
    try:
        tensors = load_file(path)
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        whole = metadata["sha256"] == _digest(tensors, metadata["state"])
    except (safetensors.SafetensorError, OSError, KeyError, ValueError):
        raise damaged from None
    if not whole:
        raise damaged
    # The digest has no key: whoever wrote the file may have computed it over anything.
    try:
        return _checkpoint(tensors, json.loads(metadata["state"]))
    except (KeyError, TypeError, ValueError):
        raise damaged from None


def _checkpoint(tensors: Mapping[str, Tensor], facts: Any) -> Checkpoint:
    """Returns the checkpoint of a file's tensors and facts.

    Raises:
        ValueError, KeyError, TypeError: they are no checkpoint.
    """
    if not isinstance(facts, dict):
        raise ValueError("the facts are no table")
    parameters = [str(name) for name in facts.get("parameters", [WHOLE_MODEL])]
    server = {name: value for name, value in tensors.items() if name not in parameters}
    if not all(name.startswith(SERVER_STATE_PREFIX) for name in server):
        raise ValueError("a tensor belongs to nothing")
    if not all(value.dtype == torch.float32 for value in tensors.values()):
        raise ValueError("a tensor is not float32")
    if not isinstance(facts["round"], int) or not isinstance(facts["record"], dict):
        raise ValueError("the round is not a number, or its record no table")
    weights = torch.cat([tensors[name].reshape(-1) for name in parameters])
    step_state = {name.removeprefix(SERVER_STATE_PREFIX): value for name, value in server.items()}
    shapes = {name: tensors[name].shape for name in parameters}
    return Checkpoint(
        State(weights, step_state, facts["round"]),
        facts["record"],
        shapes if "parameters" in facts else None,
    )


def _digest(tensors: Mapping[str, Tensor], facts: str) -> str:
    digest = hashlib.sha256(facts.encode())
    for name in sorted(tensors):
        digest.update(f"{name}{tuple(tensors[name].shape)}".encode())
        digest.update(vector.to_bytes(tensors[name]))
    return digest.hexdigest()
