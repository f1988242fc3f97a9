"""Rehearsals with a process a site: the simulation's model, and what a killed site leaves behind.

Processes are forked from this one, which has imported torch; tests/ui/test_deploy.py starts them as
users do.
"""

import gc
import importlib
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from securefl.errors import ScenarioError
from securefl.files import read_json, read_lines
from securefl.privacy.data_set import NO_NOISE
from securefl.privacy.events import event_from_json
from securefl.runs.cell import Cell, CellState
from securefl.runs.deployed import process, rehearsal, ways
from securefl.runs.deployed.rehearsal import Rehearsed, rehearse
from securefl.runs.metrics import checked_metrics
from securefl.scenario.scenario import parse_scenario
from tests.runs.deployed.parties import DP, MASKED, SGD
from tests.runs.deployed.test_judging import BEST, STEEP

importlib.import_module("securefl.learning.dp_sgd")  # Opacus, once and not in every process


class Forked:
    """A process of this program without its imports; as much of Popen as a rehearsal uses."""

    def __init__(self, arguments: list[str], inherited: tuple[int, ...] = ()) -> None:
        self.arguments = arguments
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            gc.freeze()  # the collector would end objects whose threads the fork has not copied
            errors = os.open(Path(arguments[1]) / "errors.txt", os.O_CREAT | os.O_WRONLY)
            os.dup2(errors, 2)
            sys.stderr = os.fdopen(2, "w", closefd=False)
            code = 70
            try:
                process.main(*arguments)
                code = 0
            except SystemExit as end:
                code = int(end.code or 0)
            finally:
                sys.stderr.flush()
                os._exit(code)

    def wait(self, seconds: float = 60.0) -> int:
        end = time.monotonic() + seconds
        while self.returncode is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended:
                self.returncode = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > end:
                raise subprocess.TimeoutExpired("a forked process", seconds)
            time.sleep(0.005)
        return self.returncode

    def kill(self) -> None:
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)


@pytest.fixture(autouse=True)
def _forks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "_started", Forked)


def rehearsed(text: str, out: Path, **options: Any) -> Rehearsed:
    return rehearse(parse_scenario(text), text, (), out, seconds=30.0, **options)


def ledger_of(site: Path) -> list[dict[str, Any]]:
    """Returns the lines of a site's only ledger."""
    (path,) = (site / "ledger").glob("*.jsonl")
    return read_lines(path)


@pytest.mark.parametrize(("text", "trips"), [(DP, 2 + 1), (SGD + MASKED, 3 + 5 + 3 + 1)])
def test_processes_end_with_the_simulations_model(text: str, trips: int, tmp_path: Path) -> None:
    result = rehearsed(text, tmp_path / "out")
    assert result == Rehearsed(0, "", {}, trips, identical=True)
    assert read_json(tmp_path / "out/rehearsal.json")["identical"] is True
    assert process.counts_of(tmp_path / "out/coordinator") == {"trips": trips, "dropped": 0}
    for site in range(4):
        counts = process.counts_of(tmp_path / f"out/sites/{site}")
        assert counts == {"answered": trips, "dropped": 0}


def test_the_sites_sums_of_counts_give_the_simulations_figures(tmp_path: Path) -> None:
    text = SGD + MASKED + 'evaluate = { leave = "sums" }\n'
    result = rehearsed(text, tmp_path / "out")
    # The last model takes three trips more.
    trips = 3 + 5 + 3 + 3 + 1
    assert result == Rehearsed(0, "", {}, trips, identical=True, figures=True)
    for site in range(4):
        (line,) = read_lines(tmp_path / f"out/sites/{site}/metrics.jsonl")
        assert (line["model"], line["records"]) == (2, (103, 88, 15, 44)[site])
    # Nothing of one site's figures is with the coordinator.
    metrics = Cell(tmp_path / "out/coordinator").metrics()
    assert metrics is not None
    assert (metrics["records"], "sites" in metrics) == (250, False)


def test_a_rehearsal_compares_the_best_model_where_the_run_ends_with_it(tmp_path: Path) -> None:
    result = rehearsed(STEEP + BEST, tmp_path / "out")
    assert result == Rehearsed(0, "", {}, 4 + 1 + 1, identical=True, figures=True)
    metrics = Cell(tmp_path / "out/coordinator").metrics() or {}
    assert metrics["kept_round"] == 2


def test_a_model_that_noise_on_figures_chose_is_not_compared() -> None:
    noisy = BEST.replace('"sums"', '"noisy", epsilon = 1.0')
    for text, expected in (
        (BEST, True),
        (noisy, False),
        (noisy.replace(', keep = "best"', ""), True),
    ):
        assert rehearsal._is_repeatable(parse_scenario(STEEP + text)) is expected


@pytest.mark.parametrize(
    ("ours", "same"),
    [
        ({}, True),
        ({"auc": 0.8004}, True),
        ({"auc": 0.802}, False),
        ({"auc": None}, False),
        ({"accuracy": 0.71}, False),
        ({"records": 9}, False),
    ],
)
def test_figures_are_compared_exactly_and_the_auc_within_its_bound(
    ours: dict[str, float | None], same: bool, tmp_path: Path
) -> None:
    figures: dict[str, Any] = dict(
        records=10, accuracy=0.7, balanced_accuracy=0.6, majority=0.5, auc=0.8
    )
    cells = Cell(tmp_path / "simulation"), Cell(tmp_path / "coordinator")
    for cell, metrics in zip(cells, (figures, {**figures, "auc_error": 1e-3, **ours}), strict=True):
        cell.open()
        cell.finish(CellState.DONE, metrics=checked_metrics(metrics))
    assert rehearsal._has_figures_of(*cells) is same
    assert not rehearsal._has_figures_of(cells[0], Cell(tmp_path / "nobody judged"))


def test_each_site_keeps_its_ledger_and_the_coordinator_none(tmp_path: Path) -> None:
    rehearsed(DP, tmp_path / "out")
    for site in range(4):
        entries = ledger_of(tmp_path / f"out/sites/{site}")
        assert [entry["kind"] for entry in entries].count("reserve") == 2
    assert not list((tmp_path / "out/coordinator").rglob("*ledger*"))


def test_agents_book_each_training_without_a_claim(tmp_path: Path) -> None:
    rehearsed(SGD, tmp_path / "out")
    for site in range(4):
        entries = ledger_of(tmp_path / f"out/sites/{site}")
        assert [entry["release"][1:] for entry in entries] == [[site, 0, 0], [site, 1, 0]]
        assert {event_from_json(entry["event"]) for entry in entries} == {NO_NOISE}


@pytest.mark.parametrize("keeps", [False, True])
def test_keys_and_records_are_private_and_thrown_away(keeps: bool, tmp_path: Path) -> None:
    secrets: list[Path] = []

    def look(agents: Mapping[int, Any]) -> None:
        secrets.extend(path for path in (tmp_path / "out").rglob("*.pem"))
        secrets.extend((tmp_path / "out").rglob("records.npz"))
        assert {stat.S_IMODE(path.stat().st_mode) for path in secrets} == {0o600}
        assert {stat.S_IMODE(path.parent.stat().st_mode) for path in secrets} == {0o700}

    rehearsed(SGD, tmp_path / "out", keeps_keys=keeps, on_started=look)
    assert len(secrets) == 3 + 4 * 2 + 4
    assert {path.exists() for path in secrets} == {keeps}


def kill_after_two_rounds(out: Path, agent: Any) -> None:
    """Kills an agent once two rounds are kept."""
    rounds = out / "coordinator/rounds.jsonl"
    while len(read_lines(rounds)) < 2:
        time.sleep(0.005)
    os.kill(agent.pid, signal.SIGKILL)


@pytest.mark.parametrize(("channel", "rounds"), [("", 40), (MASKED, 12)], ids=["plain", "masked"])
def test_a_killed_site_is_absent_and_its_ledger_has_each_round_once(
    channel: str, rounds: int, tmp_path: Path
) -> None:
    text = DP.replace("rounds = 2", f"rounds = {rounds}").replace("2.0", "9.0") + channel
    out = tmp_path / "out"
    started: dict[int, Any] = {}

    def kill(agents: Mapping[int, Any]) -> None:
        started.update(agents)
        threading.Thread(target=kill_after_two_rounds, args=(out, agents[1])).start()

    result = rehearsed(text, out, on_started=kill)
    assert (result.exit_code, result.identical) == (0, None)
    assert set(result.absent.values()) == {(1,)}
    first = min(result.absent)
    assert first >= 2
    assert list(result.absent) == list(range(first, rounds))
    assert {site: agent.returncode for site, agent in started.items()} == {0: 0, 1: -9, 2: 0, 3: 0}
    entries = ledger_of(out / "sites/1")
    paid = [entry["release"] for entry in entries if entry["kind"] == "reserve"]
    assert len(paid) == len({str(release) for release in paid})
    assert len(paid) in (first, first + 1)


class Restart(threading.Thread):
    """Kills a site's agent once two rounds are kept, and starts it again.

    Meanwhile another site is stopped, so that the coordinator waits for it and plays no rounds.
    """

    def __init__(self, out: Path, agents: Mapping[int, Any]) -> None:
        super().__init__()
        self.out = out
        self.agents = agents
        self.again: Any = None

    def run(self) -> None:
        kill_after_two_rounds(self.out, self.agents[1])
        os.kill(self.agents[0].pid, signal.SIGSTOP)
        try:
            self.agents[1].wait()
            self.again = Forked(self.agents[1].arguments)
            while not is_connected(self.again.pid):
                time.sleep(0.01)
        finally:
            os.kill(self.agents[0].pid, signal.SIGCONT)


def is_connected(pid: int) -> bool:
    """Whether a process has a connection over TCP."""
    open_files = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            open_files.append(os.readlink(path))
    lines = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    inodes = {line.split()[9] for line in lines if line.split()[3] == "01"}
    return any(f"socket:[{inode}]" in open_files for inode in inodes)


def test_an_agent_that_is_killed_and_started_again_is_back_after_the_rounds_it_had_begun(
    tmp_path: Path,
) -> None:
    text = DP.replace("rounds = 2", "rounds = 12").replace("2.0", "9.0") + MASKED
    out = tmp_path / "out"
    restarts: list[Restart] = []

    def restart(agents: Mapping[int, Any]) -> None:
        restarts.append(Restart(out, agents))
        restarts[0].start()

    try:
        result = rehearsed(text, out, on_started=restart)
        restarts[0].join()
        assert restarts[0].again.wait() == 0
    finally:
        if restarts and restarts[0].again is not None:
            restarts[0].again.kill()
    assert result.exit_code == 0
    records = Cell(out / "coordinator").rounds()
    rounds = [record.round for record in records if 1 in record.survivors]
    assert rounds[:2] == [0, 1]
    assert rounds[-1] == 11
    entries = ledger_of(out / "sites/1")
    paid = [entry["release"] for entry in entries if entry["kind"] == "reserve"]
    assert len(paid) == len({str(release) for release in paid})
    assert len(rounds) <= len(paid) <= len(rounds) + 1


def test_a_run_without_enough_sites_fails_and_says_so(tmp_path: Path) -> None:
    text = SGD + 'channel = { kind = "masked", min_cohort = 4 }\n'

    def kill(agents: Mapping[int, Any]) -> None:
        os.kill(agents[2].pid, signal.SIGKILL)

    result = rehearse(
        parse_scenario(text), text, (), tmp_path / "out", seconds=4.0, on_started=kill
    )
    assert result.exit_code == 1
    assert "3 members are left after the set-up's drop-outs" in result.reason
    assert Cell(tmp_path / "out/coordinator").status().reason == result.reason
    assert result.identical is None


def test_a_site_that_hangs_is_left_out_and_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ways, "PATIENCE_SECONDS", 0.5)
    started: dict[int, Any] = {}

    def stop(agents: Mapping[int, Any]) -> None:
        started.update(agents)
        os.kill(agents[3].pid, signal.SIGSTOP)

    result = rehearse(parse_scenario(SGD), SGD, (), tmp_path / "out", seconds=2.0, on_started=stop)
    assert result.absent == {0: (3,), 1: (3,)}
    assert started[3].returncode == -9


def test_fresh_noise_is_not_compared(tmp_path: Path) -> None:
    result = rehearsed(DP.replace('"seeded"', '"system"'), tmp_path / "out")
    assert (result.exit_code, result.identical) == (0, None)
    assert not (tmp_path / "out/simulation").exists()


def test_a_folder_that_exists_is_not_written_into(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="choose another folder for the rehearsal"):
        rehearsed(SGD, tmp_path)
