"""What a grid shows while it runs, and what its cells take.

Mutants that die here: failures without their reason; silence while nothing ends; the time left not shared by the jobs;
the mean over rows where a row has its own.
"""

import json
from pathlib import Path

import pytest

from securefl.runs.cell import Cell, CellState
from securefl.runs.pool import Finished, Job, Progressed, Started, Ticked
from securefl.studies.costs import Costs
from securefl.studies.grid import Tally
from securefl.ui.progress import counts, duration, make_progress
from securefl.ui.styles import Style

JOB = Job(Cell(Path("cells/abc")), {})


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
    assert costs.seconds({"a": 20, "b": 1, "new": 1}, 2) == pytest.approx(
        (20 * 2.0 + 11.0 + 5.0) / 2
    )
    assert costs.seconds({"a": 2, "b": 1, "new": 0}, 2) == 11.0  # one cell is not shared
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
def test_durations_are_said_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_counts_in_words() -> None:
    assert counts(Tally(done=2, left=1)) == "2 done, 0 running, 0 failed, 1 left"
    told = counts(Tally(done=2, out_of_budget=1, failed=3, running={"abc": 4}, seconds_left=61.0))
    assert told == "2 done, 1 out of budget, 1 running, 3 failed, 0 left, about 1 min to go"


def test_plain_lines_for_what_ends_and_now_and_then_for_what_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("securefl.ui.progress.time.monotonic", lambda: now)
    shown = make_progress(Style.PLAIN, 3)
    running = Tally(running={"abc": 4}, left=2)
    shown.show("row / seed 0", running, Started(JOB))
    now = 114.0
    shown.show("", running, Ticked())
    assert capsys.readouterr().out == ""
    now = 116.0
    shown.show("", running, Ticked())
    assert capsys.readouterr().out == (
        "still running: 0 done, 1 running, 0 failed, 2 left; rounds played: 4\n"
    )
    shown.show("", running, Ticked())
    assert capsys.readouterr().out == ""
    shown.show(
        "row / seed 0",
        Tally(failed=1, left=2),
        Finished(JOB, CellState.FAILED, "no clients left", 2.0),
    )
    assert capsys.readouterr().out == (
        "failed: row / seed 0 (2.0 s): no clients left; 0 done, 0 running, 1 failed, 2 left\n"
    )


def test_json_is_one_object_a_line_with_a_heartbeat(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("securefl.ui.progress.time.monotonic", lambda: now)
    shown = make_progress(Style.JSON, 3)
    shown.show("row", Tally(left=2), Started(JOB))
    shown.show("", Tally(left=2), Ticked())
    now = 120.0
    shown.show("", Tally(left=2, seconds_left=9.5), Ticked())
    shown.show("row", Tally(done=1, left=2), Finished(JOB, CellState.DONE, "", 2.5))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == ["started", "heartbeat", "finished"]
    assert lines[1]["seconds_left"] == 9.5
    assert (lines[2]["cell"], lines[2]["state"], lines[2]["seconds"], lines[2]["done"]) == (
        "row",
        "done",
        2.5,
        1,
    )


def test_the_live_bar_tells_what_went_wrong_and_none_is_silent(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for style in (Style.RICH, Style.NONE):
        shown = make_progress(style, 3)
        shown.show("row [x]", Tally(done=1), Finished(JOB, CellState.DONE, "", 1.0))
        shown.show("row [x]", Tally(failed=1), Finished(JOB, CellState.FAILED, "why [y]", 1.0))
        shown.stop()
    written = capsys.readouterr().out
    assert written.count("failed: row [x] (1.0 s): why [y]") == 1
