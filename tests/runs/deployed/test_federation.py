"""The coordinator's folder, from the invitation to the last approval."""

import datetime
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography import x509

from securefl.errors import RunFailed, RunFolderError, ScenarioError
from securefl.runs.deployed import certificates, federation
from securefl.runs.deployed.approval import Approval
from securefl.runs.deployed.charter import CHARTER, Charter, Shared
from securefl.runs.deployed.documents import moment_of
from securefl.runs.deployed.federation import (
    APPROVALS,
    admit,
    charter_in,
    check_ready,
    collect,
    found,
    missing_in,
)
from securefl.runs.deployed.invitation import INVITATION, Invitation, JoinRequest
from securefl.runs.deployed.joining import join
from securefl.runs.deployed.keys import NODE_KEY, SIGNING_KEY, node_key, node_public, signing_key
from tests.runs.deployed.parties import SGD

NAMES = ("zurich", "basel", "geneva", "bern")
SHARED = Shared(text=SGD, overrides=())


@pytest.fixture
def fed(tmp_path: Path) -> Path:
    found(SHARED, ("127.0.0.1", 9092), tmp_path / "fed")
    return tmp_path / "fed"


@pytest.fixture
def requests(fed: Path) -> dict[str, JoinRequest]:
    invitation = Invitation.read(fed / INVITATION)
    return {name: join(invitation, name, fed.parent / name) for name in NAMES}


def admitted(fed: Path, requests: Mapping[str, JoinRequest]) -> Charter:
    return admit(fed, [*requests.values()], days=30.0, deadline=60.0)


def approved_by(fed: Path, charter: Charter, *names: str) -> list[Approval]:
    numbers = {member.name: int(site) for site, member in charter.roster.items()}
    return [
        Approval.signed(charter, numbers[name], signing_key(fed.parent / name)) for name in names
    ]


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def test_only_its_owner_reads_the_coordinators_keys(fed: Path) -> None:
    assert stat.S_IMODE(fed.stat().st_mode) == 0o700
    secret = {name for name, mode in modes(fed).items() if mode == 0o600}
    assert secret == {"ca.pem", "tls.pem", "identity.pem"}
    assert b"PRIVATE" not in (fed / INVITATION).read_bytes()


def test_a_folder_that_exists_is_not_founded_again(fed: Path) -> None:
    with pytest.raises(ScenarioError, match="fed exists; choose another folder"):
        found(SHARED, ("127.0.0.1", 9092), fed)


def test_a_scenario_that_only_simulates_leaves_no_folder(tmp_path: Path) -> None:
    shared = Shared(text=SGD, overrides=('channel.kind="ckks"',))
    with pytest.raises(ScenarioError, match="does not run between sites yet"):
        found(shared, ("127.0.0.1", 9092), tmp_path / "fed")
    assert not (tmp_path / "fed").exists()


def test_the_charter_has_one_site_for_each_request(
    fed: Path, requests: dict[str, JoinRequest]
) -> None:
    charter = admitted(fed, requests)
    assert charter_in(fed) == charter
    assert (charter.epoch, charter.rounds, charter.numbers) == (1, 2, 4)
    assert [member.name for member in charter.roster.values()] == [*NAMES]
    for site, member in charter.roster.items():
        assert (member.key, member.node) == (requests[member.name].key, requests[member.name].node)
        certificate = x509.load_pem_x509_certificate(member.certificate.encode())
        assert certificate.subject.rfc4514_string() == f"CN={site}"
        assert certificate.public_key() == node_key(fed.parent / member.name).public_key()
    length = moment_of(charter.valid_until) - now()
    assert datetime.timedelta(days=29) < length <= datetime.timedelta(days=30)


def test_a_charter_ends_with_its_ca(
    fed: Path, requests: dict[str, JoinRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    charter = admit(fed, [*requests.values()], days=500.0, deadline=60.0)
    end = certificates.read_certificate(fed / "ca.crt").not_valid_after_utc
    assert moment_of(charter.valid_until) == end


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (NAMES[:3], "has 4 sites, and 3 requests are given"),
        ((*NAMES, "zurich"), "has 4 sites, and 5 requests are given"),
        ((*NAMES[:3], "zurich"), "2 sites have the name zurich"),
    ],
)
def test_a_charter_needs_one_request_of_each_site(
    names: tuple[str, ...], reason: str, fed: Path, requests: dict[str, JoinRequest]
) -> None:
    with pytest.raises(ScenarioError, match=reason):
        admit(fed, [requests[name] for name in names], days=30.0, deadline=60.0)
    assert not (fed / CHARTER).exists()


@pytest.mark.parametrize(
    ("key", "reason"),
    [(SIGNING_KEY, "2 sites have the Ed25519 key"), (NODE_KEY, "2 sites have the node key")],
)
def test_one_key_twice_is_refused(
    key: str, reason: str, fed: Path, requests: dict[str, JoinRequest]
) -> None:
    shutil.copy(fed.parent / "zurich" / key, fed.parent / "bern" / key)
    folder = fed.parent / "bern"
    requests["bern"] = JoinRequest.signed(
        "bern",
        node_public(node_key(folder)),
        Invitation.read(fed / INVITATION),
        signing_key(folder),
    )
    with pytest.raises(ScenarioError, match=reason):
        admitted(fed, requests)


def test_a_node_key_that_is_no_point_is_refused(
    fed: Path, requests: dict[str, JoinRequest]
) -> None:
    invitation = Invitation.read(fed / INVITATION)
    key = signing_key(fed.parent / "bern")
    requests["bern"] = JoinRequest.signed("bern", "02" + "f" * 96, invitation, key)
    with pytest.raises(RunFolderError, match="no point of P-384"):
        admitted(fed, requests)


def test_a_forged_request_is_refused(fed: Path, requests: dict[str, JoinRequest]) -> None:
    requests["bern"] = requests["bern"].model_copy(update={"key": "11" * 32})
    with pytest.raises(RunFolderError, match="request of bern is not signed by its key"):
        admitted(fed, requests)


def test_the_same_requests_keep_the_charter(fed: Path, requests: dict[str, JoinRequest]) -> None:
    charter = admitted(fed, requests)
    assert admitted(fed, requests) == charter


def test_a_site_keeps_its_number_in_the_next_epoch(
    fed: Path, requests: dict[str, JoinRequest]
) -> None:
    first = admitted(fed, requests)
    del requests["basel"]
    requests = {
        "lugano": join(Invitation.read(fed / INVITATION), "lugano", fed.parent / "lugano"),
        **dict(reversed(requests.items())),
    }
    second = admitted(fed, requests)
    assert (second.epoch, second.run) == (2, first.run)
    names = [member.name for member in second.roster.values()]
    assert names == ["zurich", "lugano", "geneva", "bern"]


@pytest.mark.parametrize("change", ["code", "validity", "deadline"])
def test_other_code_other_terms_or_an_end_of_the_validity_need_a_new_epoch(
    change: str, fed: Path, requests: dict[str, JoinRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = admitted(fed, requests)
    deadline = 60.0
    if change == "code":
        monkeypatch.setattr("securefl.runs.deployed.charter.code_hash", lambda: "0" * 16)
    elif change == "validity":
        past = {"valid_until": first.valid_from, "valid_from": "2020-01-01T00:00:00Z"}
        first.model_copy(update=past).write(fed / CHARTER)
    else:
        deadline = 61.0
    second = admit(fed, [*requests.values()], days=30.0, deadline=deadline)
    assert second.epoch == 2


def test_approvals_come_one_by_one_until_all_are_there(
    fed: Path, requests: dict[str, JoinRequest]
) -> None:
    charter = admitted(fed, requests)
    assert missing_in(fed, charter) == NAMES
    assert collect(fed, approved_by(fed, charter, "basel")) == ("zurich", "geneva", "bern")
    with pytest.raises(RunFolderError, match="epoch 1 is not approved by zurich, geneva, bern"):
        check_ready(fed, now())
    assert collect(fed, approved_by(fed, charter, "zurich", "geneva", "bern", "basel")) == ()
    assert check_ready(fed, now()) == charter


def test_an_approval_of_an_older_epoch_does_not_count(
    fed: Path, requests: dict[str, JoinRequest]
) -> None:
    first = admitted(fed, requests)
    collect(fed, approved_by(fed, first, *NAMES))
    second = admit(fed, [*requests.values()], days=30.0, deadline=61.0)
    assert missing_in(fed, second) == NAMES
    mixed = [*approved_by(fed, second, "zurich"), *approved_by(fed, first, "bern")]
    with pytest.raises(RunFolderError, match="site 3 approved another charter, of epoch 1"):
        collect(fed, mixed)
    assert missing_in(fed, second) == NAMES  # none of a bad lot is kept


def test_an_approval_that_was_changed_on_the_disk_is_refused(
    fed: Path, requests: dict[str, JoinRequest]
) -> None:
    charter = admitted(fed, requests)
    collect(fed, approved_by(fed, charter, *NAMES))
    text = (fed / APPROVALS).read_text()
    (fed / APPROVALS).write_text(text.replace('"site": 1', '"site": 0'))
    with pytest.raises(RunFolderError, match="approval of site 0 is not signed by its key"):
        check_ready(fed, now())


@pytest.mark.parametrize("days", [-1, 31])
def test_nobody_starts_with_a_clock_that_is_off(
    days: int, fed: Path, requests: dict[str, JoinRequest]
) -> None:
    charter = admitted(fed, requests)
    collect(fed, approved_by(fed, charter, *NAMES))
    with pytest.raises(RunFailed, match="this machine's clock says"):
        check_ready(fed, now() + datetime.timedelta(days=days))


def test_an_expired_certificate_is_named(
    fed: Path, requests: dict[str, JoinRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    charter = admitted(fed, requests)
    collect(fed, approved_by(fed, charter, *NAMES))
    authority = certificates.Authority.generate(datetime.timedelta(seconds=-60))
    authority.certify_server(fed, "127.0.0.1")
    with pytest.raises(RunFolderError, match=r"tls\.crt is valid from .* clock says"):
        check_ready(fed, now())


def test_other_code_than_the_charters_is_refused_at_the_start(
    fed: Path, requests: dict[str, JoinRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    charter = admitted(fed, requests)
    collect(fed, approved_by(fed, charter, *NAMES))
    monkeypatch.setattr("securefl.runs.deployed.charter.code_hash", lambda: "0" * 16)
    with pytest.raises(RunFolderError, match=f"names code {charter.code}, here it is 0000"):
        check_ready(fed, now())


def test_a_folder_that_others_may_read_is_refused(
    fed: Path, requests: dict[str, JoinRequest]
) -> None:
    charter = admitted(fed, requests)
    fed.chmod(0o750)
    for call in (
        lambda: admitted(fed, requests),
        lambda: collect(fed, approved_by(fed, charter, "bern")),
        lambda: check_ready(fed, now()),
    ):
        with pytest.raises(RunFolderError, match="fed is open to other users: chmod 700"):
            call()


def test_a_key_that_others_may_read_is_refused(fed: Path) -> None:
    (fed / SIGNING_KEY).chmod(0o640)
    with pytest.raises(RunFolderError, match=r"identity\.pem is open to other users: chmod 600"):
        signing_key(fed)
    assert federation.charter_in(fed) is None
