"""Files of initial weights: checked without reading them, and read only as they were checked."""

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from securefl.errors import DataError, ScenarioError
from securefl.learning.weights import check_weights, digest, read_weights


def saved(folder: Path, **changed: torch.Tensor) -> Path:
    path = folder / "w.safetensors"
    save_file({"weight": torch.ones(1, 2), "bias": torch.zeros(1), **changed}, path)
    return path


def test_a_file_that_fits_is_accepted_in_any_precision(tmp_path: Path) -> None:
    for precision in (torch.float16, torch.bfloat16, torch.float64):
        check_weights(nn.Linear(2, 1), saved(tmp_path, bias=torch.zeros(1, dtype=precision)))
    with torch.device("meta"):
        model = nn.Linear(2, 1)
    check_weights(model, saved(tmp_path))


def test_a_file_that_does_not_fit_is_refused_with_every_mismatch(tmp_path: Path) -> None:
    path = saved(tmp_path, bias=torch.zeros(1, dtype=torch.int64), head=torch.ones(2))
    with pytest.raises(
        ScenarioError,
        match=r"model\.weights: .*w\.safetensors does not fit the model: 'bias' has another type "
        "of numbers .*; the model has no 'head'",
    ):
        check_weights(nn.Linear(2, 1), path)


def test_what_is_no_file_of_weights_is_refused(tmp_path: Path) -> None:
    missing = tmp_path / "none.safetensors"
    with pytest.raises(ScenarioError, match=r"cannot read .*none\.safetensors: [Nn]o such file"):
        check_weights(nn.Linear(2, 1), missing)
    with pytest.raises(ScenarioError, match=r"cannot read .*none\.safetensors: No such file"):
        digest(missing)
    pickled = tmp_path / "model.pt"
    torch.save({"weight": torch.ones(1, 2)}, pickled)
    with pytest.raises(ScenarioError, match="is no safetensors file, or a damaged one"):
        check_weights(nn.Linear(2, 1), pickled)


def test_what_may_never_end_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="/dev/zero is no file"):
        digest(Path("/dev/zero"))


def test_the_digest_is_sha256_of_the_file(tmp_path: Path) -> None:
    path = saved(tmp_path)
    assert digest(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_is_read_only_as_it_was_checked(tmp_path: Path) -> None:
    path = saved(tmp_path)
    checked = digest(path)
    weights = read_weights(path, expected=checked)
    assert weights["weight"].tolist() == [[1, 1]]
    saved(tmp_path, bias=torch.ones(1))
    with pytest.raises(DataError, match="changed since the scenario was checked"):
        read_weights(path, expected=checked)


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, bias=torch.tensor([float("nan")]))
    with pytest.raises(DataError, match=r"'bias' in .* has a value that is not finite"):
        read_weights(path, expected=digest(path))
