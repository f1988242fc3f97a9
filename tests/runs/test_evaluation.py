"""Rounds that nobody evaluates: they say so, and nothing else of a run changes."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from securefl.errors import BudgetExceeded
from securefl.federation.record import RoundRecord
from securefl.runs.cell import Cell
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.names import cell_hash
from securefl.runs.play import run_cell
from securefl.scenario.scenario import parse_scenario
from securefl.scenario.summary import summary
from tests.runs.test_play import comparable, nothing, run_until_killed, small
from tests.scenario.texts import digits, refusal

SKIPPED = False, None


def judged(cell: Cell) -> list[tuple[bool, float | None]]:
    return [(record.evaluated, record.accuracy) for record in cell.rounds()]


def play(folder: Path, *overrides: str) -> Cell:
    cell = Cell(folder)
    run_cell(cell, small(*overrides), on_round=nothing)
    return cell


def lines(cell: Cell) -> list[dict[str, Any]]:
    """The lines of rounds.jsonl without times, and without heads that name the run."""
    written = (cell.folder / "rounds.jsonl").read_text().splitlines()
    rounds = [json.loads(line) for line in written]
    return [
        {k: v for k, v in one.items() if k not in ("seconds", "ledger_heads")} for one in rounds
    ]


@pytest.mark.parametrize(
    ("every", "evaluated"), [(1, [0, 1, 2, 3, 4, 5]), (2, [1, 3, 5]), (4, [3, 5]), (6, [5])]
)
def test_every_nth_round_and_the_last_are_evaluated_as_if_all_were(
    tmp_path: Path, every: int, evaluated: list[int]
) -> None:
    usual = play(tmp_path / "usual")
    sparse = play(tmp_path / "sparse", f"evaluate.every={every}")
    whole = judged(usual)
    assert judged(sparse) == [
        whole[round] if round in evaluated else SKIPPED for round in range(len(whole))
    ]
    assert comparable(sparse.metrics() or {}) == comparable(usual.metrics() or {})
    models = [load_checkpoint(cell.checkpoint).state.weights for cell in (usual, sparse)]
    assert torch.equal(*models)


def test_a_run_that_was_killed_between_two_evaluations_ends_as_an_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = play(tmp_path / "undisturbed", "evaluate.every=4")
    cell = Cell(tmp_path / "killed")
    scenario = small("evaluate.every=4")
    run_until_killed(monkeypatch, cell, scenario, round=2)
    assert judged(cell) == [SKIPPED] * 2
    metrics = run_cell(cell, scenario, on_round=nothing)
    assert lines(cell) == lines(undisturbed)
    assert comparable(metrics) == comparable(undisturbed.metrics() or {})


def test_a_round_that_a_crash_cut_short_is_evaluated_only_where_it_is_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fresh noise: the round that was paid for is abandoned, by number 1 or 2 of six.
    for round, is_due in ((1, True), (2, False)):
        cell = Cell(tmp_path / str(round))
        scenario = small("privacy.noise=system", "evaluate.every=2")
        run_until_killed(monkeypatch, cell, scenario, round=round)
        run_cell(cell, scenario, on_round=nothing)
        record = cell.rounds()[round]
        assert record.abandoned
        assert record.evaluated is is_due
        assert (record.accuracy is not None) is is_due


def test_a_budget_that_ends_a_run_between_evaluations_still_leaves_its_metrics(
    tmp_path: Path,
) -> None:
    short = ("privacy.noise_multiplier=2.0", "rounds=40", "channel.min_cohort=3")
    attacked = (*short, "attack={name='sign_flip', scale=50.0, clients=[0]}")
    cells = [Cell(tmp_path / "usual"), Cell(tmp_path / "sparse")]
    for cell, keys in zip(cells, (attacked, (*attacked, "evaluate.every=40")), strict=True):
        with pytest.raises(BudgetExceeded):
            run_cell(cell, small(*keys), on_round=nothing)
    usual, sparse = (cell.metrics() or {} for cell in cells)
    assert set(judged(cells[1])) == {SKIPPED}
    assert usual["accuracy"] == sparse["accuracy"] is not None
    # No round was evaluated but the final model was: the collapse is seen in the last round.
    assert usual["collapsed"] is not None
    assert sparse["collapsed"] == len(cells[1].rounds()) - 1


def test_records_reach_the_caller_as_they_are_written(tmp_path: Path) -> None:
    records: list[RoundRecord] = []
    cell = Cell(tmp_path)
    run_cell(cell, small("evaluate.every=4"), on_round=records.append)
    assert records == cell.rounds()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("0", "evaluate.every: input should be greater than or equal to 1"),
        ("-3", "evaluate.every: input should be greater than or equal to 1"),
        ("'all'", "evaluate.every: input should be a valid integer"),
        ("true", "evaluate.every: input should be a valid integer"),
        ("21", "evaluate.every = 21 is above the 20 rounds of the run; use 20 to evaluate the"),
    ],
)
def test_a_rhythm_that_makes_no_sense_is_refused(value: str, words: str) -> None:
    assert words in refusal(digits(), f"evaluate.every={value}")


def test_a_rhythm_may_be_as_long_as_the_run_and_validate_tells_of_it() -> None:
    sentence = "the model is evaluated after every 20 rounds and after the last one, only"
    assert sentence in summary(parse_scenario(digits(), overrides=("evaluate.every=20",)))
    for keys in ((), ("evaluate.every=1",)):
        assert "evaluated" not in summary(parse_scenario(digits(), overrides=keys))


def test_cells_of_scenarios_without_a_rhythm_keep_their_names() -> None:
    values = parse_scenario(digits()).resolved()
    assert values["evaluate"] is None
    assert cell_hash(values) == cell_hash({k: v for k, v in values.items() if k != "evaluate"})
