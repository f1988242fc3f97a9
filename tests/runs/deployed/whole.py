"""A coordinator and sites in real folders, with agents as they are opened for real.

Only the bytes travel in memory.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from securefl.federation.values import State
from securefl.runs.cell import Cell
from securefl.runs.deployed.approval import Approval, Approvals
from securefl.runs.deployed.approving import approve_charter
from securefl.runs.deployed.audit_log import Event, verified
from securefl.runs.deployed.charter import Charter, Shared, envelope_limit
from securefl.runs.deployed.coordinator import coordinate
from securefl.runs.deployed.desk import Desk
from securefl.runs.deployed.federation import APPROVALS, admit, collect, found
from securefl.runs.deployed.first_model import from_first_model
from securefl.runs.deployed.joining import join
from securefl.runs.deployed.keys import signing_key
from securefl.runs.deployed.numbers import NUMBERS, Numbers
from securefl.runs.deployed.receipts import RECEIPTS, ReceiptBook
from securefl.runs.deployed.site import opened_site
from securefl.runs.deployed.site_folder import APPROVAL
from securefl.scenario.assemble.public import server_parts
from tests.runs.deployed.parties import MemoryLink
from tests.runs.deployed.sites import allow

SITES = range(4)


def joined(folder: Path, text: str, **policy: str) -> tuple[Charter, list[Path]]:
    """Makes FED and the folders of four sites; returns their charter, which nobody has approved."""
    folder.mkdir(exist_ok=True)
    invitation = found(Shared(text=text, overrides=()), ("127.0.0.1", 1), folder / "fed")
    sites = [folder / str(site) for site in SITES]
    requests = [join(invitation, f"site-{site}", path) for site, path in enumerate(sites)]
    charter = admit(folder / "fed", requests, days=30.0, deadline=5.0)
    for path in sites:
        allow(path, **policy)
    return charter, sites


def approved(fed: Path, charter: Charter, sites: Sequence[Path]) -> None:
    """Approves a charter at all sites, and collects the approvals."""
    for path in sites:
        approve_charter(path, charter)
    collect(fed, [Approval.read(path / APPROVAL) for path in sites])


def coordinated(
    fed: Path,
    charter: Charter,
    sites: Sequence[Path],
    *,
    stopped: Callable[[], bool] = lambda: False,
    tamper: Callable[[int, bytes], list[bytes]] = lambda site, reply: [reply],
    opened: Callable[[], object] = lambda: None,
    waits: Callable[[int], None] = lambda abandoned: None,
) -> State:
    """Opens all agents, and plays the run or what is left of it."""
    with ExitStack() as stack:
        agents = {
            site: stack.enter_context(opened_site(path)).agent for site, path in enumerate(sites)
        }
        opened()
        link = MemoryLink(agents, tamper=tamper)
        desk = desk_of(fed, charter, link)
        parts = from_first_model(fed, server_parts(charter.scenario(), run=charter.run))
        try:
            return coordinate(parts, desk, signing_key(fed), Cell(fed), stopped, waits)
        finally:
            desk.finish()


def desk_of(fed: Path, charter: Charter, link: MemoryLink) -> Desk:
    return Desk(
        charter,
        signing_key(fed),
        link,
        limit=envelope_limit(charter.scenario()),
        receipts=ReceiptBook(fed / RECEIPTS, charter.keys),
        numbers=Numbers.begun(fed / NUMBERS, charter=charter.digest, allowed=charter.numbers),
        approvals=Approvals.read(fed / APPROVALS).canonical(),
    )


def refused_with(path: Path) -> Mapping[str, int]:
    """Returns the reasons of refusals in a site's audit log, each with how often."""
    lines = verified(path / "audit.jsonl")
    return Counter(line.reason or "" for line in lines if line.event is Event.REFUSED)
