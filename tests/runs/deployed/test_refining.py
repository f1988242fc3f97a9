"""A run that goes on from the last model of another, with the same sites."""

import stat
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from securefl.channels.messages import ModelMessage
from securefl.errors import ProtocolError, RunFolderError, ScenarioError
from securefl.files import write_atomic
from securefl.runs.cell import Cell
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.deployed.approval import Approval
from securefl.runs.deployed.charter import CHARTER, Charter, Shared
from securefl.runs.deployed.documents import utc_now
from securefl.runs.deployed.envelope import Kind, Part
from securefl.runs.deployed.federation import admit, check_ready, collect, found
from securefl.runs.deployed.first_model import FIRST_MODEL, from_first_model
from securefl.runs.deployed.invitation import INVITATION, Invitation, JoinRequest
from securefl.runs.deployed.joining import join
from securefl.runs.deployed.keys import signing_key
from securefl.runs.deployed.refining import refine
from securefl.scenario.assemble.public import public_parts, server_parts
from tests.runs.deployed.parties import SGD, deployment
from tests.runs.deployed.test_resume import approvals, speaker

NAMES = ("zurich", "basel", "geneva", "bern")
LONGER = Shared(text=SGD.replace("rounds = 2", "rounds = 3"), overrides=())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The last model of a run of Heart."""
    parties = deployment(SGD, tmp_path_factory.mktemp("earlier"))
    parties.play()
    return parties.cell.checkpoint.read_bytes()


@pytest.fixture
def requests(tmp_path: Path) -> list[JoinRequest]:
    """Requests to a coordinator in `fed`, which has a charter."""
    invitation = found(Shared(text=SGD, overrides=()), ("127.0.0.1", 9092), tmp_path / "fed")
    asked = [join(invitation, name, tmp_path / name) for name in NAMES]
    admit(tmp_path / "fed", asked, days=1.0, deadline=60.0)
    return asked


@pytest.fixture
def fed(requests: list[JoinRequest], tmp_path: Path, model: bytes) -> Path:
    """The coordinator's folder, whose run is over."""
    folder = tmp_path / "fed"
    cell = Cell(folder)
    write_atomic(cell.checkpoint, model)
    cell.finish(type(cell.status().state).DONE)
    return folder


def approved(folder: Path, charter: Charter) -> None:
    sites = enumerate(NAMES)
    keys = {site: signing_key(folder.parent / name) for site, name in sites}
    collect(folder, [Approval.signed(charter, site, key) for site, key in keys.items()])


def test_the_next_run_starts_from_the_last_model_under_a_charter_of_its_own(fed: Path) -> None:
    before = Charter.read(fed / CHARTER)
    out = fed.parent / "next"
    charter = refine(fed, LONGER, out, days=1.0)
    assert Charter.read(out / CHARTER) == charter
    assert (charter.epoch, charter.rounds, charter.roster) == (1, 3, before.roster)
    assert charter.run != before.run
    assert charter.origin == f"sha256:{before.digest.hex()}"
    assert charter.model != before.model
    approved(out, charter)
    assert check_ready(out, utc_now()) == charter
    parts = from_first_model(out, server_parts(charter.scenario(), run=charter.run))
    last = load_checkpoint(Cell(fed).checkpoint).state.weights
    start = torch.cat([weights.flatten() for weights in parts.model.parameters()])
    assert torch.equal(start, last)


def test_keys_stay_private_in_the_next_folder(fed: Path) -> None:
    out = fed.parent / "next"
    refine(fed, LONGER, out, days=1.0)
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    for name in ("ca.pem", "tls.pem", "identity.pem"):
        assert stat.S_IMODE((out / name).stat().st_mode) == 0o600
        assert (out / name).read_bytes() == (fed / name).read_bytes()


def test_sites_check_layout_and_code_and_leave_the_first_model_to_its_hash(fed: Path) -> None:
    charter = refine(fed, LONGER, fed.parent / "next", days=1.0)
    public = public_parts(charter.scenario(), run=charter.run)
    charter.check_public(public)
    with pytest.raises(RunFolderError, match="names layout sha256:0"):
        charter.model_copy(update={"layout": f"sha256:{0:064x}"}).check_public(public)


def test_the_next_run_has_epochs_too(fed: Path, requests: list[JoinRequest]) -> None:
    out = fed.parent / "next"
    first = refine(fed, LONGER, out, days=1.0)
    second = admit(out, requests, days=1.0, deadline=61.0)
    assert (second.epoch, second.run, second.model) == (2, first.run, first.model)
    assert (second.origin, second.shared) == (first.origin, LONGER)


def test_another_first_model_than_the_charters_is_refused_at_the_start(fed: Path) -> None:
    out = fed.parent / "next"
    approved(out, refine(fed, LONGER, out, days=1.0))
    (out / FIRST_MODEL).unlink()
    with pytest.raises(RunFolderError, match="is not the first model of the charter"):
        check_ready(out, utc_now())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (SGD.replace('"natural"', '"iid", clients = 3'), "has 3 sites, the earlier run 4"),
        (SGD + 'model = { name = "mlp", hidden = [3] }', "another model than the earlier run"),
    ],
)
def test_other_sites_or_another_model_are_refused(text: str, reason: str, fed: Path) -> None:
    with pytest.raises(ScenarioError, match=reason):
        refine(fed, Shared(text=text, overrides=()), fed.parent / "next", days=1.0)
    assert not (fed.parent / "next").exists()


PRIVATE = """
seed = 1
rounds = 2
data = { name = "heart", partition = "natural" }
training = { kind = "clipped_gradient", lr = 1.0 }
privacy = { epsilon = 8.0, place = "distributed", records = [200, 173, 31, 86] }
channel = { kind = "masked" }
"""


def ended(folder: Path, text: str, model: bytes) -> Path:
    """Makes a coordinator's folder, whose run of a scenario is over."""
    invitation = found(Shared(text=text, overrides=()), ("127.0.0.1", 9092), folder / "fed")
    asked = [join(invitation, name, folder / name) for name in NAMES]
    admit(folder / "fed", asked, days=1.0, deadline=60.0)
    cell = Cell(folder / "fed")
    write_atomic(cell.checkpoint, model)
    cell.finish(type(cell.status().state).DONE)
    return folder / "fed"


LOCAL = PRIVATE.replace('"distributed"', '"local"')


@pytest.mark.parametrize(
    ("before", "now", "reason"),
    [
        (SGD, PRIVATE, "fed claims no DP: its model was trained on these records without noise"),
        (PRIVATE, LOCAL, "'distributed' and channel.corrupt = 1, here it is privacy.place = 'loc"),
        (
            LOCAL,
            LOCAL.replace("epsilon = 8.0", "epsilon = 8.0, delta = 1e-6"),
            "has privacy.delta = 1e-05, here it is 1e-06; they must be equal",
        ),
    ],
    ids=["no claim", "place", "delta"],
)
def test_a_claim_that_the_earlier_run_does_not_cover_is_refused(
    before: str, now: str, reason: str, tmp_path: Path, model: bytes
) -> None:
    folder = ended(tmp_path, before, model)
    with pytest.raises(ScenarioError, match=f"^the run of .*{reason}"):
        refine(folder, Shared(text=now, overrides=()), tmp_path / "next", days=1.0)
    assert not (tmp_path / "next").exists()


def test_a_claim_that_the_earlier_run_covers_goes_on(tmp_path: Path, model: bytes) -> None:
    folder = ended(tmp_path, LOCAL, model)
    # Other records declare another number of them.
    more = PRIVATE.replace("[200,", "[201,").replace("epsilon = 8.0", "epsilon = 3.0")
    assert refine(folder, Shared(text=more, overrides=()), tmp_path / "next", days=1.0).origin


def test_a_run_that_has_not_ended_is_not_refined(
    requests: list[JoinRequest], tmp_path: Path
) -> None:
    with pytest.raises(RunFolderError, match="has no last model yet"):
        refine(tmp_path / "fed", LONGER, tmp_path / "next", days=1.0)
    assert not (tmp_path / "next").exists()


def test_a_site_starts_from_no_other_model_than_the_charters(tmp_path: Path) -> None:
    parties = deployment(SGD, tmp_path)
    models: list[bytes] = []
    for site in parties.link.agents:
        original = parties.link.agents[site]._speaker.take

        def take(part: Part, original: object = original) -> object:
            if part.kind is Kind.MODEL:
                models.append(bytes(part.content))
            return original(part)  # type: ignore[operator]

        object.__setattr__(parties.link.agents[site]._speaker, "take", take)
    parties.play()
    first, later = models[0], models[-1]
    site_zero = speaker(parties)
    site_zero.take(Part(Kind.SESSION, 0, approvals(parties, 0, 1, 2, 3)))
    assert site_zero.take(Part(Kind.MODEL, 0, first)) is None
    model = ModelMessage.from_bytes(later, d=site_zero._parts.plan.d)
    other = replace(model, round=0).to_bytes()
    for round in (0, 1):  # the model's own round decides, not that of the part around it
        with pytest.raises(ProtocolError, match="not the first model of the charter"):
            site_zero.take(Part(Kind.MODEL, round, other))
    assert site_zero.take(Part(Kind.MODEL, 1, later)) is None


def test_a_charter_of_another_coordinator_is_not_the_invitations(fed: Path) -> None:
    invitation = Invitation.read(fed / INVITATION)
    charter = Charter.read(fed / CHARTER)
    invitation.check(charter)
    with pytest.raises(RunFolderError, match="not of the coordinator that sent the invitation"):
        invitation.check(charter.model_copy(update={"server": "0" * 64}))
