"""In whole runs the server gets noise of the accounted deviation, fresh for each client and round.

Every client's step takes all its records. So the same scenario without noise gives the gradients,
and the difference between the two runs is the noise.
"""

import math
import secrets
from itertools import combinations
from pathlib import Path

import pytest
import torch
from torch import Tensor

from securefl.channels.protocol import Observation, Seen
from securefl.federation import engine
from securefl.federation.values import State
from securefl.scenario.assemble.assemble import assemble
from securefl.scenario.plugins.trust import trust
from securefl.scenario.scenario import Scenario, parse_scenario
from tests.learning.test_dp_sgd import variance_is_right
from tests.recorder import Recorder

KINDS = (Seen.CLEAR_UPDATE, Seen.SUM_OF_UPDATES)
CLIENTS, RECORDS, SIGMA, CLIP, LR = 5, 287, 1.3, 0.5, 1e-3
TEXT = """
rounds = {rounds}
weights = "equal"
data = {{ name = "digits", partition = "iid", clients = 5 }}
model = {{ name = "mlp", hidden = [32] }}
training = {{ kind = "dp_sgd", batch = 1000, clip = 0.5, lr = 1e-3 }}
"""
DECLARED = f"records = {[RECORDS] * CLIENTS}"
NOISY = f"privacy = {{ noise_multiplier = {SIGMA}, epsilon = 100.0, delta = 1e-5, {DECLARED} }}\n"
NOISELESS = f'privacy = {{ epsilon = "inf", {DECLARED} }}\n'
MASKED = 'channel = { kind = "masked", ring = 32, corrupt = 1, clip = 1.0 }\n'


def rows_at_the_server(scenario: Scenario, tmp_path: Path) -> list[dict[str, Tensor]]:
    """Round -> clients -> row that the server sees, in units of the noise's deviation."""
    assembled = assemble(scenario, run="r", ledgers=tmp_path / secrets.token_hex(4))
    state = State(assembled.start.weights)
    rounds = []
    for _ in range(scenario.rounds):
        recorder = Recorder()
        played = engine.play_round(assembled.federation, state, recorder)
        assert not played.record.abandoned, played.record.reason
        rows = {
            str(observation.about): observation.values.double() * RECORDS / (LR * CLIP * SIGMA)
            for observation in recorder.observations
            if observation.values is not None and is_of_interest(observation)
        }
        rounds.append(rows)
        # The model stays the same, and with it the gradients.
        state = State(assembled.start.weights, {}, state.round + 1)
    return rounds


def is_of_interest(observation: Observation) -> bool:
    """Whether the server sees an update or a sum."""
    return observation.party == "server" and observation.kind in KINDS


def noises(
    text: str,
    tmp_path: Path,
    *,
    noisy: str = NOISY,
    rounds: int = 2,
    overrides: tuple[str, ...] = (),
) -> list[list[Tensor]]:
    """The noise of each row, round by round."""

    def rows(privacy: str) -> list[dict[str, Tensor]]:
        scenario = parse_scenario(
            TEXT.format(rounds=rounds) + privacy + text, overrides=overrides, folder=tmp_path
        )
        return rows_at_the_server(scenario, tmp_path)

    noises = []
    for noisy_rows, bare_rows in zip(rows(noisy), rows(NOISELESS), strict=True):
        assert noisy_rows
        assert noisy_rows.keys() == bare_rows.keys()
        noises.append([noisy_rows[about] - bare_rows[about] for about in sorted(noisy_rows)])
    return noises


THEIRS = """
from torch import nn


def build(task):
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 12, 3, padding=1),
        nn.GroupNorm(3, 12),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(192, task.outputs),
    )
"""


@pytest.mark.parametrize("model", ["mlp", "python:mine.py:build"])
def test_noise_of_every_client_and_round_is_independent_and_has_the_accounted_deviation(
    tmp_path: Path, model: str
) -> None:
    (tmp_path / "mine.py").write_text(THEIRS)
    trust(tmp_path)
    overrides = () if model == "mlp" else (f"model={model}",)
    rounds = noises("", tmp_path, overrides=overrides)
    assert [len(rows) for rows in rounds] == [CLIENTS, CLIENTS]
    all_rows = [row for rows in rounds for row in rows]
    for row in all_rows:
        assert variance_is_right(row, std=1.0)
    noise = torch.cat(all_rows)
    assert variance_is_right(noise, std=1.0)
    assert not variance_is_right(noise, std=0.9)
    assert not variance_is_right(noise, std=1.1)
    assert abs(float(noise.mean())) < 4.9 / math.sqrt(noise.numel())
    for row, other in combinations(all_rows, 2):
        assert abs(float((row * other).mean())) < 4.9 / math.sqrt(row.numel())


def test_noise_differs_from_run_to_run(tmp_path: Path) -> None:
    run, other_run = noises("", tmp_path), noises("", tmp_path)
    for first, second in zip(run[0], other_run[0], strict=True):
        assert abs(float((first * second).mean())) < 4.9 / math.sqrt(first.numel())


def test_under_masks_the_sum_carries_the_noise_of_all_clients(tmp_path: Path) -> None:
    rounds = noises(MASKED, tmp_path, rounds=8)
    assert [len(rows) for rows in rounds] == [1] * 8
    noise = torch.cat([row for (row,) in rounds])
    assert variance_is_right(noise, std=math.sqrt(CLIENTS))
    assert not variance_is_right(noise, std=0.9 * math.sqrt(CLIENTS))
    assert not variance_is_right(noise, std=1.1 * math.sqrt(CLIENTS))


@pytest.mark.parametrize("multiplier", [0.9, 1.1])
def test_a_multiplier_ten_percent_off_is_caught(tmp_path: Path, multiplier: float) -> None:
    wrong = NOISY.replace(str(SIGMA), str(SIGMA * multiplier))
    noise = torch.cat([row for rows in noises("", tmp_path, noisy=wrong) for row in rows])
    assert variance_is_right(noise, std=multiplier)
    assert not variance_is_right(noise, std=1.0)
