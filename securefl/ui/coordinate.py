"""What `securefl coordinate` does: invite sites, admit them, and collect their approvals."""

import re
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from securefl.errors import ScenarioError
from securefl.files import read_json, read_text
from securefl.messages import sentences
from securefl.runs.deployed.approval import Approval
from securefl.runs.deployed.charter import CHARTER, Charter, Shared
from securefl.runs.deployed.documents import Host, Port, is_valid
from securefl.runs.deployed.federation import admit, collect, found
from securefl.runs.deployed.invitation import INVITATION, JoinRequest
from securefl.ui.display import Display


def init(
    path: Path,
    address: str,
    out: Path,
    overrides: tuple[str, ...],
    passphrase: bytes | None,
    display: Display,
) -> None:
    """Makes the coordinator's folder. Raises ScenarioError: see `found`."""
    try:
        shared = Shared.of(read_text(path), overrides, path.parent)
    except ValidationError as reason:  # of sizes: the scenario itself is checked later
        raise ScenarioError(f"{path}: {sentences(reason, Shared, 'the scenario')[:200]}") from None
    invitation = found(shared, split_address(address), out, passphrase)
    display.line(
        f"send {out / INVITATION} to every site; fingerprint to compare by telephone: "
        f"{invitation.fingerprint}",
        invitation=str(out / INVITATION),
        fingerprint=invitation.fingerprint,
    )


def admit_files(
    folder: Path, files: Sequence[Path], display: Display, *, days: float, deadline: float
) -> None:
    """Takes requests, for which it writes a charter, or approvals of the charter.

    Raises:
        RunFolderError: a document is forged, damaged or of another charter.
        ScenarioError: requests and approvals are mixed, or the requests are not one a site.
    """
    approvals = [path for path in files if _is_approval(path)]
    if approvals and len(approvals) < len(files):
        raise ScenarioError("give requests or approvals, not both: approvals are of a charter")
    if approvals:
        missing = collect(folder, [Approval.read(path) for path in approvals])
        _show_approvals(Charter.read(folder / CHARTER), missing, folder, display)
        return
    requests = [JoinRequest.read(path) for path in files]
    charter = admit(folder, requests, days=days, deadline=deadline)
    display.line(
        f"send {folder / CHARTER} to every site: epoch {charter.epoch}, valid until "
        f"{charter.valid_until}, fingerprint {charter.fingerprint}",
        charter=str(folder / CHARTER),
        epoch=charter.epoch,
        valid_until=charter.valid_until,
        fingerprint=charter.fingerprint,
        sites={site: member.name for site, member in charter.roster.items()},
    )


def split_address(address: str) -> tuple[str, int]:
    """Returns host and port. Raises ScenarioError: it is not HOST:PORT."""
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    number = int(port) if re.fullmatch("[0-9]{1,5}", port) else 0
    if not is_valid(Host, host) or not is_valid(Port, number):
        raise ScenarioError(f"--address takes HOST:PORT, such as example.org:9092, got {address}")
    return host, number


def _is_approval(path: Path) -> bool:
    """Whether a file is meant as an approval; the rest of it is read strictly later."""
    return "charter" in read_json(path)


def _show_approvals(
    charter: Charter, missing: tuple[str, ...], folder: Path, display: Display
) -> None:
    if missing:
        text = f"epoch {charter.epoch} is not approved by {', '.join(missing)} yet"
    else:
        text = f"all {len(charter.roster)} sites have approved: securefl coordinate start {folder}"
    display.line(text, epoch=charter.epoch, ready=not missing, missing=list(missing))
