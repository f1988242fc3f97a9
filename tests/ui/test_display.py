"""One display, four styles: the steps that each shows, and tables that keep numbers whole."""

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console

from securefl.runs.cell import CellState
from securefl.runs.metrics import RunMetrics
from securefl.runs.pool import Finished, Started, Ticked
from securefl.runs.table import Row
from securefl.studies.grid import Tally
from securefl.ui.display import Display, make_display
from securefl.ui.grids import cell_step
from securefl.ui.live import RichDisplay, parts
from securefl.ui.progress import Step, download_step, round_step, run_step
from securefl.ui.styles import Style
from tests.ui.test_progress import JOB, RECORD

METRICS: RunMetrics = {
    "accuracy": 0.8123,
    "balanced_accuracy": 0.7988,
    "auc": 0.9,
    "majority": 0.516,
    "epsilon": 8.0,
    "delta": 1e-5,
    "bytes_up": 1_000_000,
    "bytes_down": 1_500_000,
    "seconds": 12.3,
}
Clock = Callable[[float], None]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Sets the seconds that displays read."""
    now = [100.0]
    monkeypatch.setattr("securefl.ui.display.time.monotonic", lambda: now[0])

    def set_to(seconds: float) -> None:
        now[0] = seconds

    return set_to


def written_by(display: Display, *steps: Step) -> None:
    display.start("study", unit="cells", total=3)
    for step in steps:
        display.progress(step)
    display.finished()


def test_plain_prints_each_tenth_of_a_run_once(capsys: pytest.CaptureFixture[str]) -> None:
    rounds = [round_step("heart", replace(RECORD, round=number), 40) for number in range(40)]
    written_by(make_display(Style.PLAIN), *rounds)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 11
    assert lines[1] == "heart: round 4/40, accuracy 0.750"
    assert lines[-1] == "heart: round 40/40, accuracy 0.750"


def test_plain_prints_two_works_in_turn(capsys: pytest.CaptureFixture[str]) -> None:
    """A download may end at the stage at which the run begins."""
    written_by(
        make_display(Style.PLAIN),
        download_step("a.npz", 0, 100),
        round_step("heart", replace(RECORD, round=0), 40),
    )
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_plain_prints_alarms_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    lost = replace(RECORD, abandoned=True, reason="no clients left", accuracy=None)
    written_by(make_display(Style.PLAIN), round_step("heart", lost, 40))
    assert capsys.readouterr().out == "heart: round 5 abandoned: no clients left\n"


def test_plain_says_after_a_long_silence_that_cells_still_run(
    capsys: pytest.CaptureFixture[str], clock: Clock
) -> None:
    display = make_display(Style.PLAIN)
    running = Tally(running={"abc": 4}, left=2)
    tick = cell_step("study", "", running, Ticked())
    display.progress(cell_step("study", "row / seed 0", running, Started(JOB)))
    clock(114.0)
    display.progress(tick)
    assert capsys.readouterr().out == ""
    clock(116.0)
    display.progress(tick)
    assert capsys.readouterr().out == (
        "still running: 0 done, 1 running, 0 failed, 2 left; rounds played: 4\n"
    )
    display.progress(tick)
    assert capsys.readouterr().out == ""
    failed = Finished(JOB, CellState.FAILED, "no clients left", 2.0)
    display.progress(cell_step("study", "row / seed 0", Tally(failed=1, left=2), failed))
    assert capsys.readouterr().out == (
        "failed: row / seed 0 (2.0 s): no clients left\n0 done, 0 running, 1 failed, 2 left\n"
    )


def test_json_is_one_object_a_line_with_a_heartbeat(
    capsys: pytest.CaptureFixture[str], clock: Clock
) -> None:
    display = make_display(Style.JSON)
    display.start("study", unit="cells", total=3)
    display.progress(cell_step("study", "row", Tally(left=2), Started(JOB)))
    display.progress(cell_step("study", "", Tally(left=2), Ticked()))
    clock(120.0)
    display.progress(cell_step("study", "", Tally(left=2, seconds_left=9.5), Ticked()))
    done = Finished(JOB, CellState.DONE, "", 2.5)
    display.progress(cell_step("study", "row", Tally(done=1, left=2), done))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    events = [line["event"] for line in lines]
    assert events == ["start", "started", "heartbeat", "finished"]
    assert lines[0] == {"event": "start", "label": "study", "cells": 3}
    assert lines[2]["seconds_left"] == 9.5
    assert lines[3]["cell"] == "row"
    assert lines[3]["state"] == "done"
    assert lines[3]["seconds"] == 2.5
    assert lines[3]["done"] == 1


def test_json_shows_facts_and_a_sentence_where_there_are_none(
    capsys: pytest.CaptureFixture[str],
) -> None:
    display = make_display(Style.JSON)
    display.line("a sentence")
    display.line("a sentence", folder="runs/a")
    display.line("a sentence", event="end", done=3)
    display.remark("for people only")
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        {"event": "line", "text": "a sentence"},
        {"event": "line", "folder": "runs/a"},
        {"event": "end", "done": 3},
    ]


def test_the_live_bar_shows_trouble_above_it_and_none_is_silent(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for style in (Style.RICH, Style.NONE):
        written_by(
            make_display(style),
            cell_step("study", "row [x]", Tally(done=1), Finished(JOB, CellState.DONE, "", 1.0)),
            cell_step(
                "study", "row [x]", Tally(failed=1), Finished(JOB, CellState.FAILED, "why [y]", 1.0)
            ),
        )
    written = capsys.readouterr().out
    assert written.count("failed: row [x] (1.0 s): why [y]") == 1


def test_each_work_has_a_bar_of_its_own() -> None:
    written = io.StringIO()
    display = RichDisplay(Console(file=written, width=100))
    written_by(display, download_step("a.npz", 50, 100), run_step("demo", "row", done=3, total=75))
    assert "downloading a.npz" in written.getvalue()
    assert "3 of 75 runs: row" in written.getvalue()


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_a_number_never_wraps_and_never_is_cut(width: int) -> None:
    written = io.StringIO()
    runs: list[RunMetrics] = [METRICS, {**METRICS, "accuracy": 0.7}]
    row = Row("masked sum, local DP-SGD, epsilon 8, four hospitals", runs)
    RichDisplay(Console(file=written, width=width)).table("title", [row])
    text = written.getvalue()
    assert "0.756 ± 0.056" in text
    assert "0.799 ± 0.000" in text
    assert "2.5 MB" in text
    assert "…" not in text
    assert max(len(line) for line in text.splitlines()) <= width


def test_a_refused_row_is_said_above_the_table() -> None:
    written = io.StringIO()
    display = RichDisplay(Console(file=written, width=100))
    display.table("title", [Row("Krum", note="refused: too few rows"), Row("mean", [METRICS])])
    lines = written.getvalue().splitlines()
    assert lines[0] == "Krum: refused: too few rows"
    assert any("mean" in line for line in lines[1:])


def test_columns_are_split_where_the_terminal_ends() -> None:
    lines = [["", "a", "b", "c"], ["row", "1234567890", "1234567890", "12"]]
    assert parts(lines, 200) == [[1, 2, 3]]
    # 3 + 3 + 1 for the label and the edge, then 13, 13 and 5.
    assert parts(lines, 38) == [[1, 2, 3]]
    assert parts(lines, 37) == [[1, 2], [3]]
    assert parts(lines, 25) == [[1], [2, 3]]
    assert parts(lines, 5) == [[1], [2], [3]]


def test_a_table_in_markdown_keeps_its_lines_on_a_narrow_terminal() -> None:
    written = io.StringIO()
    row = "| " + " | ".join(["0.123 ± 0.456"] * 8) + " |"
    RichDisplay(Console(file=written, width=60)).remark(f"title\n{row}\n")
    assert re.search(re.escape(row), written.getvalue())
