"""A coordinator's process is killed and started again while the sites' processes live on."""

import os
import signal
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from securefl.federation.record import INTERRUPTED
from securefl.files import read_lines
from securefl.runs.cell import Cell, CellState
from securefl.runs.deployed import rehearsal
from securefl.runs.deployed.charter import CHARTER, Charter
from securefl.runs.deployed.numbers import NUMBERS, read_numbers
from securefl.runs.deployed.rehearsal import rehearse
from securefl.scenario.scenario import parse_scenario
from tests.runs.deployed.parties import DP, MASKED
from tests.runs.deployed.test_rehearsal import Forked

KILLS = 2
ROUNDS = 12


class Restarted(Forked):
    """A process that is started again each time that it is killed, if it is the coordinator's."""

    coordinators: ClassVar[list["Restarted"]] = []

    def __init__(self, arguments: list[str], inherited: tuple[int, ...] = ()) -> None:
        super().__init__(arguments, inherited)
        self._arguments = arguments
        if arguments[0] == "coordinator":
            self.coordinators.append(self)

    def wait(self, seconds: float = 60.0) -> int:
        code = super().wait(seconds)
        if code != -signal.SIGKILL or self._arguments[0] != "coordinator":
            return code
        role, folder, _ = self._arguments
        charter = Charter.read(Path(folder) / CHARTER)
        with socket.create_server((charter.host, charter.port)) as listener:
            again = Restarted([role, folder, str(listener.fileno())])
        self.returncode = again.wait(seconds)
        return self.returncode


def kill_coordinators(folder: Path) -> None:
    """Kills each of the first processes once it has kept a round of its own."""
    known = 0
    for number in range(KILLS):
        while len(Restarted.coordinators) <= number or len(read_lines(folder)) <= known:
            time.sleep(0.002)
        time.sleep(0.02 * number)  # at another point of the round each time
        os.kill(Restarted.coordinators[number].pid, signal.SIGKILL)
        known = len(read_lines(folder)) + 1


@pytest.mark.parametrize("channel", ["", MASKED], ids=["plain", "masked"])
def test_a_killed_coordinator_goes_on_with_the_same_sites(
    channel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsal, "_started", Restarted)
    monkeypatch.setattr(Restarted, "coordinators", [])
    rounds = ROUNDS if channel else 30
    text = DP.replace("rounds = 2", f"rounds = {rounds}").replace("2.0", "12.0") + channel
    out = tmp_path / "out"

    def start_killing(agents: Mapping[int, Any]) -> None:
        threading.Thread(target=kill_coordinators, args=(out / "coordinator/rounds.jsonl",)).start()

    scenario = parse_scenario(text)
    result = rehearse(scenario, text, (), out, seconds=30.0, on_started=start_killing)
    cell = Cell(out / "coordinator")
    records = cell.rounds()
    assert (result.exit_code, cell.status().state) == (0, CellState.DONE)
    assert len(Restarted.coordinators) == KILLS + 1
    assert [record.round for record in records] == list(range(rounds))
    lost = [record for record in records if record.abandoned]
    assert len(lost) <= KILLS
    assert {record.reason for record in lost} <= {INTERRUPTED}
    assert all(record.survivors == (0, 1, 2, 3) for record in records if not record.abandoned)
    assert read_numbers(out / "coordinator" / NUMBERS).session == KILLS
    for site in range(4):
        lines = read_lines(out / f"sites/{site}/audit.jsonl")
        trained = [line["round"] for line in lines if line["event"] == "training"]
        assert len(trained) == len(set(trained)) <= rounds
        assert set(range(rounds)) - set(trained) <= {record.round for record in lost}
