"""Approvals, invitations and requests: only the right key, for the right document."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ValidationError

from securefl.errors import RunFolderError
from securefl.runs.deployed.approval import Approval, Approvals, missing_of
from securefl.runs.deployed.charter import Shared
from securefl.runs.deployed.invitation import Invitation, JoinRequest
from tests.runs.deployed.parties import SGD, charter_of

KEYS = {site: Ed25519PrivateKey.generate() for site in range(4)}
CHARTER = charter_of(
    SGD, keys={site: key.public_key().public_bytes_raw() for site, key in KEYS.items()}
)
NODE = f"02{7:096x}"
INVITATION = Invitation(
    version=1,
    host="example.org",
    port=9092,
    authority="PEM",
    server="00" * 32,
    shared=Shared(text=SGD, overrides=()),
)


def approvals(*sites: int) -> Approvals:
    return Approvals(approvals=tuple(Approval.signed(CHARTER, site, KEYS[site]) for site in sites))


def test_an_approval_of_every_site_makes_the_charter_good() -> None:
    everyone = approvals(0, 1, 2, 3)
    Approvals.parse(everyone.canonical(), "here").check(CHARTER)
    assert missing_of(CHARTER, everyone.approvals) == ()


def test_sites_without_an_approval_are_named() -> None:
    with pytest.raises(RunFolderError, match="not approved by site-1, site-3"):
        approvals(0, 2, 2).check(CHARTER)


@pytest.mark.parametrize(
    ("update", "reason"),
    [
        ({"epoch": 2}, "site 0 approved another charter, of epoch 1; this one has epoch 2"),
        ({"deadline": 6.0}, "site 0 approved another charter; this one has epoch 1"),
    ],
)
def test_an_approval_of_another_charter_is_refused(update: dict[str, object], reason: str) -> None:
    with pytest.raises(RunFolderError, match=reason):
        approvals(0, 1, 2, 3).check(CHARTER.model_copy(update=update))


def test_an_approval_by_another_key_or_for_another_site_is_refused() -> None:
    forged = Approval.signed(CHARTER, 0, KEYS[1])
    moved = Approval.signed(CHARTER, 1, KEYS[1]).model_copy(update={"site": 0})
    raised = Approval.signed(CHARTER, 0, KEYS[0]).model_copy(update={"signature": "0" * 128})
    for approval in (forged, moved, raised):
        with pytest.raises(RunFolderError, match="of site 0 is not signed by its key"):
            approval.check(CHARTER)


def test_an_approval_of_no_site_of_the_roster_is_refused() -> None:
    with pytest.raises(RunFolderError, match="site 4, which the roster lacks"):
        Approval.signed(CHARTER, 4, KEYS[0]).check(CHARTER)


def test_a_request_proves_that_its_site_has_the_key() -> None:
    request = JoinRequest.signed("zurich", NODE, INVITATION, KEYS[0])
    JoinRequest.parse(request.canonical(), "here").check(INVITATION)
    assert request.key == CHARTER.roster["0"].key
    changes = {"name": "basel", "key": CHARTER.roster["1"].key, "node": f"03{7:096x}"}
    for key, value in changes.items():
        with pytest.raises(RunFolderError, match="is not signed by its key"):
            request.model_copy(update={key: value}).check(INVITATION)


def test_a_request_is_for_one_invitation() -> None:
    request = JoinRequest.signed("zurich", NODE, INVITATION, KEYS[0])
    with pytest.raises(RunFolderError, match="request of zurich answers another invitation"):
        request.check(INVITATION.model_copy(update={"port": 9093}))


def test_a_name_that_would_lead_to_another_folder_is_refused() -> None:
    with pytest.raises(ValidationError, match="should match pattern"):
        JoinRequest.signed("../zurich", NODE, INVITATION, KEYS[0])
