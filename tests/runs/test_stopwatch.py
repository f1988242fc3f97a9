"""The cost of a cell over all its starts; and locks that wait."""

import threading
import time
from pathlib import Path

import pytest

from securefl.errors import RunFolderError
from securefl.files import is_held, locked
from securefl.runs.cell import Cell
from securefl.runs.stopwatch import Stopwatch
from securefl.runs.timings import Timings


def test_times_and_starts_add_up(tmp_path: Path) -> None:
    cell = Cell(tmp_path)
    assert cell.timings() == Timings(0, {})
    for start in (1, 2):
        with Stopwatch(cell) as watch:
            assert cell.timings().starts == start
            with watch.stage("set_up"):
                time.sleep(0.02)
    stages = cell.timings().stages
    assert list(stages) == ["set_up", "total"]
    assert stages["total"][0] >= stages["set_up"][0] >= 0.04
    assert stages["set_up"][1] < 0.04


def test_a_start_that_fails_is_counted_with_its_time(tmp_path: Path) -> None:
    def broken() -> None:
        with Stopwatch(cell) as watch, watch.stage("rounds"):
            time.sleep(0.02)
            raise ZeroDivisionError

    cell = Cell(tmp_path)
    with pytest.raises(ZeroDivisionError):
        broken()
    assert cell.timings().starts == 1
    assert cell.timings().stages["rounds"][0] >= 0.02


def test_a_full_disk_does_not_hide_what_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(timings: object) -> None:
        raise OSError(28, "No space left on device")

    def broken(error: type[Exception] | None) -> None:
        cell = Cell(tmp_path)
        with Stopwatch(cell):
            monkeypatch.setattr(cell, "note_timings", full)
            if error is not None:
                raise error

    with pytest.raises(ZeroDivisionError):
        broken(ZeroDivisionError)
    with pytest.raises(OSError, match="No space left"):
        broken(None)


def test_a_lock_is_waited_for_as_long_as_asked(tmp_path: Path) -> None:
    assert not is_held(tmp_path)
    with locked(tmp_path):
        assert is_held(tmp_path)
        with (
            pytest.raises(RunFolderError, match="is in use by another run"),
            locked(tmp_path, patience=0.1),
        ):
            pass
    assert not is_held(tmp_path)
    free, holding = threading.Event(), threading.Event()

    def hold() -> None:
        with locked(tmp_path):
            holding.set()
            free.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert holding.wait(10)
    threading.Timer(0.2, free.set).start()
    with locked(tmp_path, patience=10):
        assert free.is_set()
    thread.join()
