"""Runs on a simulated clock: the slow are discarded, have paid, and the time is in the records."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from securefl.audit.inquiry import Inquiry, shadow_scenarios
from securefl.federation.engine import play_round
from securefl.federation.record import RoundRecord
from securefl.runs.cell import Cell
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.play import run_cell
from securefl.scenario.assemble.assemble import assemble
from securefl.scenario.scenario import Scenario, parse_scenario
from tests.runs.test_play import comparable, nothing, releases, run_until_killed

HEART = """
rounds = 3
data = { name = "heart" }
training = { batch = 64, lr = 0.2 }
privacy = { noise = "NOISE", noise_multiplier = 2.0 }
"""
SLOW = "simulate = { speed = [5, 2, 8, 2] }\n"
THREE = "cohort = { size = 3, over_select = 1.3 }\n"
MASKED = 'channel = { kind = "masked", min_cohort = 3 }\n'


def heart(more: str, noise: str = "seeded") -> Scenario:
    return parse_scenario(HEART.replace("NOISE", noise) + more)


def played(scenario: Scenario, folder: Path) -> tuple[Cell, list[RoundRecord]]:
    cell = Cell(folder)
    run_cell(cell, scenario, on_round=nothing)
    return cell, cell.rounds()


@pytest.mark.parametrize("channel", ["", MASKED, 'channel = { kind = "ckks" }\n'])
def test_the_slowest_is_discarded_has_paid_and_is_in_no_sum(channel: str, tmp_path: Path) -> None:
    cell, records = played(heart(SLOW + THREE + channel), tmp_path / "cell")
    reason = "discarded: 3 updates had come before its own (simulated)"
    for record in records:
        assert record.cohort == (0, 1, 2, 3)
        assert record.survivors == (0, 1, 3)
        assert record.absent == {2: reason}
    assert [record.clock for record in records] == [5, 10, 15]
    assert releases(cell, 2) == [0, 1, 2]
    assert releases(cell, 2, "settle") == []
    assert releases(cell, 3, "settle") == [0, 1, 2]
    metrics = cell.metrics()
    assert metrics is not None
    assert metrics["clock"] == 15


def test_the_model_is_that_of_the_others_alone(tmp_path: Path) -> None:
    discarded, _ = played(heart(SLOW + THREE), tmp_path / "discarded")
    late = ", ".join(f"{{ client = 2, round = {round} }}" for round in range(3))
    absent, _ = played(heart(f"simulate = {{ late = [{late}] }}\n"), tmp_path / "absent")
    models = [load_checkpoint(cell.checkpoint).state.weights for cell in (discarded, absent)]
    assert torch.equal(models[0], models[1])


def test_a_deadline_ends_rounds_and_leaves_the_slow_out(tmp_path: Path) -> None:
    _, records = played(heart(SLOW + "cohort = { size = 4, deadline = 6 }\n"), tmp_path / "cell")
    reason = "discarded: it came after the deadline of 6 (simulated)"
    assert [record.absent for record in records] == [{2: reason}] * 3
    assert [record.clock for record in records] == [6, 12, 18]


def test_a_silent_client_takes_nobodys_place(tmp_path: Path) -> None:
    speed = "speed = [5, 2, 8, 2]"
    drop = "drop = [{ client = 1, round = 1 }], late = [{ client = 3, round = 2 }]"
    two = "cohort = { size = 2, over_select = 2 }\n"
    cell, records = played(heart(f"simulate = {{ {speed}, {drop} }}\n{two}"), tmp_path / "cell")
    assert [record.survivors for record in records] == [(1, 3), (0, 3), (0, 1)]
    assert [record.clock for record in records] == [2, 7, 12]
    assert records[1].absent[1] == "dropped at stage 1 (simulated)"
    assert records[2].absent[3] == "its update came too late (simulated)"
    assert releases(cell, 1) == [0, 2]


def test_a_client_that_falls_silent_after_its_masked_upload_keeps_its_place(
    tmp_path: Path,
) -> None:
    drop = "drop = [{ client = 1, round = 0, stage = 4 }, { client = 1, round = 1, stage = 3 }]"
    speed = f"simulate = {{ speed = [1, 1, 2, 2, 3, 3, 4, 5], {drop} }}\n"
    cohort = "cohort = { size = 6, over_select = 1.3 }\n"
    text = HEART.replace("NOISE", "seeded") + speed + cohort + MASKED
    eight = parse_scenario(text, overrides=("data.partition=halves",))
    _, records = played(eight, tmp_path / "cell")
    first_six = tuple(range(6))
    assert [record.survivors for record in records] == [first_six, (0, 2, 3, 4, 5, 6), first_six]
    assert [record.clock for record in records] == [3, 7, 10]


def test_the_clock_alone_changes_nothing_else(tmp_path: Path) -> None:
    plain, without = played(heart(""), tmp_path / "plain")
    clocked, records = played(heart(SLOW), tmp_path / "clocked")
    expected = run_cell(plain, heart(""), on_round=nothing)
    got: dict[str, Any] = comparable(run_cell(clocked, heart(SLOW), on_round=nothing))
    assert got.pop("clock") == 24
    assert got == comparable(expected)
    assert "clock" not in expected
    assert [record.clock for record in records] == [8, 16, 24]
    assert [record.clock for record in without] == [None] * 3
    assert "clock" not in without[0].to_json()


def test_a_killed_run_goes_on_with_the_same_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = heart(SLOW + "cohort = { size = 4, deadline = 8 }\n")
    whole, expected = played(scenario, tmp_path / "whole")
    killed = Cell(tmp_path / "killed")
    run_until_killed(monkeypatch, killed, scenario, round=1)
    metrics = run_cell(killed, scenario, on_round=nothing)
    assert comparable(metrics) == comparable(run_cell(whole, scenario, on_round=nothing))
    assert [record.clock for record in killed.rounds()] == [record.clock for record in expected]


def test_a_round_that_was_cut_short_has_taken_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = Cell(tmp_path / "cell")
    scenario = heart(SLOW, noise="system")
    run_until_killed(monkeypatch, cell, scenario, round=1)
    run_cell(cell, scenario, on_round=nothing)
    records = cell.rounds()
    assert [record.abandoned for record in records] == [False, True, False]
    assert [record.clock for record in records] == [8, 16, 24]


def test_an_abandoned_round_takes_its_time(tmp_path: Path) -> None:
    drops = ", ".join(f"{{ client = {client}, round = 1 }}" for client in (0, 1))
    simulate = f"simulate = {{ speed = [5, 2, 8, 2], drop = [{drops}] }}\n"
    _, records = played(heart(simulate + MASKED), tmp_path / "cell")
    assert [record.abandoned for record in records] == [False, True, False]
    assert [record.clock for record in records] == [8, 16, 24]


def test_an_adversary_counts_on_the_rows_that_are_taken(tmp_path: Path) -> None:
    # Both clients are corrupt. A row of client 2, which is discarded, would shift the plan.
    attack = 'attack = { name = "sign_flip", scale = 1, knows = "omniscient", clients = [1, 2] }\n'
    scenario = heart(SLOW + THREE + attack)
    federation = assemble(scenario, run="", ledgers=tmp_path).federation
    sizes = []

    def attacked(own: torch.Tensor, known: torch.Tensor, round: int) -> torch.Tensor:
        sizes.append((len(own), len(known)))
        return own

    adversary = replace(federation.adversary, attack=attacked)
    start = assemble(scenario, run="", ledgers=tmp_path).start
    played = play_round(replace(federation, adversary=adversary), start)
    assert sizes == [(1, 2)]
    assert played.record.survivors == (0, 1, 3)
    assert list(played.record.absent) == [2]


def test_shadows_of_an_audit_have_no_clock() -> None:
    text = HEART.replace("NOISE", "seeded") + SLOW + "cohort = { size = 2, over_select = 1.5 }\n"
    shadows = shadow_scenarios(Inquiry(parse_scenario(text), "server"), 2)
    assert [shadow.facts.invited for shadow in shadows.values()] == [2, 2]
