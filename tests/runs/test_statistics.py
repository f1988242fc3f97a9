"""Running statistics travel through every channel, and are averaged like the parameters."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from securefl import vector
from securefl.federation import engine
from securefl.runs.api import run
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.folder import RunFolder
from securefl.scenario.assemble.assemble import join
from securefl.scenario.assemble.parts import Parts, parts
from securefl.scenario.scenario import Scenario, parse_scenario
from tests import normed

TEXT = """
rounds = 2
data = { name = "digits", partition = "quantity", clients = 3, minimum = 200 }
model = { name = "normed" }
training = { kind = "sgd", batch = 64, lr = 0.05 }
weights = "reported"
"""
CHANNELS = {
    "plain": (),
    "masked": (
        *("channel.kind=masked", "channel.ring=64", "channel.reveal_counts=true"),
        "channel.clip=100",
    ),
    "ckks": ("channel.kind=ckks", "channel.clip=100"),
}
each_channel = pytest.mark.parametrize(
    ("overrides", "error"),
    [(CHANNELS["plain"], 1e-6), (CHANNELS["masked"], 1e-5), (CHANNELS["ckks"], 1e-3)],
    ids=CHANNELS,
)


@pytest.fixture(autouse=True)
def _normed(monkeypatch: pytest.MonkeyPatch) -> None:
    normed.add_to_catalog(monkeypatch)


def averaged(made: Parts) -> Tensor:
    """Returns the weights after two rounds, as the mean of local models by their records."""
    weights = vector.to_vector(made.model)
    records = torch.tensor([float(len(site.train)) for site in made.data.sites])
    for round in range(2):
        local = [
            weights + made.trainers[client].fit(weights, round=round).delta for client in range(3)
        ]
        weights = (torch.stack(local) * records[:, None]).sum(dim=0) / records.sum()
    return weights


def played(scenario: Scenario, folder: Path) -> Tensor:
    assembled = join(parts(scenario, run="r", ledgers=folder))
    *_, last = engine.run(assembled.federation, assembled.start, rounds=2)
    assert last.record.survivors == (0, 1, 2)
    return last.state.weights


@each_channel
def test_statistics_are_the_mean_of_the_clients_own(
    overrides: tuple[str, ...], error: float, tmp_path: Path
) -> None:
    scenario = parse_scenario(TEXT, overrides=overrides)
    made = parts(scenario, run="r", ledgers=tmp_path / "a")
    start = vector.to_vector(made.model)
    expected = averaged(made)
    weights = played(scenario, tmp_path / "b")
    assert torch.allclose(weights, expected, rtol=0, atol=error)
    statistics = vector.statistics(made.model)
    # Means start at zero, variances at one; two rounds have moved each of them.
    moved = (weights - start)[statistics.start :]
    assert len(moved) == 8
    assert bool((moved.abs() > 0.01).all())


def test_a_momentum_of_the_server_leaves_the_statistics_to_the_mean(tmp_path: Path) -> None:
    step = "server={ step = 'fedavgm', momentum = 0.9, lr = 0.5 }"
    scenario = parse_scenario(TEXT.replace("rounds = 2", "rounds = 1"), overrides=(step,))
    made = parts(scenario, run="r", ledgers=tmp_path / "a")
    start = vector.to_vector(made.model)
    assembled = join(made)
    (round_,) = engine.run(assembled.federation, assembled.start, rounds=1)
    plain = parse_scenario(TEXT.replace("rounds = 2", "rounds = 1"))
    other = join(parts(plain, run="r", ledgers=tmp_path / "b"))
    (full,) = engine.run(other.federation, other.start, rounds=1)
    border = vector.statistics(made.model).start
    half = start + 0.5 * (full.state.weights - start)
    assert torch.allclose(round_.state.weights[:border], half[:border], atol=1e-6)
    assert torch.equal(round_.state.weights[border:], full.state.weights[border:])
    assert round_.state.step_state["velocity"].shape == (border,)


def test_variances_stay_positive_when_somebody_flips_signs(tmp_path: Path) -> None:
    attack = "attack={ name = 'sign_flip', scale = 100.0, clients = [0] }"
    scenario = parse_scenario(TEXT, overrides=(attack,))
    made = parts(scenario, run="r", ledgers=tmp_path)
    weights = played(scenario, tmp_path / "b")
    (variance,) = vector.statistics(made.model).variances
    assert bool((weights[variance] >= 0).all())
    # The means have no such bound.
    assert bool((weights[variance.start - 4 : variance.start] < -1).any())


def test_a_run_keeps_its_statistics_by_name(tmp_path: Path) -> None:
    scenario = parse_scenario(TEXT)
    metrics = run(scenario, tmp_path / "run")
    assert (metrics["accuracy"] or 0) > 0.3
    ((_, _, cell),) = RunFolder.open(tmp_path / "run").cells()
    checkpoint = load_checkpoint(cell.checkpoint)
    assert checkpoint.shapes is not None
    assert list(checkpoint.shapes)[-2:] == ["2.running_mean", "2.running_var"]
    expected = averaged(parts(scenario, run="r", ledgers=tmp_path / "a"))
    assert torch.allclose(checkpoint.state.weights, expected, rtol=0, atol=1e-6)
