"""A cell's model and server state as one safetensors file that knows whether it is whole."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import load_file, save
from torch import Tensor

from securefl import vector
from securefl.errors import RunFolderError
from securefl.federation.values import State
from securefl.files import write_atomic

_WEIGHTS, _STATE = "weights", "state."


@dataclass(frozen=True)
class Checkpoint:
    """The state after a round, and the record of that round."""

    state: State
    record: Mapping[str, Any]


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write the checkpoint in place of the last one."""
    tensors = {_WEIGHTS: checkpoint.state.weights} | {
        f"{_STATE}{name}": value for name, value in checkpoint.state.step_state.items()
    }
    tensors = {name: value.contiguous() for name, value in tensors.items()}
    record = json.dumps(
        {"round": checkpoint.state.round, "record": checkpoint.record}, allow_nan=False
    )
    write_atomic(
        path, save(tensors, metadata={"state": record, "sha256": _digest(tensors, record)})
    )


def load_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint at path.

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
            f"the checkpoint {path} is damaged; put a copy back, or start anew under another --out "
            "(the ledgers beside it count either way)"
        )
    noted = json.loads(metadata["state"])
    state = {
        name.removeprefix(_STATE): value for name, value in tensors.items() if name != _WEIGHTS
    }
    return Checkpoint(State(tensors[_WEIGHTS], state, noted["round"]), noted["record"])


def _digest(tensors: Mapping[str, Tensor], record: str) -> str:
    digest = hashlib.sha256(record.encode())
    for name in sorted(tensors):
        digest.update(f"{name}{tuple(tensors[name].shape)}".encode())
        digest.update(vector.to_bytes(tensors[name]))
    return digest.hexdigest()
