"""Rounds between real processes: the relay that counts, the clocks, the goals and the page."""

import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from benchmarks.experiments.table import csv_text
from benchmarks.speed.deployed import NOTES, SIDES
from benchmarks.speed.deployed_clocks import Relay, Watch, cpu_below
from benchmarks.speed.deployed_sides import text_of
from benchmarks.speed.deployed_table import HEART, LARGE, Row, goals, page, rows_of
from securefl.scenario.assemble.public import public_parts
from securefl.scenario.scenario import parse_scenario
from tests.paths import ROOT

DIRECT = Row("direct", "masked", "", HEART, 9, 0.5, 0.4, 5000.0, 3.0, 30.0, 4000.0, 0.1, 6.0)
OURS = Row("flower", "masked", "sums", HEART, 4, 26.0, 20.0, 60000.0, 3.0, 200.0, 9e3, 0.1, 8.0)
PEER = Row("fedavg", "plain", "sums", HEART, 4, 20.0, 40.0, 50000.0, 0.0, 150.0, 0.0, 0.0, 9.0)
BIG = Row("direct", "masked", "", LARGE, 9, 2.0, 3.0, 1.03e6, 3.0, 40.0, 1e6, 0.2, 7.0)
BURN = "import time\nwhile time.process_time() < 0.3: pass"


def test_a_relay_counts_both_directions() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        relay = Relay(listener.getsockname())
        with socket.create_connection(relay.address) as site:
            site.sendall(b"x" * 1000)
            far, _ = listener.accept()
            with far:
                assert far.recv(1000, socket.MSG_WAITALL) == b"x" * 1000
                far.sendall(b"y" * 300)
                assert site.recv(300, socket.MSG_WAITALL) == b"y" * 300
        assert relay.bytes == 1300
        relay.close()


def test_a_watch_reads_the_clocks_at_each_line_and_leaves_the_first_round_out(
    tmp_path: Path,
) -> None:
    relay = Relay(("127.0.0.1", 1))
    seen: list[int] = []
    noted = threading.Event()

    def trips() -> int:
        seen.append(3 * len(seen) + 1)
        noted.set()
        return seen[-1]

    watch = Watch(tmp_path / "rounds", relay, trips)
    for number in range(3):
        relay.bytes += 10**number
        with (tmp_path / "rounds").open("a") as file:
            file.write("a round\n")
        assert noted.wait(60)
        noted.clear()
    rounds = watch.stop()
    relay.close()
    assert [(one.bytes, one.trips) for one in rounds] == [(10, 3), (100, 3)]
    assert all(one.wall > 0 for one in rounds)


def test_the_cpu_seconds_of_grandchildren_count_also_once_they_have_ended() -> None:
    code = (
        "import subprocess, sys\n"
        "subprocess.run([sys.executable, '-c', sys.argv[1]])\n"
        "print('over', flush=True)\n"
        "sys.stdin.read()"
    )
    before = cpu_below()
    with subprocess.Popen(
        [sys.executable, "-c", code, BURN], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"over\n"
        assert cpu_below() - before >= 0.3
        child.communicate()


def test_a_goal_is_met_at_its_bound_and_not_beyond_it() -> None:
    cells = {goal.what: goal.cells[1:] for goal in goals([DIRECT, OURS, PEER, BIG])}
    over_fedavg = "wall, masked round with evaluation over Flower / FedAvg with evaluation"
    assert cells[over_fedavg] == ("<= 1.3", "1.3", "met")
    beyond = "seconds of a masked round beyond training, direct"
    assert cells[beyond] == ("<= 0.3", "0.4", "NOT met")
    size = "bytes over the simulation's, masked, 107,297 parameters"
    assert cells[size] == ("<= 1.02", "1.03", "NOT met")
    assert cells["trips of a masked round with evaluation, flower"] == ("<= 3", "3", "met")
    assert cells["seconds of a whole rehearsal, direct, the longest"] == ("<= 90", "30", "met")
    assert len(cells) == 5
    assert not list(goals([]))


def test_the_page_says_how_busy_the_machine_was() -> None:
    text = page([DIRECT, OURS, PEER, BIG], "a machine", "A note.\n")
    assert (
        "| ours, over Flower | masked | at the sites | 26.00 s | 20.00 s | 60,000 | 3 | 8.0 |"
        in text
    )
    assert (
        "| Flower's FedAvg | plain | at the sites | 20.00 s | 40.00 s | 50,000 |  | 9.0 |" in text
    )
    assert "| masked | 2.00 s | 3.00 s | 1,030,000 | 1,000,000 |" in text
    assert "busy**: 6.0 to 9.0 processes" in text
    assert text.endswith("\n\nA note.\n")


def test_the_sides_are_scenarios_whose_models_have_as_many_parameters_as_the_page_says() -> None:
    for side in SIDES:
        if side.name != "fedavg":
            scenario = parse_scenario(text_of(side, 2))
            d = public_parts(scenario, run="0" * 16).plan.d
            assert d == (LARGE if side.large else HEART)


def test_rows_survive_the_file(tmp_path: Path) -> None:
    path = tmp_path / "deploy.csv"
    path.write_text(csv_text(Row._fields, [DIRECT, PEER], digits=6), encoding="utf-8")
    assert rows_of(path) == [DIRECT, PEER]


def test_the_committed_page_shows_the_committed_numbers() -> None:
    results = ROOT / "docs" / "results"
    text = (results / "deploy.md").read_text(encoding="utf-8")
    machine = re.search(r"`make bench-deploy`; (.*)\. Four sites", text)
    if machine is None:
        pytest.fail("deploy.md does not say on which machine it was measured")
    notes = NOTES.read_text(encoding="utf-8")
    assert page(rows_of(results / "deploy.csv"), machine[1], notes) == text
