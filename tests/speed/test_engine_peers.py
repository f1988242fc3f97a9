"""The engine next to its peers: which sides play, with which command, and what is refused."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.speed import engine_peers, watch
from benchmarks.speed.clocks import Seconds, a_round
from benchmarks.speed.engine_peers import PEERS, Side, command, measure, sides, write
from benchmarks.speed.engine_table import Row, page, rows_of
from benchmarks.speed.process import Answer
from tests.paths import ROOT


def test_a_peer_without_dp_sgd_is_left_out_of_the_private_workload() -> None:
    assert list(sides("C", PEERS)) == [
        Side("ours", 1),
        Side("ours", 2),
        Side("flower", 2),
        Side("fluke", 1),
    ]
    assert Side("pfl", 2) in sides("A", PEERS)


@pytest.mark.parametrize("name", PEERS)
def test_a_missing_environment_is_refused_with_the_way_to_make_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = f"{name} needs its own environment.*make {PEERS[name].environment}/.installed"
    with pytest.raises(SystemExit, match=asked):
        command(Side(name, 1), "A", 5)


def test_nothing_is_measured_before_every_environment_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["engine_peers", "--workloads", "Bm", "C"])
    monkeypatch.setattr(watch, "run", lambda words: pytest.fail(f"ran {words}"))
    with pytest.raises(SystemExit, match="flower needs its own environment"):
        engine_peers.main()


def test_two_processes_of_pfl_are_started_by_torchrun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    python = tmp_path / PEERS["pfl"].environment / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    module = ["-m", "benchmarks.speed.peer_pfl", "--workload", "B", "--rounds", "5"]
    two = [str(python), "-m", "torch.distributed.run", "--nproc_per_node=2", *module]
    assert command(Side("pfl", 2), "B", 5) == [*two, "--workers", "2"]
    assert command(Side("pfl", 1), "B", 5) == [str(python), *module, "--workers", "1"]


def test_clients_are_stacked_where_many_share_a_small_model() -> None:
    assert command(Side("ours", 2), "Bm", 5)[-2:] == ["--stack", "auto"]
    assert command(Side("ours", 2), "A", 5)[-2:] == ["--stack", "off"]


def answering(moved: float) -> Callable[[object], tuple[Answer, watch.Whole]]:
    answer = Answer({"cpu": 1.0, "wall": 2.0, "peer": "pfl 0.6.0", "moved": moved})
    return lambda words: (answer, watch.Whole(3.0, 4.0, 5_000_000))


def test_a_measurement_holds_the_round_and_the_whole_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "run", answering(moved=0.1))
    assert measure(Side("pfl", 1), []) == ("pfl 0.6.0", (1.0, 2.0, 3.0, 4.0, 5.0))


@pytest.mark.parametrize("moved", [0.0, float("nan")])
def test_a_peer_whose_model_did_not_change_is_refused(
    moved: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "run", answering(moved))
    with pytest.raises(SystemExit, match=r"pfl 0\.6\.0 trained nothing"):
        measure(Side("pfl", 1), [])


def test_the_first_round_does_not_count() -> None:
    seen = [Seconds(10.0, 100.0), Seconds(11.0, 103.0), Seconds(14.0, 105.0)]
    assert a_round(seen) == Seconds(2.0, 2.5)
    with pytest.raises(ValueError, match="two rounds or more, got 1"):
        a_round(seen[:1])


def test_what_peers_share_with_us_imports_torch_and_nothing_of_ours() -> None:
    code = (
        "import sys\n"
        "from benchmarks.speed import clocks, workloads\n"
        "print({name.split('.')[0] for name in sys.modules}"
        " & {'securefl', 'attacks', 'defenses', 'opacus', 'flwr', 'pfl', 'fluke'})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == "set()\n"


def test_a_workload_that_is_measured_again_replaces_its_rows_only(tmp_path: Path) -> None:
    def row(workload: str, side: str, cpu: float) -> Row:
        return Row(workload, side, side, 1, 5, 3, cpu, 1.0, 1.0, 1.0, 1.0)

    write(tmp_path / "engine", [row("B", "ours", 1.0), row("B", "pfl", 2.0)], "a machine")
    write(tmp_path / "engine", [row("A", "ours", 1.0), row("A", "pfl", 3.0)], "a machine")
    write(tmp_path / "engine", [row("B", "ours", 1.0), row("B", "fluke", 5.0)], "another machine")
    rows = rows_of(tmp_path / "engine.csv")
    sides = [(row.workload, row.side, row.cpu_s) for row in rows]
    assert sides == [("A", "ours", 1.0), ("A", "pfl", 3.0), ("B", "ours", 1.0), ("B", "fluke", 5.0)]
    assert (tmp_path / "engine.md").read_text(encoding="utf-8") == page(rows, "another machine")
