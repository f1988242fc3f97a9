"""A coordinator at work on its folder: held by one process, stopped through a file.

with at_work(fed) as charter:        # all approvals are there, nobody else works on it
    serve(fed, charter, link)

request_stop(fed, now=False)         # from another process: after the round
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from securefl.errors import RunFolderError
from securefl.files import is_held, locked, read_json, write_json
from securefl.runs.cell import Cell, CellState
from securefl.runs.deployed.charter import Charter
from securefl.runs.deployed.documents import utc_now
from securefl.runs.deployed.federation import charter_in, check_ready, missing_in
from securefl.runs.deployed.invitation import INVITATION, Invitation

STOP = "stop.json"

_SECONDS_BETWEEN_LOOKS = 0.2


class Stop:
    """Whether somebody has asked the process that is at work on a folder to stop.

    Args:
        folder: of a coordinator or a site.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / STOP
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Stop":
        self._thread.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._ended.set()
        self._thread.join()
        self._path.unlink(missing_ok=True)

    def is_asked(self) -> bool:
        """Whether to end after this round."""
        return self._path.exists()

    def _watch(self) -> None:
        """Interrupts this process, as Ctrl-C does, once it shall end now."""
        while not self._ended.wait(_SECONDS_BETWEEN_LOOKS):
            if self._path.exists() and read_json(self._path).get("now") is True:
                os.kill(os.getpid(), signal.SIGINT)
                return


def request_stop(folder: Path, *, now: bool) -> None:
    """Asks the coordinator of a folder to stop. Raises RunFolderError: none is at work."""
    if not is_held(folder):
        raise RunFolderError(f"no coordinator is at work on {folder}")
    write_json(folder / STOP, {"now": now})


@contextmanager
def at_work(folder: Path) -> Iterator[Charter]:
    """Holds the coordinator's folder, once everything is there that a start needs.

    Raises:
        RunFolderError: another coordinator is at work on it; see `check_ready` for the rest.
    """
    charter_of_folder(folder)  # or the lock would make a folder look like one
    if not is_held(folder):  # what a coordinator that was killed did not hear
        (folder / STOP).unlink(missing_ok=True)
    with locked(folder):
        yield check_ready(folder, utc_now())


@dataclass(frozen=True)
class Standing:
    """How far a federation has come, from its files.

    Attributes:
        epoch: of the charter; 0 before the first.
        valid_until: of the charter; empty before the first.
        missing: sites that have not approved it.
        at_work: whether a coordinator is.
        state: of the run.
        round: rounds that are over.
        rounds: of the charter.
        abandoned: rounds that gave nothing, since too few sites took part.
        absent: sites that were absent in the last round.
        reason: why the run ended as it did; empty before that.
    """

    epoch: int
    valid_until: str
    missing: tuple[str, ...]
    at_work: bool
    state: CellState
    round: int
    rounds: int
    abandoned: int
    absent: tuple[str, ...]
    reason: str


def standing(folder: Path) -> Standing:
    """Returns how far a federation has come. Raises RunFolderError: the folder is damaged."""
    charter = charter_of_folder(folder)
    cell = Cell(folder)
    status = cell.status()
    records = cell.rounds()
    absent: list[str] = []
    if charter is not None and records:
        absent = [charter.roster[str(site)].name for site in sorted(records[-1].absent)]
    return Standing(
        epoch=0 if charter is None else charter.epoch,
        valid_until="" if charter is None else charter.valid_until,
        missing=() if charter is None else missing_in(folder, charter),
        at_work=is_held(folder),
        state=status.state,
        round=len(records),
        rounds=0 if charter is None else charter.rounds,
        abandoned=sum(record.abandoned for record in records),
        absent=tuple(absent),
        reason=status.reason or "",
    )


def charter_of_folder(folder: Path) -> Charter | None:
    """Returns the charter in force. Raises RunFolderError: this is no coordinator's folder."""
    if not (folder / INVITATION).exists():
        raise RunFolderError(f"{folder} is no coordinator's folder: it holds no {INVITATION}")
    Invitation.read(folder / INVITATION)
    return charter_in(folder)
