"""The coordinator's process: sites hear of an end that is final, and wait after any other."""

import errno
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from securefl.errors import BudgetExceeded, NoResult, RunFailed, RunFolderError
from securefl.files import write_json
from securefl.runs.cell import Cell, CellState
from securefl.runs.deployed import numbers, process, receipts
from securefl.runs.deployed.desk import Counts, Desk
from securefl.runs.deployed.numbers import NUMBERS, Numbers
from securefl.runs.deployed.receipts import ReceiptBook
from securefl.runs.deployed.serving import Stop
from securefl.scenario.assemble.public import server_parts
from tests.runs.deployed.parties import DP, MASKED, SGD, Deployment, deployment
from tests.runs.deployed.test_resume import check, trainings

NO_STOP = cast(Stop, SimpleNamespace(is_asked=lambda: False))
Write = Callable[..., None]


def started(parties: Deployment) -> bool:
    """Starts a coordinator, as a process would; returns whether the run is over."""
    charter, folder = parties.charter, parties.cell.folder
    given = Numbers.begun(folder / NUMBERS, charter=charter.digest, allowed=charter.numbers)
    book = ReceiptBook(folder / "receipts.json", charter.keys)
    link = parties.link
    desk = Desk(charter, parties.server, link, limit=1 << 20, receipts=book, numbers=given)
    parts = server_parts(charter.scenario(), run=charter.run)
    return process._play(parts, desk, parties.server, Cell(folder), NO_STOP)


def finished(parties: Deployment) -> set[bool]:
    return {agent.finished for agent in parties.link.agents.values()}


def fails_once(write: Write, *, at: int, code: int) -> Write:
    """Returns a function that writes files, and that the disk refuses one time."""
    calls = []

    def flaky(*arguments: Any, **options: Any) -> None:
        calls.append(arguments)
        if len(calls) == at:
            raise OSError(code, "no room")
        write(*arguments, **options)

    return flaky


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENOSPC])
@pytest.mark.parametrize("where", [numbers, receipts])
def test_a_file_that_cannot_be_written_for_a_moment_leaves_the_sites_waiting(
    where: Any, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parties = deployment(SGD, tmp_path)
    counted = trainings(parties)
    with monkeypatch.context() as patch:
        patch.setattr(where, "write_json", fails_once(write_json, at=2, code=code))
        with pytest.raises(RunFolderError, match=r"cannot write .*: no room"):
            started(parties)
    assert finished(parties) == {False}
    assert "no room" in str(parties.cell.status().reason)
    assert started(parties)
    assert finished(parties) == {True}
    check(parties, counted, lost={1} if where is receipts else set())


def test_a_disk_that_takes_neither_a_round_nor_the_reason_leaves_the_sites_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parties = deployment(SGD, tmp_path)

    def refused(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "no room")

    with monkeypatch.context() as patch:
        patch.setattr(Cell, "keep", refused)
        patch.setattr(Cell, "fail", refused)
        with pytest.raises(RunFolderError, match=r"cannot write into .*coordinator: no room"):
            started(parties)
    assert finished(parties) == {False}
    assert started(parties)
    assert finished(parties) == {True}


def test_a_round_without_any_site_leaves_the_sites_waiting(tmp_path: Path) -> None:
    parties = deployment(SGD, tmp_path)
    parties.link.tamper = lambda site, reply: [b""]
    with pytest.raises(RunFailed, match="round 0: no clients left") as failure:
        started(parties)
    assert not isinstance(failure.value, NoResult)
    parties.link.tamper = lambda site, reply: [reply]
    assert finished(parties) == {False}
    assert started(parties)
    assert finished(parties) == {True}


def test_sites_hear_that_the_budget_is_spent(tmp_path: Path) -> None:
    text = DP.replace("noise_multiplier = 2.0", "noise_multiplier = 0.8")
    text = text.replace("rounds = 2", "rounds = 300").replace("epsilon = 8.0", "epsilon = 4.0")
    parties = deployment(text, tmp_path)
    with pytest.raises(BudgetExceeded, match="does not fit the budget of its site"):
        started(parties)
    assert parties.cell.status().state is CellState.OUT_OF_BUDGET
    assert finished(parties) == {True}


def test_sites_hear_that_all_rounds_were_abandoned(tmp_path: Path) -> None:
    parties = deployment(SGD + MASKED, tmp_path)
    link = parties.link
    link.tamper = lambda site, reply: [reply] if site > 1 or len(link.trips) < 4 else []
    with pytest.raises(NoResult, match="all 2 rounds were abandoned"):
        started(parties)
    assert parties.cell.status().state is CellState.FAILED
    assert finished(parties) == {True}


def test_sites_hear_that_the_numbers_of_rounds_are_used_up(tmp_path: Path) -> None:
    parties = deployment(SGD, tmp_path)
    path = parties.cell.folder / NUMBERS
    charter = parties.charter
    given = Numbers.begun(path, charter=charter.digest, allowed=charter.numbers).given
    write_json(path, {**vars(given), "begun": charter.numbers})
    with pytest.raises(NoResult, match="numbers of rounds, and all are used"):
        started(parties)
    assert finished(parties) == {True}


def test_counts_that_cannot_be_written_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path, value: Mapping[str, int]) -> None:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(process, "write_json", refused)
    with pytest.raises(RunFolderError, match=r"cannot write into .*: no room"):
        process._write_counts(tmp_path, cast(Desk, SimpleNamespace(counts=Counts())))


def test_numbers_that_cannot_be_written_are_not_given_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = Numbers.begun(tmp_path / NUMBERS, charter=bytes(32), allowed=4)
    with monkeypatch.context() as patch:
        patch.setattr(numbers, "write_json", fails_once(write_json, at=1, code=errno.EMFILE))
        with pytest.raises(RunFolderError, match=r"cannot write into .*: no room"):
            given.give(2, [])
        assert given.give(2, []) == 1


def test_a_coordinator_waits_longer_after_each_abandoned_round_and_for_nobody_who_stops_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]

    def passed(seconds: float) -> None:
        now[0] += seconds

    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=passed)
    monkeypatch.setattr(process, "time", clock)
    waited = []
    for abandoned in (1, 2, 3, 7, 100_000):
        before = now[0]
        process._wait(NO_STOP, abandoned)
        waited.append(now[0] - before)
    assert waited == pytest.approx([1.0, 2.0, 4.0, 60.0, 60.0], abs=0.21)
    before = now[0]
    process._wait(cast(Stop, SimpleNamespace(is_asked=lambda: now[0] > before)), 7)
    assert now[0] - before < 1.0
