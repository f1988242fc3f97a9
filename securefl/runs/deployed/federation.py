"""The coordinator's folder: who is invited, who was admitted, and who has approved.

found(shared, ("example.org", 9092), fed)     # invitation.json, to publish
admit(fed, requests, days=90, deadline=600)   # charter.json, for every site
collect(fed, approvals)                       # () once all sites have signed
check_ready(fed, now)
"""

import datetime
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from securefl.errors import RunFolderError, ScenarioError
from securefl.files import disk_errors
from securefl.runs.cell import Cell
from securefl.runs.deployed.approval import Approval, Approvals, missing_of
from securefl.runs.deployed.certificates import (
    CA_CERTIFICATE,
    CLOCK_ERROR,
    TLS_CERTIFICATE,
    Authority,
    check_certificate,
)
from securefl.runs.deployed.charter import (
    CHARTER,
    Charter,
    Member,
    Shared,
    chartered,
    check_members,
    model_of,
)
from securefl.runs.deployed.documents import moment_of, utc_now
from securefl.runs.deployed.first_model import FIRST_MODEL, from_first_model
from securefl.runs.deployed.invitation import INVITATION, Invitation, JoinRequest
from securefl.runs.deployed.keys import check_private, make_signing_key, node_key_of
from securefl.scenario.assemble.public import public_parts

APPROVALS = "approvals.json"


def found(
    shared: Shared, address: tuple[str, int], out: Path, passphrase: bytes | None = None
) -> Invitation:
    """Makes the coordinator's folder: its keys, its CA and the invitation.

    Raises:
        ScenarioError: the scenario does not run between sites, or the folder exists.
    """
    shared.scenario()
    with made_private(out):
        authority = Authority.generate()
        authority.write(out, passphrase)
        authority.certify_server(out, address[0], passphrase)
        invitation = Invitation(
            version=1,
            host=address[0],
            port=address[1],
            authority=authority.pem,
            server=make_signing_key(out, passphrase).hex(),
            shared=shared,
        )
        invitation.write(out / INVITATION)
    return invitation


def admit(
    folder: Path, requests: Sequence[JoinRequest], *, days: float, deadline: float
) -> Charter:
    """Writes the charter for the sites that asked; the same terms again keep the one in force.

    A charter with other terms has the next epoch, and no approval of an earlier one counts.

    Raises:
        RunFolderError: a request is forged or answers another invitation; the folder is damaged.
        ScenarioError: there is not one request for each site of the scenario.
    """
    check_private(folder)
    invitation = Invitation.read(folder / INVITATION)
    before = charter_in(folder)
    shared = invitation.shared if before is None else before.shared
    scenario = shared.scenario()
    if len(requests) != scenario.clients:
        raise ScenarioError(
            f"the scenario has {scenario.clients} sites, and {len(requests)} requests are given: "
            "give one of each site"
        )
    for request in requests:
        request.check(invitation)
    members = _numbered(requests, before)
    authority = Authority.read(folder)
    now = utc_now()
    with disk_errors(folder):
        run = Cell(folder).open()
    charter = chartered(
        from_first_model(folder, public_parts(scenario, run=run)),
        shared,
        server=invitation.server,
        roster={str(site): _certified(authority, site, members[site]) for site in members},
        address=(invitation.host, invitation.port),
        valid=validity(authority, now, datetime.timedelta(days=days)),
        deadline=deadline,
        epoch=1 if before is None else before.epoch + 1,
        origin=None if before is None else before.origin,
    )
    if before is not None and _is_in_force(before, charter, now):
        return before
    with disk_errors(folder):
        charter.write(folder / CHARTER)
    return charter


def validity(
    authority: Authority, now: datetime.datetime, length: datetime.timedelta
) -> tuple[datetime.datetime, datetime.datetime]:
    """Returns start and end of a charter, which does not outlive its certificates."""
    return now - CLOCK_ERROR, min(now + length, authority.certificate.not_valid_after_utc)


def collect(folder: Path, approvals: Sequence[Approval]) -> tuple[str, ...]:
    """Keeps approvals of the charter in force, and returns the names of the sites without one.

    Raises:
        RunFolderError: an approval is forged or of another charter; none is kept.
    """
    check_private(folder)
    charter = charter_in(folder)
    if charter is None:
        raise RunFolderError(f"{folder} has no charter yet: admit the requests of its sites first")
    for approval in approvals:
        approval.check(charter)
    together = {approval.site: approval for approval in (*_kept(folder, charter), *approvals)}
    everything = tuple(together[site] for site in sorted(together))
    with disk_errors(folder):
        Approvals(approvals=everything).write(folder / APPROVALS)
    return missing_of(charter, everything)


def missing_in(folder: Path, charter: Charter) -> tuple[str, ...]:
    """Returns the names of the sites that have not approved the charter in force."""
    return missing_of(charter, _kept(folder, charter))


def check_ready(folder: Path, now: datetime.datetime) -> Charter:
    """Returns the charter under which the coordinator may start.

    Raises:
        RunFailed: the clock is outside the charter's validity.
        RunFolderError: others may read the folder, an approval is missing, a certificate is not
            valid, or the code here is not the charter's.
    """
    check_private(folder)
    charter = charter_in(folder)
    if charter is None:
        raise RunFolderError(f"{folder} has no charter yet: securefl coordinate admit {folder} ...")
    missing = missing_in(folder, charter)
    if missing:
        raise RunFolderError(
            f"the charter of epoch {charter.epoch} is not approved by {', '.join(missing)}"
        )
    charter.check_clock(now)
    for name in (TLS_CERTIFICATE, CA_CERTIFICATE):
        check_certificate(folder / name, now)
    public = from_first_model(folder, public_parts(charter.scenario(), run=charter.run))
    charter.check_public(public)
    if model_of(public) != charter.model:
        raise RunFolderError(f"{folder / FIRST_MODEL} is not the first model of the charter")
    return charter


def charter_in(folder: Path) -> Charter | None:
    """Returns the charter in force; None before the first. Raises RunFolderError."""
    path = folder / CHARTER
    return Charter.read(path) if path.exists() else None


@contextmanager
def made_private(folder: Path) -> Iterator[None]:
    """Makes a folder that only its owner may look into; it goes again if the block fails.

    Raises:
        RunFolderError: the disk refuses a file in it.
        ScenarioError: it exists, or cannot be made.
    """
    _make_private(folder)
    try:
        with disk_errors(folder):
            yield
    except BaseException:  # Ctrl-C, too: half a folder could not be used, and would be in the way
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _make_private(folder: Path) -> None:
    try:
        os.makedirs(folder.parent, exist_ok=True)
        folder.mkdir(mode=0o700)
    except FileExistsError:
        raise ScenarioError(f"{folder} exists; choose another folder") from None
    except OSError as reason:
        raise ScenarioError(f"cannot make {folder}: {reason.strerror}") from None


def _numbered(requests: Sequence[JoinRequest], before: Charter | None) -> dict[int, Member]:
    """Returns site -> member; sites keep the numbers that an earlier charter gave them.

    A ledger names its releases by the number, so that a site must not get another one.
    """
    members = [Member(name=one.name, key=one.key, node=one.node) for one in requests]
    try:
        check_members(members)
    except ValueError as reason:
        raise ScenarioError(str(reason)) from None
    old = {} if before is None else {m.name: int(site) for site, m in before.roster.items()}
    numbers = {member.name: old[member.name] for member in members if member.name in old}
    free = iter(sorted(set(range(len(members))) - set(numbers.values())))
    for member in members:
        if member.name not in numbers:
            numbers[member.name] = next(free)
    return dict(sorted((numbers[member.name], member) for member in members))


def _certified(authority: Authority, site: int, member: Member) -> Member:
    certificate = authority.certify_site(node_key_of(member.node), site)
    return member.model_copy(update={"certificate": certificate})


def _is_in_force(before: Charter, charter: Charter, now: datetime.datetime) -> bool:
    """Whether a new charter would say nothing new."""
    return moment_of(before.valid_until) > now and _terms(before) == _terms(charter)


def _terms(charter: Charter) -> object:
    """Returns what is the same when a charter is written twice."""
    roster = {site: (one.name, one.key, one.node) for site, one in charter.roster.items()}
    changing = {"epoch", "valid_from", "valid_until", "roster"}
    return charter.model_dump(exclude=changing), roster


def _kept(folder: Path, charter: Charter) -> tuple[Approval, ...]:
    """Returns the approvals of the charter in force; those of earlier ones do not count."""
    path = folder / APPROVALS
    if not path.exists():
        return ()
    digest = charter.digest.hex()
    kept = [one for one in Approvals.read(path).approvals if one.charter == digest]
    for approval in kept:
        approval.check(charter)
    return tuple(kept)
