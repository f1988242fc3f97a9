"""The noise that reaches the server through whole rounds has the deviation that was accounted, and is fresh.

Every client's step takes all its records, so that the same scenario without noise gives what there is beside it.

Mutants killed:
noise 10 % too weak or too strong, shared by clients, rounds or runs; added before clipping; divided by the number of
clients twice; an epsilon accounted for another multiplier than the one that was used.
"""

import math
import secrets
from pathlib import Path

import pytest
import torch
from torch import Tensor

from securefl.channels.protocol import Seen
from securefl.federation import engine
from securefl.federation.values import State
from securefl.scenario.assemble.assemble import assemble
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
NOISY = f"privacy = {{ noise_multiplier = {SIGMA}, epsilon = 100.0, delta = 1e-5, records = {[RECORDS] * CLIENTS} }}\n"
BARE = f'privacy = {{ epsilon = "inf", records = {[RECORDS] * CLIENTS} }}\n'
MASKED = 'channel = { kind = "masked", ring = 32, corrupt = 1, clip = 1.0 }\n'


def seen(scenario: Scenario, tmp_path: Path) -> list[dict[str, Tensor]]:
    """What the server observes in each round: about whom -> row, all in units of the noise's deviation."""
    assembled = assemble(scenario, run="r", ledgers=tmp_path / secrets.token_hex(4))
    state = State(assembled.start.weights)
    rounds = []
    for _ in range(scenario.rounds):
        recorder = Recorder()
        played = engine.play_round(assembled.federation, state, recorder)
        assert not played.record.abandoned, played.record.reason
        rows = {
            str(one.about): one.values.double() * RECORDS / (LR * CLIP * SIGMA)
            for one in recorder.observations
            if one.party == "server" and one.kind in KINDS and one.values is not None
        }
        rounds.append(rows)
        state = State(
            assembled.start.weights, {}, state.round + 1
        )  # the model stays, so that the gradients do
    return rounds


def noises(text: str, tmp_path: Path, *, noisy: str = NOISY, rounds: int = 2) -> list[list[Tensor]]:
    """Round -> row -> noise."""
    with_noise, without = (
        seen(parse_scenario(TEXT.format(rounds=rounds) + privacy + text), tmp_path)
        for privacy in (noisy, BARE)
    )
    found = []
    for one, other in zip(with_noise, without, strict=True):
        assert one.keys() == other.keys()
        assert one
        found.append([one[about] - other[about] for about in sorted(one)])
    return found


def test_noise_of_every_client_and_round_has_the_accounted_deviation_and_is_its_own(
    tmp_path: Path,
) -> None:
    rounds = noises("", tmp_path)
    assert [len(rows) for rows in rounds] == [CLIENTS, CLIENTS]
    drawn = [row for rows in rounds for row in rows]
    for row in drawn:
        assert variance_is_right(row, std=1.0)
    every = torch.cat(drawn)
    assert variance_is_right(every, std=1.0)
    assert not variance_is_right(every, std=0.9)
    assert not variance_is_right(every, std=1.1)
    assert abs(float(every.mean())) < 4.9 / math.sqrt(every.numel())
    for i, one in enumerate(drawn):
        for other in drawn[:i]:
            assert abs(float((one * other).mean())) < 4.9 / math.sqrt(one.numel())


def test_noise_differs_from_run_to_run(tmp_path: Path) -> None:
    one, other = noises("", tmp_path), noises("", tmp_path)
    for first, second in zip(one[0], other[0], strict=True):
        assert abs(float((first * second).mean())) < 4.9 / math.sqrt(first.numel())


def test_under_masks_the_sum_carries_the_noise_of_all(tmp_path: Path) -> None:
    rounds = noises(MASKED, tmp_path, rounds=8)
    assert [len(rows) for rows in rounds] == [1] * 8
    every = torch.cat([row for (row,) in rounds])
    assert variance_is_right(every, std=math.sqrt(CLIENTS))
    assert not variance_is_right(every, std=0.9 * math.sqrt(CLIENTS))
    assert not variance_is_right(every, std=1.1 * math.sqrt(CLIENTS))


@pytest.mark.parametrize("multiplier", [0.9, 1.1])
def test_a_multiplier_ten_percent_off_is_caught(tmp_path: Path, multiplier: float) -> None:
    wrong = NOISY.replace(str(SIGMA), str(SIGMA * multiplier))
    every = torch.cat([row for rows in noises("", tmp_path, noisy=wrong) for row in rows])
    assert variance_is_right(every, std=multiplier)
    assert not variance_is_right(every, std=1.0)
