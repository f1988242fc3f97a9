"""A coordinator at work: alone on its folder, stopped through a file, looked at through others."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from securefl.errors import RunFolderError
from securefl.files import is_held, locked, read_json
from securefl.runs.cell import Cell, CellState
from securefl.runs.deployed import rehearsal, ways
from securefl.runs.deployed.approval import Approval
from securefl.runs.deployed.charter import Charter, Shared
from securefl.runs.deployed.federation import admit, collect, found
from securefl.runs.deployed.joining import join
from securefl.runs.deployed.keys import signing_key
from securefl.runs.deployed.process import _patience
from securefl.runs.deployed.rehearsal import rehearse
from securefl.runs.deployed.serving import STOP, Stop, at_work, request_stop, standing
from securefl.scenario.scenario import parse_scenario
from tests.runs.deployed.parties import MASKED, SGD
from tests.runs.deployed.sites import federation
from tests.runs.deployed.test_rehearsal import Forked

NAMES = ("zurich", "basel", "geneva", "bern")


def until(happened: Callable[[], bool]) -> None:
    while not happened():
        time.sleep(0.005)


@pytest.fixture
def fed(tmp_path: Path) -> Path:
    """A folder whose charter all sites have approved."""
    folder = tmp_path / "fed"
    invitation = found(Shared(text=SGD, overrides=()), ("127.0.0.1", 9092), folder)
    requests = [join(invitation, name, tmp_path / name) for name in NAMES]
    charter = admit(folder, requests, days=1.0, deadline=60.0)
    approvals = [
        Approval.signed(charter, site, signing_key(tmp_path / name))
        for site, name in enumerate(NAMES)
    ]
    collect(folder, approvals)
    return folder


def test_one_coordinator_is_at_work_on_a_folder(fed: Path) -> None:
    with locked(fed):
        assert standing(fed).at_work
        with pytest.raises(RunFolderError, match="fed is in use by another run"), at_work(fed):
            pass
    assert not standing(fed).at_work
    with at_work(fed) as charter:
        assert charter == Charter.read(fed / "charter.json")


def test_a_folder_that_is_no_coordinators_is_left_as_it_was(tmp_path: Path) -> None:
    refusal = pytest.raises(RunFolderError, match=r"no coordinator's folder: .* no invitation")
    with refusal, at_work(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_stop_that_nobody_waits_for_is_refused(fed: Path) -> None:
    with pytest.raises(RunFolderError, match="no coordinator is at work on"):
        request_stop(fed, now=False)
    assert not (fed / STOP).exists()


def test_a_stop_meant_for_an_earlier_process_is_forgotten(fed: Path) -> None:
    (fed / STOP).write_text('{"now": true}')
    with at_work(fed), Stop(fed) as stop:
        assert not stop.is_asked()


@pytest.fixture
def _interrupts() -> Iterator[None]:
    """What a shell starts in the background ignores Ctrl-C; a command of ours never does."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interrupts")
def test_a_stop_waits_for_the_round_and_now_interrupts(fed: Path) -> None:
    with locked(fed), Stop(fed) as stop:
        request_stop(fed, now=False)
        assert stop.is_asked()
        request_stop(fed, now=True)
        with pytest.raises(KeyboardInterrupt):
            threading.Event().wait(20.0)
    assert not (fed / STOP).exists()


def test_the_standing_comes_from_files(fed: Path) -> None:
    now = standing(fed)
    assert (now.epoch, now.missing, now.state, now.round, now.rounds) == (
        1,
        (),
        CellState.NEW,
        0,
        2,
    )
    (fed / "approvals.json").unlink()
    assert standing(fed).missing == NAMES


@pytest.mark.parametrize("channel", ["", MASKED])
def test_a_coordinator_that_is_stopped_has_whole_rounds(
    channel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsal, "_started", Forked)
    monkeypatch.setattr(ways, "PATIENCE_SECONDS", 0.2)
    text = SGD.replace("rounds = 2", "rounds = 300") + channel
    fed = tmp_path / "out/coordinator"

    def stop() -> None:
        until(lambda: is_held(fed) and standing(fed).round > 0)
        request_stop(fed, now=False)

    def stop_later(agents: Mapping[int, Any]) -> None:
        threading.Thread(target=stop).start()

    result = rehearse(
        parse_scenario(text), text, (), tmp_path / "out", seconds=30.0, on_started=stop_later
    )
    now = standing(fed)
    assert (result.exit_code, result.identical) == (0, None)
    assert 0 < now.round < 300
    assert (now.state, now.at_work) == (CellState.RUNNING, False)
    assert read_json(fed / "status.json")["round"] == now.round - 1
    # To the sites the run is not over: they look for their coordinator until they lose patience.
    for site in range(4):
        assert "no coordinator at" in (tmp_path / f"out/sites/{site}/errors.txt").read_text()


def test_a_run_that_is_over_waits_for_late_sites_and_not_for_its_deadline(tmp_path: Path) -> None:
    charter = federation(tmp_path)
    cell = Cell(tmp_path / "fed")
    long, short = (charter.model_copy(update={"deadline": seconds}) for seconds in (600.0, 5.0))
    assert [_patience(asked, cell) for asked in (long, short)] == [600.0, 5.0]
    cell.finish(CellState.DONE)
    assert [_patience(asked, cell) for asked in (long, short)] == [90.0, 5.0]
