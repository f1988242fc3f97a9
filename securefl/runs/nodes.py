"""The models of nodes without a server, each in the folder of its own node.

A run that has ended keeps one model, as every run does: the mean of the honest nodes' models. The
nodes' own ones lie in `clients/<node>/model.safetensors`, as `load_state_dict` takes them.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Size

from securefl.federation.topologies.meeting import MODELS
from securefl.federation.values import State
from securefl.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

MODEL = "model.safetensors"


def keep_nodes(folder: Path, state: State, shapes: Mapping[str, Size]) -> None:
    """Writes the model of each node into its folder; nothing where all have one model."""
    for node, weights in enumerate(state.step_state.get(MODELS, ())):
        file = folder / str(node) / MODEL
        file.parent.mkdir(parents=True, exist_ok=True)
        save_checkpoint(file, Checkpoint(State(weights, round=state.round), {}), shapes)


def with_nodes(folder: Path, state: State) -> State:
    """Returns a state with the nodes' models of a run that a crash stopped at its very end.

    The checkpoint may have lost them by then, as they lie in the nodes' folders.

    Raises:
        RunFolderError: a file is damaged.
    """
    if MODELS in state.step_state:
        return state
    files = sorted(folder.glob(f"*/{MODEL}"), key=lambda file: int(file.parent.name))
    kept = [load_checkpoint(file).state for file in files]
    if not kept or any(one.round != state.round for one in kept):
        return state
    models = torch.stack([one.weights for one in kept])
    return replace(state, step_state={**state.step_state, MODELS: models})
