"""Checkpoints are whole or refused, torch alone reads them, and earlier versions still load."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save
from torch import nn

from securefl import vector
from securefl.errors import RunFolderError
from securefl.federation.values import State
from securefl.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

SHAPES = {"weight": torch.Size([1, 2]), "bias": torch.Size([1])}
VELOCITY = torch.tensor([0.5, 0.25, 0.125])
STATE = State(torch.tensor([1.0, -2.0, 3.0]), {"velocity": VELOCITY}, round=1)


def saved(folder: Path, state: State = STATE) -> Path:
    path = folder / "model.safetensors"
    save_checkpoint(path, Checkpoint(state, {"round": 0}), SHAPES)
    return path


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    back = load_checkpoint(saved(tmp_path))
    assert torch.equal(back.state.weights, STATE.weights)
    assert torch.equal(back.state.step_state["velocity"], VELOCITY)
    assert (back.state.round, back.record) == (1, {"round": 0})


def test_a_model_takes_the_file_as_it_is(tmp_path: Path) -> None:
    """Without a line of securefl, and although the file sorts its names: bias comes first there."""
    path = saved(tmp_path, State(STATE.weights, round=1))
    model = nn.Linear(2, 1)
    model.load_state_dict(load_file(path))
    assert torch.equal(model.weight, torch.tensor([[1.0, -2.0]]))
    assert torch.equal(model.bias, torch.tensor([3.0]))
    assert torch.equal(vector.to_vector(model), STATE.weights)


def test_a_model_takes_its_running_statistics_from_the_file(tmp_path: Path) -> None:
    def build() -> nn.Sequential:
        return nn.Sequential(nn.Linear(2, 1), nn.BatchNorm1d(1))

    weights = torch.tensor([1.0, 2, 3, 4, 5, 6, 7])
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, Checkpoint(State(weights, round=1), {}), vector.shapes(build()))
    model = build()
    # torch fills in the count of batches, which the file lacks.
    model.load_state_dict(load_file(path))
    assert torch.equal(vector.to_vector(model), weights)
    back = load_checkpoint(path)
    assert torch.equal(back.state.weights, weights)
    assert back.fits(weights, vector.shapes(build()))
    assert not back.fits(weights, {"one": torch.Size([7])})


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the shapes have 3 coordinates"):
        saved(tmp_path, State(torch.zeros(4)))


def test_a_checkpoint_from_before_the_parameters_had_names_is_read(tmp_path: Path) -> None:
    """Written here as those versions wrote it: one vector, the facts, and a digest of both."""
    tensors = {"weights": STATE.weights, "state.velocity": VELOCITY}
    facts = json.dumps({"round": 1, "record": {"round": 0}})
    digest = hashlib.sha256(facts.encode())
    for name in ("state.velocity", "weights"):
        digest.update(f"{name}(3,)".encode() + tensors[name].numpy().tobytes())
    path = tmp_path / "model.safetensors"
    path.write_bytes(save(tensors, metadata={"state": facts, "sha256": digest.hexdigest()}))
    back = load_checkpoint(path)
    assert torch.equal(back.state.weights, STATE.weights)
    assert torch.equal(back.state.step_state["velocity"], VELOCITY)
    assert (back.state.round, back.record) == (1, {"round": 0})


def test_any_flipped_byte_of_a_checkpoint_is_noticed(tmp_path: Path) -> None:
    path = saved(tmp_path)
    good = path.read_bytes()
    for position in range(len(good)):
        if good[position : position + 1] == b" ":  # padding of the header carries nothing
            continue
        path.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
        with pytest.raises(RunFolderError, match=r"checkpoint .* is damaged"):
            load_checkpoint(path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_checkpoint_is_noticed(tmp_path: Path, share: float) -> None:
    path = saved(tmp_path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(RunFolderError, match="is damaged"):
        load_checkpoint(path)


def forged(folder: Path, tensors: dict[str, torch.Tensor], facts: object) -> Path:
    """A file with a right digest, which takes no key to compute."""
    text = json.dumps(facts)
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(f"{name}{tuple(tensors[name].shape)}".encode())
        digest.update(vector.to_bytes(tensors[name]))
    path = folder / "model.safetensors"
    path.write_bytes(save(tensors, metadata={"state": text, "sha256": digest.hexdigest()}))
    return path


GOOD = {"weight": torch.ones(1, 2), "bias": torch.ones(1)}
FACTS = {"round": 1, "record": {"round": 0}, "parameters": ["weight", "bias"]}


def test_the_forger_of_these_tests_can_write_a_good_file(tmp_path: Path) -> None:
    assert load_checkpoint(forged(tmp_path, GOOD, FACTS)).shapes == SHAPES


@pytest.mark.parametrize(
    ("tensors", "facts"),
    [
        ({"weight": torch.ones(1, 2)}, FACTS),
        (GOOD | {"more": torch.ones(1)}, FACTS),
        (GOOD | {"bias": torch.ones(1, dtype=torch.float64)}, FACTS),
        (GOOD | {"bias": torch.ones(1, dtype=torch.int32)}, FACTS),
        (GOOD, FACTS | {"parameters": 3}),
        (GOOD, FACTS | {"parameters": []}),
        (GOOD, FACTS | {"round": "1"}),
        (GOOD, FACTS | {"record": None}),
        (GOOD, {"record": {}, "parameters": ["weight", "bias"]}),
        (GOOD, [1]),
    ],
)
def test_a_file_with_a_right_digest_that_is_no_checkpoint_is_refused(
    tmp_path: Path, tensors: dict[str, torch.Tensor], facts: object
) -> None:
    with pytest.raises(RunFolderError, match="is damaged; put a copy back"):
        load_checkpoint(forged(tmp_path, tensors, facts))


def test_parameters_of_one_shape_in_another_order_are_another_model(tmp_path: Path) -> None:
    # Only the order says which coordinate is which: swapped, the weights would fit all the same.
    tensors = {"first": torch.zeros(2), "second": torch.ones(2)}
    facts = {"round": 1, "record": {}, "parameters": ["first", "second"]}
    back = load_checkpoint(forged(tmp_path, tensors, facts))
    shapes = {"first": torch.Size([2]), "second": torch.Size([2])}
    assert back.fits(torch.zeros(4), shapes)
    assert not back.fits(torch.zeros(4), dict(reversed(shapes.items())))


def test_a_parameter_may_not_be_called_as_the_servers_state_is(tmp_path: Path) -> None:
    checkpoint = Checkpoint(STATE, {"round": 0})
    with pytest.raises(ValueError, match=r"parameters may not be called state\.velocity"):
        save_checkpoint(
            tmp_path / "model.safetensors", checkpoint, {"state.velocity": torch.Size([3])}
        )
