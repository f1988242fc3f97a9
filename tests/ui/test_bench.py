"""securefl bench from end to end: resumed, shared, limited, and never a lost or a mixed result."""

import csv
import json
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from securefl.errors import BudgetExceeded, RunFolderError, ScenarioError, SecureflError
from securefl.files import locked, read_json, read_lines
from securefl.runs.cell import Cell, CellState
from securefl.runs.environment import code_hash
from securefl.runs.folder import RunFolder
from securefl.runs.pool import Job
from securefl.studies.grid import Grid
from securefl.ui.bench import Options, bench, dry_run
from securefl.ui.styles import Style
from tests.commands import call
from tests.workers import forked_workers

STUDY = """\
seeds = 2
[base]
rounds = 24
training = { kind = "dp_sgd" }
privacy = { noise = "seeded" }
[axes]
"channel.kind" = ["plain", "masked"]
[[baseline]]
label = "local only"
average = { "data.only" = [0, 1] }
[compare]
reference = { "channel.kind" = "plain" }
"""
FAILING = """\
seeds = 1
cell_limit = 5
[base]
training = { kind = "sgd" }
[axes.what]
good = { rounds = 2 }
hanging = { rounds = 1000000 }
failing = { rounds = 1, "simulate.drop" = NOBODY }
"good too" = { rounds = 1 }
"""
NOBODY = ", ".join(f"{{ client = {client}, round = 0 }}" for client in range(4))
FAILING = FAILING.replace("NOBODY", f"[{NOBODY}]")
TINY = """\
seeds = 3
[base]
rounds = 1
training = { kind = "sgd" }
[axes]
"training.lr" = [0.1, 0.2]
"""
LONG = """\
[[override]]
when = { "training.lr" = 0.2 }
long = true
"""


def study(folder: Path, text: str, name: str = "study") -> str:
    path = folder / f"{name}.toml"
    path.write_text(text)
    return str(path)


def quietly(name: str, out: Path, options: Options | None = None) -> None:
    bench(name, out, options or Options(jobs=2), Style.NONE)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from securefl.ui.main import main; main()", *arguments]


def table(out: Path) -> list[dict[str, str]]:
    """The rows of results.csv."""
    return list(csv.DictReader((out / "results.csv").read_text().splitlines()))


def starts(out: Path) -> dict[str, int]:
    """Cell -> how often it was begun."""
    return {cell.hash: cell.timings().starts for _, _, cell in RunFolder.open(out).cells()}


def paid(out: Path) -> dict[str, list[tuple[int, ...]]]:
    """Ledger -> client, round and attempt of every release it reserved, in order."""
    return {
        f"{path.parent.parent.name}/{path.name}": [
            tuple(entry["release"][1:]) for entry in read_lines(path) if entry["kind"] == "reserve"
        ]
        for path in sorted(out.glob("cells/*/ledgers/*.jsonl"))
    }


@pytest.fixture(autouse=True, scope="module")
def quick_workers() -> Iterator[None]:
    """For studies that run in this process; those that start a command have real workers."""
    with forked_workers():
        yield


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study run in one go by one worker."""
    folder = tmp_path_factory.mktemp("undisturbed")
    quietly(study(folder, STUDY), folder / "out", Options(jobs=1))
    return folder / "out"


def test_two_jobs_killed_in_the_middle_give_what_one_gives_and_pay_once(
    undisturbed: Path, tmp_path: Path
) -> None:
    out, kills, cut = tmp_path / "out", 0, False
    for _ in range(5):
        # Cells are quick: a kill that comes when one has just ended shows nothing.
        if kills >= 2 and cut:
            break
        process = subprocess.Popen(
            command("bench", study(tmp_path, STUDY), "--out", str(out), "--jobs", "2"),
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        before = len(list(out.glob("cells/*/rounds.jsonl")))
        while process.poll() is None and len(list(out.glob("cells/*/rounds.jsonl"))) <= before:
            time.sleep(0.005)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
        states = [cell.status().state for _, _, cell in RunFolder.open(out).cells()]
        cut |= CellState.RUNNING in states
    done = {
        cell.hash for _, _, cell in RunFolder.open(out).cells() if cell.status().state == "done"
    }
    earlier = starts(out)
    quietly(study(tmp_path, STUDY), out)
    assert kills > 0
    assert cut
    assert (out / "results.csv").read_bytes() == (undisturbed / "results.csv").read_bytes()
    assert (out / "tables.md").read_bytes() == (undisturbed / "tables.md").read_bytes()
    assert {name: count for name, count in starts(out).items() if name in done} == {
        name: earlier[name] for name in done
    }
    assert max(starts(out).values()) <= 1 + kills
    assert sum(starts(out).values()) > len(starts(out))
    assert set(starts(undisturbed).values()) == {1}
    assert len(paid(out)) == 20
    for ledger, releases in paid(out).items():
        client = int(ledger.partition("/")[2].removesuffix(".jsonl"))
        assert releases == [(client, round, 0) for round in range(24)], ledger
    assert paid(out) == paid(undisturbed)


def test_a_finished_study_is_only_read(
    undisturbed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in undisturbed.glob("cells/*/*")}
    bench(study(undisturbed.parent, STUDY), undisturbed, Options(jobs=1), Style.PLAIN)
    assert {path: path.stat().st_mtime_ns for path in undisturbed.glob("cells/*/*")} == before
    assert "| plain |" in capsys.readouterr().out


def test_the_results_are_tidy_and_the_same_in_sqlite(undisturbed: Path) -> None:
    rows = table(undisturbed)
    assert {row["code"] for row in rows} == {code_hash()}
    assert {row["noise"] for row in rows} == {"seeded"}
    assert {row["metric"] for row in rows} >= {"accuracy", "auc", "epsilon", "records", "bytes_up"}
    assert "seconds" not in {row["metric"] for row in rows}
    with sqlite3.connect(undisturbed / "results.sqlite") as database:
        query = (
            "SELECT label, avg(value), count(*) FROM results "
            "WHERE metric = 'accuracy' AND site IS NULL GROUP BY label"
        )
        means = {label: (mean, count) for label, mean, count in database.execute(query)}
        stages = database.execute("SELECT DISTINCT stage FROM timings ORDER BY stage").fetchall()
    database.close()
    assert {label: count for label, (_, count) in means.items()} == {
        "plain": 2,
        "masked": 2,
        "local only": 4,
    }
    values = [
        float(row["value"])
        for row in rows
        if (row["label"], row["metric"], row["site"]) == ("plain", "accuracy", "")
    ]
    assert means["plain"][0] == pytest.approx(sum(values) / 2)
    assert stages == [("rounds",), ("set_up",), ("total",)]


def test_a_failing_and_a_hanging_cell_are_shown_and_the_rest_completes(tmp_path: Path) -> None:
    done = call(
        "bench", study(tmp_path, FAILING), "--out", tmp_path / "out", "--jobs", "2", cwd=tmp_path
    )
    assert done.returncode == 1
    assert "failed: hanging / seed 0" in done.stdout
    assert "it took longer than the limit of 5 s a cell" in done.stdout
    assert "failed: failing / seed 0" in done.stdout
    assert "no clients left" in done.stdout
    assert done.stderr.startswith("error: 2 of 4 cells failed; the reasons are in ")
    states = {row["label"]: row["state"] for row in table(tmp_path / "out")}
    assert states == {"good": "done", "hanging": "failed", "failing": "failed", "good too": "done"}
    assert "| hanging | failed (1) |" in done.stdout


def test_failed_cells_are_tried_again_and_fail_fast_stops(tmp_path: Path) -> None:
    name, out = (
        study(
            tmp_path,
            FAILING.replace("[axes.what]\n", "[axes.what]\n").replace(
                "hanging = { rounds = 1000000 }\n", ""
            ),
        ),
        tmp_path / "out",
    )
    with pytest.raises(SecureflError, match="1 of 3 cells failed"):
        quietly(name, out, Options(jobs=1, fail_fast=True))
    assert [cell.status().state for _, _, cell in RunFolder.open(out).cells()] == [
        "done",
        "failed",
        "new",
    ]
    with pytest.raises(SecureflError, match="1 of 3 cells failed"):
        quietly(name, out, Options(jobs=1))
    assert [cell.status().state for _, _, cell in RunFolder.open(out).cells()] == [
        "done",
        "failed",
        "done",
    ]
    assert sorted(starts(out).values()) == [1, 1, 2]


def test_a_failure_of_an_earlier_run_is_not_forgotten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = FAILING.replace("hanging = { rounds = 1000000 }\n", "").replace(
        "good = { rounds = 2 }\n", ""
    )
    name, out = study(tmp_path, text), tmp_path / "out"
    with pytest.raises(SecureflError, match="1 of 2 cells failed"):
        quietly(name, out, Options(jobs=1))
    more = study(
        tmp_path, text.replace("[axes.what]\n", '[axes.what]\n"a new one" = { rounds = 2 }\n')
    )
    with pytest.raises(SecureflError, match="1 of 3 cells failed"):
        bench(more, out, Options(jobs=1, max_cells=1), Style.PLAIN)
    assert "done: a new one / seed 0" in capsys.readouterr().out
    dry_run(more, out, Options(jobs=1), Style.PLAIN)
    assert "2 done, 0 out of budget, 1 failed, 1 to run" in capsys.readouterr().out


def test_the_seeds_of_the_results_are_the_studys(tmp_path: Path) -> None:
    text = 'seed_keys = ["data.split_seed"]\n' + TINY.replace(
        "seeds = 3", "seeds = [4, 9]"
    ).replace("[0.1, 0.2]", "[0.1]")
    quietly(study(tmp_path, text), tmp_path / "out", Options(jobs=1))
    assert {(row["seed"], row["split_seed"]) for row in table(tmp_path / "out")} == {
        ("4", "4"),
        ("9", "9"),
    }
    tables = (tmp_path / "out" / "tables.md").read_text()
    assert "| lr 0.1 | 0." in tables
    assert " ± " in tables.splitlines()[6]


def test_max_cells_takes_every_row_with_its_first_seed_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, out = study(tmp_path, TINY), tmp_path / "out"
    bench(name, out, Options(jobs=1, max_cells=3), Style.PLAIN)
    shown = capsys.readouterr().out
    assert "3 cells are left; the same command goes on" in shown
    states = [cell.status().state for _, _, cell in RunFolder.open(out).cells()]
    assert states == ["done", "done", "new", "done", "new", "new"]
    dry_run(name, out, Options(jobs=1), Style.PLAIN)
    assert (
        "study: rows 2, seeds 3, cells 6: 3 done, 0 out of budget, 0 failed, 3 to run; "
        "jobs 1, time " in capsys.readouterr().out
    )
    dry_run(name, out, Options(jobs=1), Style.JSON)
    plan = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["missing"] for line in plan[:-1]] == [False, False, True, False, True, True]
    assert plan[-1]["left"] == 3
    assert plan[-1]["seconds_left"] > 0
    assert plan[-1]["bytes_left"] > 1000


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    dry_run(study(tmp_path, TINY), tmp_path / "out", Options(jobs=1), Style.NONE)
    assert [path.name for path in tmp_path.iterdir()] == ["study.toml"]


def test_a_study_may_grow_and_keeps_what_it_has(tmp_path: Path) -> None:
    out = tmp_path / "out"
    quietly(study(tmp_path, TINY), out, Options(jobs=1))
    first = starts(out)
    quietly(study(tmp_path, TINY.replace("0.2]", "0.2, 0.3]")), out, Options(jobs=1))
    assert len(starts(out)) == 9
    assert set(starts(out).values()) == {1}
    assert first.items() <= starts(out).items()
    assert "0.3]" in (out / "study.toml").read_text()
    with pytest.raises(ScenarioError, match="holds the study 'study'; choose another --out"):
        quietly(study(tmp_path, TINY, "other"), out)


def test_cells_of_other_code_count_only_when_it_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name, out = study(tmp_path, TINY.replace("seeds = 3", "seeds = 1")), tmp_path / "out"
    quietly(name, out, Options(jobs=1))
    before, old = starts(out), code_hash()
    with pytest.raises(
        ScenarioError,
        match=f"--accept-code nonsense: no cell here ended under it; .* ended cells: {old}",
    ):
        quietly(name, out, Options(jobs=1, accepted=("nonsense",)))
    for place in ("studies.request", "ui.bench"):
        monkeypatch.setattr(f"securefl.{place}.code_hash", lambda: "new")
    dry_run(name, out, Options(jobs=1), Style.PLAIN)
    assert (
        f"2 of the cells to run ended under code {old}: --accept-code {old} uses them"
        in capsys.readouterr().out
    )
    quietly(name, out, Options(jobs=1, accepted=(old,)))
    assert starts(out) == before
    assert {row["code"] for row in table(out)} == {old}
    # The workers' code is not the grid's: the cells fail, and keep why.
    with pytest.raises(SecureflError, match="2 of 2 cells failed"):
        quietly(name, out, Options(jobs=1))
    statuses = [cell.status() for _, _, cell in RunFolder.open(out).cells()]
    assert [status.state for status in statuses] == [CellState.FAILED] * 2
    assert all("the code was changed" in (status.reason or "") for status in statuses)
    monkeypatch.setattr(
        "securefl.studies.grid.Job", lambda cell, scenario, code: Job(cell, scenario)
    )
    quietly(name, out, Options(jobs=1))
    assert not set(starts(out)) & set(before)
    assert {row["code"] for row in table(out)} == {"new"}
    assert len(list((out / "cells").iterdir())) == 4
    assert {use["code"] for use in read_json(out / "resolved.json")["uses"]} == {"new"}


def test_a_second_invocation_is_refused_and_disturbs_nothing(tmp_path: Path) -> None:
    name, out = study(tmp_path, TINY), tmp_path / "out"
    quietly(name, out, Options(jobs=1, max_cells=1))
    before = {
        path: path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and path.name != ".lock"
    }
    with locked(out), pytest.raises(RunFolderError, match="is in use by another run"):
        quietly(study(tmp_path, TINY.replace("0.2]", "0.3]")), out)
    assert {
        path: path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and path.name != ".lock"
    } == before


def test_a_spent_budget_is_a_result_and_exit_code_3(tmp_path: Path) -> None:
    text = (
        "seeds = 1\n[base]\nrounds = 30\n"
        'privacy = { noise = "seeded", epsilon = 3.0, noise_multiplier = 1.0 }\n'
    )
    with pytest.raises(
        BudgetExceeded, match="1 of 1 cells ran out of their privacy budget"
    ) as caught:
        quietly(study(tmp_path, text), tmp_path / "out", Options(jobs=1))
    assert caught.value.exit_code == 3
    table = (tmp_path / "out" / "tables.md").read_text()
    assert "(1 out of budget)" in table


def test_an_interrupted_bench_says_so_and_goes_on(tmp_path: Path) -> None:
    name, out = study(tmp_path, TINY.replace("rounds = 1", "rounds = 2000")), tmp_path / "out"
    process = subprocess.Popen(
        command("bench", name, "--out", str(out), "--jobs", "1", "--display", "json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    # Read before the interrupt: a busy machine may tell of the start long after it.
    announced, started = (json.loads(process.stdout.readline()) for _ in range(2))
    while not list(out.glob("cells/*/rounds.jsonl")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors.strip() == "interrupted; the same command goes on from here"
    assert announced == {"event": "start", "label": "study", "cells": 6}
    assert (started["event"], started["cell"], started["left"]) == ("started", "lr 0.1 / seed 0", 5)
    assert (out / "results.csv").exists()
    again = subprocess.Popen(
        command("bench", name, "--out", str(out), "--jobs", "1", "--max-cells", "2"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    played = (next(out.glob("cells/*/rounds.jsonl"))).stat().st_size
    while next(out.glob("cells/*/rounds.jsonl")).stat().st_size <= played:
        assert again.poll() is None
        time.sleep(0.02)
    again.send_signal(signal.SIGINT)
    shown, _ = again.communicate(timeout=30)
    assert shown.splitlines()[-1] == (
        f"stopped: 0 done, 0 running, 0 failed, 2 left; results so far: {out}/results.csv"
    )
    state = call("ls", "runs", tmp_path, cwd=tmp_path).stdout
    assert "1 interrupted, 5 new" in state


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("[[exclude]]\nlr = 1\n", "exclude: there is no axis 'lr'"),
        ("[axes]\nrounds = []\n", "axes.rounds: the axis is empty"),
        ('[axes]\nrounds = ["two"]\n', "cell 'two': rounds: input should be a valid integer"),
    ],
)
def test_a_wrong_study_is_one_sentence_and_exit_code_2(
    tmp_path: Path, written: str, sentence: str
) -> None:
    arguments = ("bench", study(tmp_path, written), "--out", str(tmp_path / "out"))
    done = call(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_results_are_there_while_the_grid_runs(tmp_path: Path) -> None:
    from securefl.ui.bench import plan

    _, grid = plan(study(tmp_path, TINY), tmp_path / "out", Options(jobs=1))
    folder = RunFolder.create(grid.folder.path, grid.request)
    assert isinstance(grid, Grid)
    for tally, _ in grid.run(jobs=1, limit=60.0):
        if tally.done == 1:
            text = (folder.path / "results.csv").read_text()
            assert text.count("accuracy,0.") > 0
            assert ",new," in text
            break
    else:
        pytest.fail("no cell ended")


def test_a_study_that_does_not_exist_names_those_that_do(tmp_path: Path) -> None:
    with pytest.raises(
        ScenarioError,
        match=r"there is no study 'nosuch'.*leave-one-hospital-out, medical-privacy, number-of-hospitals, "
        "poisoning, privacy-utility, "
        "published, robustness, scanners",
    ):
        quietly("nosuch", tmp_path / "out")
    with pytest.raises(ScenarioError, match=r"cannot read .*absent.toml: No such file"):
        quietly(str(tmp_path / "absent.toml"), tmp_path / "out")


def spent() -> float:
    """CPU seconds of this process and of those that it waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@pytest.mark.slow
def test_a_thousand_tiny_cells_cost_little_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = ", ".join(f"{0.001 * step:.3f}" for step in range(1, 101))
    text = TINY.replace("seeds = 3", "seeds = 10").replace("[0.1, 0.2]", f"[{rates}]")
    name, out = study(tmp_path, text), tmp_path / "out"
    begun, started = spent(), time.perf_counter()
    quietly(name, out, Options(jobs=2))
    assert [cell.status().state for _, _, cell in RunFolder.open(out).cells()] == ["done"] * 1000
    a_cell = (
        spent() - begun
    ) / 1000  # CPU seconds, the round itself and the workers' imports included
    waited = (time.perf_counter() - started) / 1000
    plans, imports = [], []
    monkeypatch.setenv("SECUREFL_CACHE", str(tmp_path / "cache"))
    for _ in range(3):  # the first has to check the study
        begun = spent()
        subprocess.run([sys.executable, "-c", "import torch"], check=True)
        imports.append(spent() - begun)
        begun = spent()
        subprocess.run(
            command("bench", name, "--out", str(out), "--dry-run"), capture_output=True, check=True
        )
        plans.append(spent() - begun)
    print(f"{1000 * a_cell:.1f} ms of CPU and {1000 * waited:.1f} ms of waiting a cell, two jobs")
    print(
        f"dry run of 1,000 ended cells: {plans[0]:.2f} s of CPU unseen, "
        f"then {plans[1]:.2f} and {plans[2]:.2f}"
    )
    # Limits are for a machine that imports torch in a second of CPU. The same machine takes up to
    # twice as long from one hour to the next, so it is asked between the plans.
    second = statistics.median(imports)
    print(f"importing torch: {second:.2f} s of CPU")
    assert a_cell < 0.03 * second
    assert max(plans[1:]) < 0.6 * second
    # Importing torch is a third of it; checking a cell takes half a millisecond.
    assert plans[0] < 3.5 * second


def test_a_cell_is_the_same_under_run_and_bench(undisturbed: Path, tmp_path: Path) -> None:
    from securefl.runs.api import run
    from securefl.scenario.scenario import make_scenario

    label, scenario, cell = RunFolder.open(undisturbed).cells()[0]
    metrics = run(make_scenario(dict(scenario)), tmp_path / "run")
    of_study = Cell(undisturbed / "cells" / cell.hash).metrics()
    assert of_study is not None
    assert label == "plain"
    assert {k: v for k, v in metrics.items() if k != "seconds"} == {
        k: v for k, v in of_study.items() if k != "seconds"
    }


def test_output_that_nobody_reads_any_more_is_no_damage(tmp_path: Path) -> None:
    name, out = study(tmp_path, TINY), tmp_path / "out"
    process = subprocess.Popen(
        command("bench", name, "--out", str(out), "--jobs", "1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    # A slow machine is told first that cells still run.
    while not process.stdout.readline().startswith("done: "):
        assert process.poll() is None
    process.stdout.close()
    assert process.wait(60) == 1
    assert process.stderr.read() == ""
    process.stderr.close()
    quietly(name, out, Options(jobs=1))
    assert set(starts(out).values()) <= {1, 2}


def test_rows_that_take_hours_run_with_long_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, out = study(tmp_path, TINY + LONG), tmp_path / "out"
    dry_run(name, out, Options(jobs=1), Style.PLAIN)
    shown = capsys.readouterr()
    assert "   0/3    lr 0.2 (long: --long runs it)" in shown.out + shown.err
    assert "3 to run, 3 long and not asked for (--long); jobs 1" in shown.out + shown.err
    bench(name, out, Options(jobs=2), Style.PLAIN)
    shown = capsys.readouterr()
    assert "| lr 0.2 | not run | not run | not run |" in shown.out
    # Nothing is left that the same command would run.
    assert "are left" not in shown.out + shown.err
    assert sum(row["state"] == "new" for row in table(out)) == 3
    bench(name, out, Options(jobs=2, long=True), Style.PLAIN)
    assert "not run" not in capsys.readouterr().out
    assert {row["state"] for row in table(out)} == {"done"}
    # It went on from there: no cell ran twice.
    assert list(starts(out).values()) == [1] * 6


def test_long_without_a_long_row_is_refused(tmp_path: Path) -> None:
    done = call("bench", study(tmp_path, TINY), "--long", "--out", "out", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "error: --long has no effect: no row of 'study' is long; remove it\n"
    assert not (tmp_path / "out").exists()
