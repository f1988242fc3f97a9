"""Whole runs with groups: rules over their means, lost groups, resumed runs, regions, sites."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from securefl.federation.record import RoundRecord
from securefl.runs.cell import Cell
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.play import run_cell
from securefl.scenario.scenario import Scenario, parse_scenario
from tests.runs.deployed.parties import deployment
from tests.runs.test_play import comparable, nothing

# Five groups of three: enough for krum with f = 1.
TEXT = """
seed = 5
rounds = 3
data = { name = "digits", partition = "iid", clients = 15 }
training = { kind = "sgd", batch = 64, lr = 0.3 }
weights = "equal"
channel = { kind = "masked", groups = 5, secrets = "seeded" }
defense = { rule = "median" }
"""
LIAR = ("attack={name='sign_flip', scale=10.0, clients=[4]}", "rounds=2")
KRUM = "defense.rule={name='krum', f=1}"
ANEW = "channel.regroup='each_round'"
# Two groups of three in each of two regions.
REGIONS = """
seed = 5
rounds = 2
data = { name = "digits", partition = "iid", clients = 12 }
training = { kind = "sgd", batch = 64, lr = 0.3 }
weights = "equal"
channel = { kind = "masked", groups = 2, secrets = "seeded" }
topology = { kind = "hierarchical", regions = [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]] }
"""
SITES = """
seed = 5
rounds = 2
data = { name = "digits", partition = "iid", clients = 7 }
training = { kind = "sgd", batch = 64, lr = 0.3 }
weights = "equal"
channel = { kind = "masked", groups = 2, regroup = "each_round" }
"""


def scenario(*overrides: str, text: str = TEXT) -> Scenario:
    return parse_scenario(text, overrides=overrides)


def played(folder: Path, *overrides: str, text: str = TEXT) -> list[RoundRecord]:
    """Returns the records of a run."""
    cell = Cell(folder)
    run_cell(cell, scenario(*overrides, text=text), on_round=nothing)
    return cell.rounds()


def timeless(records: list[RoundRecord]) -> list[dict[str, Any]]:
    return [{**record.to_json(), "seconds": 0.0} for record in records]


def test_rules_over_groups_withstand_a_liar_to_whom_the_masked_mean_is_lost(tmp_path: Path) -> None:
    one_sum = ("channel={kind='masked'}", "defense.rule='mean'")
    mean = played(tmp_path / "mean", *LIAR, *one_sum)[-1].accuracy
    median = played(tmp_path / "median", *LIAR)[-1].accuracy
    krum = played(tmp_path / "krum", *LIAR, KRUM)[-1].accuracy
    assert mean is not None
    assert median is not None
    assert krum is not None
    assert min(median, krum) > mean + 0.2


def test_the_mean_of_groups_is_the_mean_of_all(tmp_path: Path) -> None:
    mean = ("defense.rule='mean'", "rounds=1")
    played(tmp_path / "groups", *mean)
    (record,) = played(tmp_path / "whole", *mean, "channel={kind='masked'}")
    assert not {"groups", "rank"} & record.to_json().keys()
    groups, whole = (
        load_checkpoint(Cell(tmp_path / name).checkpoint).state.weights
        for name in ("groups", "whole")
    )
    assert torch.allclose(groups, whole, atol=1e-6)
    assert not torch.equal(groups, torch.zeros_like(groups))


def test_a_lost_group_is_recorded_and_the_rule_goes_on_without_it(tmp_path: Path) -> None:
    # Three of three are needed, so that one client takes its group along.
    drop = "simulate.drop=[{client=6, round=1, stage=3}]"
    first, second, third = played(tmp_path / "cell", drop)
    (lost,) = (group for group in first.groups if 6 in group)
    assert second.groups == tuple(group for group in first.groups if group != lost)
    assert set(second.absent) == set(lost)
    assert {second.absent[client] for client in lost if client != 6} == {
        "lost with its group, of which too few were left"
    }
    assert not second.abandoned
    assert third.groups == first.groups
    assert [record.rank for record in (first, second, third)] == [5, 5, 5]
    # Server and network saw one sum a group.
    lines = (tmp_path / "cell" / "transcript.jsonl").read_text().splitlines()
    assert sum('"sum of updates"' in line for line in lines) == 2 * (5 + 4 + 5)


def test_a_round_with_fewer_groups_than_the_rule_needs_is_abandoned(tmp_path: Path) -> None:
    # What was opened counts all the same.
    drop = "simulate.drop=[{client=6, round=0, stage=3}]"
    first, *_ = played(tmp_path / "cell", KRUM, drop, "rounds=2")
    assert first.abandoned
    assert "krum needs n >= 2f + 3" in first.reason
    assert (len(first.groups), first.rank) == (4, 4)


class Killed(BaseException):
    """Ends a process between two rounds."""


def test_a_resumed_run_gives_the_same_numbers_groups_and_ranks(tmp_path: Path) -> None:
    def killed(record: RoundRecord) -> None:
        if record.round == 1:
            raise Killed

    four_rounds = scenario(ANEW, "rounds=4")
    whole, cut = Cell(tmp_path / "whole"), Cell(tmp_path / "cut")
    metrics = run_cell(whole, four_rounds, on_round=nothing)
    with pytest.raises(Killed):
        run_cell(cut, four_rounds, on_round=killed)
    assert len(cut.rounds()) == 2
    resumed = run_cell(cut, four_rounds, on_round=nothing)
    assert comparable(resumed) == comparable(metrics)
    assert timeless(cut.rounds()) == timeless(whole.rounds())
    rows: list[list[bool]] = []
    for record in cut.rounds():
        rows += [[client in group for client in range(15)] for group in record.groups]
        assert record.rank == np.linalg.matrix_rank(np.array(rows, dtype=float))
    # All groups of a round have the same total: four new equations, as long as there are some.
    assert cut.rounds()[0].rank == 5
    assert (cut.rounds()[-1].rank or 0) > 9
    assert len({record.groups for record in cut.rounds()}) == 4


def test_groups_of_regions_are_dealt_within_each(tmp_path: Path) -> None:
    for record in played(tmp_path / "cell", text=REGIONS):
        assert len(record.groups) == 4
        assert sorted(client for group in record.groups for client in group) == list(range(12))
        for group in record.groups:
            assert max(group) < 6 or min(group) >= 6
        assert record.rank == 4


def test_sites_play_groups_as_a_simulation_does(tmp_path: Path) -> None:
    parties = deployment(SITES, tmp_path, sites=7)
    weights = parties.play().weights
    for record in parties.cell.rounds():
        assert sorted(len(group) for group in record.groups) == [3, 4]
    assert [record.rank for record in parties.cell.rounds()] == [2, 3]
    # Its groups come from another set-up, and the mean of groups is that of all.
    cell = Cell(tmp_path / "simulation")
    run_cell(cell, scenario(text=SITES), on_round=nothing)
    expected = load_checkpoint(cell.checkpoint).state.weights
    assert torch.allclose(weights, expected, atol=1e-5)
