"""The words of each step of a long work, and how far a grid is."""

from dataclasses import replace
from pathlib import Path

import pytest

from securefl.federation.record import BARRED, RoundRecord
from securefl.runs.cell import Cell, CellState
from securefl.runs.pool import Finished, Job, Progressed, Started, Ticked
from securefl.studies.costs import Costs
from securefl.studies.grid import Tally
from securefl.ui.grids import cell_step, counts, duration
from securefl.ui.progress import Place, download_step, local_step, round_step, run_step

JOB = Job(Cell(Path("cells/abc")), {})
RECORD = RoundRecord(
    round=4,
    abandoned=False,
    reason="",
    cohort=(0, 1),
    survivors=(0, 1),
    absent={},
    screened=(),
    rejected=0,
    bytes_up=0,
    bytes_down=0,
    accuracy=0.75,
    ledger_heads={},
    seconds=0.1,
)


def test_a_round_counts_from_one_for_people() -> None:
    step = round_step("heart", RECORD, 20)
    assert step.text == "heart: round 5/20, accuracy 0.750"
    assert step.note == "5/20, accuracy 0.750"
    assert (step.done, step.total, step.stage) == (5, 20, 2)
    assert step.alarms == ()
    assert step.facts["round"] == 4


def test_a_round_of_a_regression_shows_its_error() -> None:
    step = round_step("stays", replace(RECORD, accuracy=None, rmse=12.3456), 20)
    assert step.text == "stays: round 5/20, RMSE 12.35"
    assert step.note == "5/20, RMSE 12.35"
    assert (step.facts["accuracy"], step.facts["rmse"]) == (None, 12.3456)
    assert "rmse" not in round_step("heart", RECORD, 20).facts


def test_a_round_that_nobody_evaluated_says_so_and_shows_no_number() -> None:
    step = round_step("heart", replace(RECORD, accuracy=None, evaluated=False), 20)
    assert step.note == "5/20, not evaluated"
    assert step.text == ""
    assert (step.facts["evaluated"], step.facts["accuracy"]) == (False, None)
    assert round_step("heart", RECORD, 20).facts["evaluated"] is True


def test_liars_are_alarms_once_and_not_in_every_later_round() -> None:
    record = replace(RECORD, named={3: "its sketch is another"}, paired=((4, 5),))
    step = round_step("heart", record, 20)
    assert step.alarms == (
        "heart: round 5, client 3 was found lying: its sketch is another",
        "heart: round 5, client 4 or client 5 lied",
    )
    assert (step.facts["named"], step.facts["paired"]) == ({3: "its sketch is another"}, [[4, 5]])
    later = replace(RECORD, absent={3: f"{BARRED}its sketch is another", 1: "dropped"})
    step = round_step("heart", later, 20)
    assert step.alarms == ("heart: round 5, client 1 absent: dropped",)
    assert step.facts["absent"] == later.absent
    assert not {"named", "paired"} & set(step.facts)


def test_a_lost_round_and_an_absent_client_are_alarms() -> None:
    lost = replace(RECORD, abandoned=True, reason="no clients left", accuracy=None)
    step = round_step("heart", replace(lost, absent={1: "it dropped out"}), 20)
    assert step.alarms == (
        "heart: round 5 abandoned: no clients left",
        "heart: round 5, client 1 absent: it dropped out",
    )
    assert step.text == ""


def test_the_runs_of_a_demo_show_no_accuracy() -> None:
    """The lowest accuracy of the demo is that of a mean under attack: seen alone, it frightens."""
    step = run_step("demo", "8 sites, one sends -5x: FedAvg / split 0", 30, 75)
    assert step.text == "demo: 30 of 75 runs"
    assert step.note == "30 of 75 runs: 8 sites, one sends -5x: FedAvg / split 0"
    assert (step.done, step.total, step.stage) == (30, 75, 4)


@pytest.mark.parametrize(
    ("done", "total", "text", "stage"),
    [
        (12_300_000, 40_000_000, "downloading a.npz: 12.3 MB of 40.0 MB", 3),
        (25_000_000, None, "downloading a.npz: 25.0 MB", 2),
        (5, 5, "downloading a.npz: 0.0 MB of 0.0 MB", 5),
    ],
)
def test_a_download_is_said_by_tenths_or_by_ten_megabytes(
    done: int, total: int | None, text: str, stage: int
) -> None:
    step = download_step("a.npz", done, total)
    assert (step.text, step.stage) == (text, stage)
    assert step.facts == {"file": "a.npz", "bytes": done, "total": total}


def test_a_cell_that_failed_is_an_alarm_with_its_reason() -> None:
    step = cell_step(
        "study",
        "row / seed 0",
        Tally(failed=1, left=2),
        Finished(JOB, CellState.FAILED, "no clients", 2.0),
    )
    assert step.alarms == ("failed: row / seed 0 (2.0 s): no clients",)
    assert step.text == "0 done, 0 running, 1 failed, 2 left"
    assert (step.done, step.total) == (1, 3)
    assert step.facts["state"] == "failed"
    assert step.facts["reason"] == "no clients"


def test_a_cell_that_is_done_is_a_line_with_the_tally() -> None:
    step = cell_step(
        "study",
        "row",
        Tally(done=1, running={"d": 3}, left=2),
        Finished(JOB, CellState.DONE, "", 2.0),
    )
    assert step.text == "done: row (2.0 s); 1 done, 1 running, 0 failed, 2 left"
    assert step.alarms == ()
    assert (step.done, step.total) == (1, 4)


def test_a_tick_is_idle_and_names_no_cell() -> None:
    step = cell_step("study", "", Tally(running={"abc": 4}, left=2), Ticked())
    assert step.idle
    assert step.text == ("still running: 0 done, 1 running, 0 failed, 2 left; rounds played: 4")
    assert "cell" not in step.facts


def test_a_tally_follows_the_events() -> None:
    tally = Tally(done=1, left=3).after(Started(JOB))
    assert (tally.left, dict(tally.running)) == (2, {"abc": 0})
    tally = tally.after(Progressed(JOB, 7)).after(Ticked())
    assert dict(tally.running) == {"abc": 7}
    assert tally.after(Finished(JOB, CellState.DONE, "", 1.0)) == Tally(done=2, left=2)
    assert tally.after(Finished(JOB, CellState.FAILED, "x", 1.0)) == Tally(done=1, failed=1, left=2)
    assert tally.after(Finished(JOB, CellState.OUT_OF_BUDGET, "x", 1.0)) == Tally(
        done=1, out_of_budget=1, left=2
    )


def test_costs_are_means_of_the_row_or_of_all_shared_by_the_jobs() -> None:
    costs = Costs()
    assert costs.seconds({"a": 1}, 1) is None
    assert costs.size(3) is None
    costs.note("a", 1.0)
    costs.note("a", 3.0)
    costs.note("b", 11.0)
    costs.note_size(100)
    costs.note_size(300)
    # Row "a" takes 2 s, row "b" 11 s; a new row is taken at the mean of all three cells, 5 s.
    assert costs.seconds({"a": 20, "b": 1, "new": 1}, 2) == pytest.approx(
        (20 * 2.0 + 11.0 + 5.0) / 2
    )
    assert costs.seconds({"a": 2, "b": 1, "new": 0}, 2) == 11.0  # two jobs cannot share a cell
    assert costs.seconds({"a": 0}, 2) == 0.0
    assert costs.size(3) == 600.0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (3540, "59 min"),
        (3599, "1 h 00 min"),
        (5400, "1 h 30 min"),
    ],
)
def test_a_duration_is_in_the_unit_that_people_would_use(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_counts_in_words() -> None:
    assert counts(Tally(done=2, left=1)) == "2 done, 0 running, 0 failed, 1 left"
    words = counts(Tally(done=2, out_of_budget=1, failed=3, running={"abc": 4}, seconds_left=61.0))
    assert words == "2 done, 1 out of budget, 1 running, 3 failed, 0 left, about 1 min to go"


def test_a_long_round_says_which_client_is_where() -> None:
    step = local_step("heart", Place(round=4, client=1, clients=4, step=17, steps=63), 20)
    assert step.text == "heart: 4/20 rounds, client 2 of 4, local step 17 of 63"
    assert step.note == "4/20 rounds, client 2 of 4, local step 17 of 63"
    assert (step.event, step.done, step.total, step.idle) == ("step", 4, 20, True)
    assert step.facts["step"] == 17


def test_the_first_round_of_a_resumed_run_is_not_guessed() -> None:
    step = local_step("heart", Place(round=None, client=0, clients=4, step=1, steps=63), 20)
    assert step.text == "heart: client 1 of 4, local step 1 of 63"
    assert step.done == 0
