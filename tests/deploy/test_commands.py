"""The commands of real administrators, over Flower: a coordinator and four sites."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from securefl import run
from securefl.errors import RunFailed
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.deployed.approval import Approval
from securefl.runs.deployed.approving import approve_charter
from securefl.runs.deployed.charter import CHARTER, Charter, Shared
from securefl.runs.deployed.connecting import connection
from securefl.runs.deployed.federation import admit, collect, found
from securefl.runs.deployed.joining import join
from securefl.runs.deployed.site_folder import APPROVAL, Folder
from securefl.runs.flower.stage import free_port
from securefl.runs.flower.supervision import below
from securefl.scenario.scenario import parse_scenario
from tests.deploy.stage import SECONDS
from tests.runs.deployed.parties import MASKED, SGD
from tests.runs.deployed.sites import allow

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(900)]

TEXT = SGD.replace("rounds = 2", "rounds = 1") + MASKED
CALL = "from securefl.ui.main import main; main()"


def ready(folder: Path) -> None:
    """Makes FED and four sites that have approved its charter."""
    address = ("127.0.0.1", free_port())
    invitation = found(Shared(text=TEXT, overrides=()), address, folder / "fed")
    requests = [join(invitation, f"site-{site}", folder / str(site)) for site in range(4)]
    charter = admit(folder / "fed", requests, days=1.0, deadline=SECONDS)
    approvals = []
    for site in range(4):
        allow(
            folder / str(site),
            budget="{ epsilon = inf }",
            channel='{ allowed = ["masked"], min_cohort = 3, corrupt = 1 }',
        )
        approve_charter(folder / str(site), charter)
        approvals.append(Approval.read(folder / str(site) / APPROVAL))
    collect(folder / "fed", approvals)


def check_clocks(folder: Path) -> None:
    """Asks the gate, once it is there, as `site check` does."""
    site = Folder.read(folder / "0", Charter.read(folder / "0" / CHARTER))
    end = time.monotonic() + SECONDS
    while "nobody answers" in (answer := connection(site)):
        assert time.monotonic() < end
        time.sleep(0.5)
    assert "answers over Flower" in answer
    with pytest.raises(RunFailed, match=r"86(399|40[01]) s ahead of the coordinator's; Flower"):
        connection(site, lambda: time.time() + 86400.0)


def started(*words: str, folder: Path) -> subprocess.Popen[bytes]:
    with (folder / f"{words[2]}.txt").open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-c", CALL, *words],
            cwd=folder,
            stdout=output,
            stderr=output,
        )


def test_a_coordinator_and_its_sites_are_started_by_one_command_each(
    programs: Path, tmp_path: Path
) -> None:
    ready(tmp_path)
    processes = [started("coordinate", "start", "fed", "--flower", str(programs), folder=tmp_path)]
    processes += [
        started("site", "start", str(site), "--flower", str(programs), folder=tmp_path)
        for site in range(4)
    ]
    try:
        check_clocks(tmp_path)
        ends = [process.wait(SECONDS) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    said = "".join(path.read_text() for path in sorted(tmp_path.glob("*.txt")))
    assert ends == [0] * 5, said
    assert said.count("the run is over") == 5
    assert not below(os.getpid())
    ours = load_checkpoint(tmp_path / "fed/model.safetensors").state.weights
    folder = run(parse_scenario(TEXT), tmp_path / "simulation").folder
    theirs = load_checkpoint(next(folder.glob("cells/*/model.safetensors"))).state.weights
    assert torch.equal(ours.view(torch.int32), theirs.view(torch.int32))
