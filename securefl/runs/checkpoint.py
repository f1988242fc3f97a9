"""A cell's model and server state as one safetensors file that knows whether it is whole."""

import hashlib
import json
from collections.abc import Mapping, Sequence
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
    """The state after a round, and the record of that round."""

    state: State
    record: Mapping[str, Any]


def save_checkpoint(path: Path, checkpoint: Checkpoint, shapes: Mapping[str, torch.Size]) -> None:
    """Writes the checkpoint in place of the last one.

    The file holds the model's parameters by name, as `load_state_dict` takes them, and the tensors
    of the server's step under the prefix "state.".

    Args:
        path: the file.
        checkpoint: what it holds.
        shapes: parameter -> its shape, in the order of the vector, as `vector.shapes` gives them.
    """
    parameters = vector.named(checkpoint.state.weights, shapes)
    server = {
        f"{SERVER_STATE_PREFIX}{name}": value for name, value in checkpoint.state.step_state.items()
    }
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
    try:
        tensors = load_file(path)
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        whole = metadata["sha256"] == _digest(tensors, metadata["state"])
    except (safetensors.SafetensorError, OSError, KeyError, ValueError):
        whole = False
    if not whole:
        raise RunFolderError(
            f"the checkpoint {path} is damaged; put a copy back, or start again under another "
            "--out (the ledgers next to it count either way)"
        )
    facts = json.loads(metadata["state"])
    parameters = facts.get("parameters", [WHOLE_MODEL])
    server = {
        name.removeprefix(SERVER_STATE_PREFIX): value
        for name, value in tensors.items()
        if name not in parameters
    }
    state = State(_joined(tensors, parameters), server, facts["round"])
    return Checkpoint(state, facts["record"])


def _joined(tensors: Mapping[str, Tensor], parameters: Sequence[str]) -> Tensor:
    """The parameters as one vector (d,)."""
    return torch.cat([tensors[name].reshape(-1) for name in parameters])


def _digest(tensors: Mapping[str, Tensor], facts: str) -> str:
    digest = hashlib.sha256(facts.encode())
    for name in sorted(tensors):
        digest.update(f"{name}{tuple(tensors[name].shape)}".encode())
        digest.update(vector.to_bytes(tensors[name]))
    return digest.hexdigest()
