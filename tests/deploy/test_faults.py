"""Flower's processes are killed while rounds are played; no round and no site is lost."""

import time
from pathlib import Path

import pytest

from securefl.files import read_lines
from securefl.runs.deployed import process
from tests.deploy.stage import kill, over_flower, processes, wait_for_round
from tests.runs.deployed.parties import DP

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(1500)]

VICTIMS = {
    "gate": ("gate.py", "coordinator/flower"),
    "SuperNode": ("flower-supernode", "sites/1/flower"),
    "ServerApp": ("flwr-serverapp", "coordinator/flower"),
    "SuperLink": ("flower-superlink", "coordinator/flower"),
}


def test_a_kill_of_each_process_of_flower_costs_no_round_and_no_site(
    programs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"

    def during() -> None:
        for kept, words in enumerate(VICTIMS.values(), start=1):
            wait_for_round(out, kept)
            time.sleep(0.5)  # the next round is under way
            kill(*words)

    rounds = len(VICTIMS) + 1
    text = DP.replace("rounds = 2", f"rounds = {rounds}").replace("2.0", "9.0")
    result = over_flower(text, programs, out, during=during)
    assert (result.exit_code, result.absent, result.identical) == (0, {}, True)
    assert result.trips == rounds + 1
    for site in range(4):
        (ledger,) = (out / f"sites/{site}/ledger").glob("*.jsonl")
        entries = read_lines(ledger)
        assert [entry["kind"] for entry in entries].count("reserve") == rounds
        assert process.counts_of(out / f"sites/{site}")["answered"] == rounds + 1
    assert not processes("flower-") + processes("flwr-") + processes("gate.py")
