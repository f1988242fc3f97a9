"""The entry of the processes of a deployment; each has a folder of its own.

python -m securefl.runs.deployed.process site FOLDER HOST PORT PATIENCE
python -m securefl.runs.deployed.process coordinator FOLDER DESCRIPTOR

Over Flower, the word `flower` stands for all that follows the folder.
"""

import socket
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from securefl.errors import BudgetExceeded, NoResult, NotReady, RunFolderError, SecureflError
from securefl.files import disk_errors, read_json, write_json
from securefl.runs.cell import Cell, CellState
from securefl.runs.deployed.approval import Approvals
from securefl.runs.deployed.certificates import server_context, site_context
from securefl.runs.deployed.charter import CHARTER, Charter, envelope_limit
from securefl.runs.deployed.coordinator import coordinate
from securefl.runs.deployed.desk import Desk
from securefl.runs.deployed.federation import APPROVALS
from securefl.runs.deployed.first_model import from_first_model
from securefl.runs.deployed.keys import signing_key
from securefl.runs.deployed.links import DirectLink, serve_coordinator
from securefl.runs.deployed.numbers import NUMBERS, Numbers
from securefl.runs.deployed.receipts import RECEIPTS, ReceiptBook
from securefl.runs.deployed.serving import Stop, at_work
from securefl.runs.deployed.site import opened_site
from securefl.runs.flower import ends
from securefl.runs.flower.link import FlowerLink
from securefl.runs.threads import one_thread
from securefl.scenario.assemble.public import ServerParts, server_parts

COUNTS = "counts.json"
FLOWER = "flower"
_SECONDS_FOR_LATE_SITES = 90.0
_MAX_WAIT_SECONDS = 60.0  # after rounds that were abandoned, which wait 1 s, 2 s, 4 s and so on
_SECONDS_BETWEEN_LOOKS = 0.2

# answer, is_finished, limit=...: answers a site's envelopes until its run is over
Serve = Callable[..., None]
# sites=..., limit=...: the coordinator's end
OpenLink = Callable[..., DirectLink | FlowerLink]


def run_site(
    folder: Path, serve: Serve, not_ready: Callable[[NotReady], None] = lambda reason: None
) -> None:
    """Answers for one site until the coordinator ends the run.

    Args:
        folder: of the site.
        serve: answers envelopes until the run is over.
        not_ready: called with what is wrong with the records, before anything is answered.

    Raises:
        SecureflError: the folder does not fit, or the coordinator cannot be reached.
    """
    with opened_site(folder) as site:
        agent = site.agent
        if site.not_ready is not None:
            not_ready(site.not_ready)
        try:
            serve(agent.answer, lambda: site.is_finished, limit=site.limit)
        finally:
            counts = {"answered": agent.answered, "dropped": agent.dropped}
            write_json(folder / COUNTS, counts)


def run_coordinator(folder: Path, open_link: OpenLink) -> bool:
    """Plays the run of a folder with the sites that the link reaches.

    Returns:
        Whether the run is over; False where somebody has stopped it, and it can go on.

    Raises:
        SecureflError: the run failed, and the folder keeps the reason if it can; or it must not
            start.
    """
    with at_work(folder) as charter, Stop(folder) as stop:
        scenario = charter.scenario()
        limit = envelope_limit(scenario)
        key = signing_key(folder)
        parts = from_first_model(folder, server_parts(scenario, run=charter.run))
        link = open_link(sites=charter.keys, limit=limit)
        receipts = ReceiptBook(folder / RECEIPTS, charter.keys)
        desk = Desk(
            charter,
            key,
            link,
            limit=limit,
            receipts=receipts,
            numbers=Numbers.begun(
                folder / NUMBERS, charter=charter.digest, allowed=charter.numbers
            ),
            approvals=Approvals.read(folder / APPROVALS).canonical(),
        )
        with closing(link):
            link.wait_for_sites(_patience(charter, Cell(folder)))
            try:
                return _play(parts, desk, key, Cell(folder), stop)
            finally:
                _write_counts(folder, desk)


def _patience(charter: Charter, cell: Cell) -> float:
    """Returns the seconds for which sites are waited for before the first trip."""
    if cell.status().state is CellState.DONE:
        # All that is left to say is that the run is over, and most sites have heard that.
        return min(charter.deadline, _SECONDS_FOR_LATE_SITES)
    return charter.deadline


def _play(parts: ServerParts, desk: Desk, key: Ed25519PrivateKey, cell: Cell, stop: Stop) -> bool:
    """Plays the run; the sites hear of its end if that is final, and of nothing else.

    A run that somebody stopped, or that this machine could not go on with, waits for the next
    start, and so do the sites.
    """
    try:
        with disk_errors(cell.folder):
            state = coordinate(
                parts, desk, key, cell, stopped=stop.is_asked, waits=partial(_wait, stop)
            )
    except (BudgetExceeded, NoResult) as reason:
        with disk_errors(cell.folder):
            cell.fail(str(reason))  # a run that its budget ended stays so
        desk.finish()
        raise
    except SecureflError as reason:
        # The disk may be what failed: then the sentence on the terminal has to do.
        with suppress(OSError, RunFolderError):
            cell.fail(str(reason))
        raise
    is_over = state.round == parts.scenario.rounds
    if is_over:
        desk.finish()
    return is_over


def _wait(stop: Stop, abandoned: int) -> None:
    """Waits for sites to come back: rounds without them would be used up within seconds.

    Args:
        stop: ends the wait.
        abandoned: rounds that were abandoned in a row.
    """
    # Of many rounds, the power would be beyond all numbers.
    seconds = 2.0 ** min(abandoned - 1, 10)
    end = time.monotonic() + min(_MAX_WAIT_SECONDS, seconds)
    while time.monotonic() < end and not stop.is_asked():
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _write_counts(folder: Path, desk: Desk) -> None:
    with disk_errors(folder):
        write_json(folder / COUNTS, vars(desk.counts))


def counts_of(folder: Path) -> dict[str, int]:
    """Returns what a process has counted. Raises RunFolderError: it was killed before that."""
    return read_json(folder / COUNTS)


def serve_of(folder: Path, words: tuple[str, ...]) -> Serve:
    """Returns how a site is reached, which its command line says."""
    if words == (FLOWER,):
        return partial(ends.serve_site, folder)
    host, port, patience = words
    context = site_context(folder)
    return partial(serve_coordinator, (host, int(port)), context, patience=float(patience))


def link_of(folder: Path, words: tuple[str, ...]) -> OpenLink:
    """Returns how the coordinator reaches the sites, which its command line says."""
    if words == (FLOWER,):
        return partial(ends.coordinator_link, folder)
    listener = socket.socket(fileno=int(words[0]))
    roster = Charter.read(folder / CHARTER).roster.values()
    certificates = [member.certificate for member in roster]
    return partial(DirectLink, listener, server_context(folder, certificates))


def main(role: str, folder: str, *words: str) -> None:
    """Plays one role; an error ends the process with one sentence and its exit code."""
    one_thread()
    path = Path(folder)
    try:
        if role == "site":
            run_site(path, serve_of(path, words))
        else:
            run_coordinator(path, link_of(path, words))
    except SecureflError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main(*sys.argv[1:])
