"""Runs in real folders: backups, new keys, shared ledgers and sites that lie about their budget."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from securefl.errors import NoResult, PolicyRefused, RunFolderError
from securefl.privacy import ledger
from securefl.privacy.accounting.epsilon import epsilon
from securefl.privacy.past import past_of
from securefl.runs.cell import Cell, CellState
from securefl.runs.deployed.approving import approve_charter
from securefl.runs.deployed.audit_log import OVER, Event, verified
from securefl.runs.deployed.charter import Charter, Shared
from securefl.runs.deployed.envelope import Direction, Envelope, Kind, Part, opened
from securefl.runs.deployed.federation import admit
from securefl.runs.deployed.invitation import INVITATION, Invitation, JoinRequest
from securefl.runs.deployed.joining import REQUEST, join
from securefl.runs.deployed.keys import signing_key
from securefl.runs.deployed.refining import refine
from securefl.runs.deployed.site import opened_site
from tests.runs.deployed.parties import MemoryLink
from tests.runs.deployed.sites import DP, allow
from tests.runs.deployed.whole import approved, coordinated, desk_of, joined, refused_with

SET_UP_REPLIES = 3

ONE = DP.replace("rounds = 3", "rounds = 1")
PLAIN_SGD = """
seed = 1
rounds = 1
data = { name = "heart", partition = "natural" }
training = { kind = "sgd", batch = 64, epochs = 1, lr = 0.5 }
channel = { kind = "masked", min_cohort = 4 }
"""


def test_a_site_from_a_backup_is_noticed_in_the_next_run(tmp_path: Path) -> None:
    text = ONE.replace("min_cohort = 4", "min_cohort = 3")
    charter, sites = joined(tmp_path, text, channel="{ min_cohort = 3 }")
    approved(tmp_path / "fed", charter, sites)
    shutil.copytree(sites[2], tmp_path / "backup")
    coordinated(tmp_path / "fed", charter, sites)
    following = refine(
        tmp_path / "fed", Shared(text=text, overrides=()), tmp_path / "next", days=30.0
    )
    shutil.rmtree(sites[2])
    shutil.copytree(tmp_path / "backup", sites[2])
    approved(tmp_path / "next", following, sites)
    with pytest.raises(RunFolderError, match="is older than a receipt of this site"):
        coordinated(tmp_path / "next", following, sites)
    (record,) = Cell(tmp_path / "next").rounds()
    assert record.survivors == (0, 1, 3)


def test_a_witness_of_a_run_with_a_claim_serves_one_without(tmp_path: Path) -> None:
    charter, sites = joined(tmp_path, ONE, budget="{ epsilon = inf }")
    (tmp_path / "witness").mkdir()
    for site, path in enumerate(sites):
        (path / "site.toml").write_text(f'witness = "{tmp_path}/witness/{site}"\n')
    approved(tmp_path / "fed", charter, sites)
    coordinated(tmp_path / "fed", charter, sites)
    following = refine(
        tmp_path / "fed", Shared(text=PLAIN_SGD, overrides=()), tmp_path / "next", days=30.0
    )
    approved(tmp_path / "next", following, sites)
    coordinated(tmp_path / "next", following, sites)
    # It still notices a ledger that was put back, though it books nothing there.
    (file,) = (sites[1] / "ledger").glob("*.jsonl")
    file.write_text("")
    with pytest.raises(RunFolderError, match="ledger"):
        approve_charter(sites[1], following)


@pytest.mark.parametrize("channel", ["masked", "plain"])
def test_a_site_that_joins_again_stops_nobody_else(channel: str, tmp_path: Path) -> None:
    text = DP.replace('kind = "masked", min_cohort = 4', f'kind = "{channel}"')
    text += 'evaluate = { leave = "sums" }\n'
    keys = {
        "channel": f'{{ allowed = ["{channel}"], min_cohort = 3 }}',
        "evaluation": '{ leave = "sums" }',
    }
    charter, sites = joined(tmp_path, text, **keys)
    fed = tmp_path / "fed"
    approved(fed, charter, sites)
    coordinated(fed, charter, sites, stopped=lambda: True)
    shutil.move(sites[3], tmp_path / "old")
    invitation = Invitation.read(fed / INVITATION)
    requests = [JoinRequest.read(path / REQUEST) for path in sites[:3]]
    requests.append(join(invitation, "site-3", sites[3]))
    allow(sites[3], **keys)
    again = admit(fed, requests, days=30.0, deadline=5.0)
    assert again.epoch == 2
    approved(fed, again, sites)
    assert coordinated(fed, again, sites).round == 3
    assert [record.absent for record in Cell(fed).rounds()[1:]] == [{}, {}]


def test_two_federations_share_the_budget_of_figures_that_both_had_approved(
    tmp_path: Path,
) -> None:
    text = ONE + 'evaluate = { leave = "noisy", epsilon = 0.5 }\n'
    ledgers = tmp_path / "ledgers"
    ledgers.mkdir(mode=0o700)
    federations = []
    for name in ("a", "b"):
        charter, sites = joined(
            tmp_path / name,
            text,
            budget="{ test_epsilon = 0.8 }",
            evaluation='{ leave = "noisy" }',
        )
        with (sites[0] / "site.toml").open("a") as file:
            file.write(f'\nledger = "{ledgers}"\n')
        federations.append((tmp_path / name / "fed", charter, sites))
    for federation in federations:
        approved(*federation)
    for federation in federations:
        coordinated(*federation)
    spent = [
        epsilon(dict(past_of(path).events), delta=1e-5)
        for path in ledgers.glob("*.judging/*.jsonl")
    ]
    assert len([one for one in spent if one > 0]) == 1
    assert sum(spent) <= 0.8
    reasons = refused_with(federations[1][2][0])
    assert any("test_epsilon = 0.8 does not allow figures that cost" in r for r in reasons)


def spoken(site: Path, charter: Charter, kinds: tuple[Kind, ...], late: int) -> Any:
    """Returns a tamper: site 0 says that its budget is spent, from its so many replies on."""
    key = signing_key(site)
    heard = [0]

    def lie(number: int, reply: bytes) -> list[bytes]:
        if number != 0:
            return [reply]
        heard[0] += 1
        told = opened(
            reply,
            key.public_key().public_bytes_raw(),
            charter=charter.digest,
            direction=Direction.TO_COORDINATOR,
            site=0,
            limit=1 << 24,
        )
        parts = tuple(
            Part(Kind.OUT_OF_BUDGET, part.round, lane=part.lane)
            if part.kind in kinds and heard[0] > late
            else part
            for part in told.parts
        )
        return [Envelope(told.charter, told.direction, 0, told.number, parts).sealed(key)]

    return lie


@pytest.mark.parametrize("noise", ["noise_multiplier = 3.0", "epsilon = 4.0"])
def test_a_site_that_only_says_that_its_budget_is_spent_ends_no_run(
    noise: str, tmp_path: Path
) -> None:
    text = DP.replace("epsilon = 4.0, noise_multiplier = 3.0", noise)
    charter, sites = joined(tmp_path, text)
    fed = tmp_path / "fed"
    approved(fed, charter, sites)
    lie = spoken(sites[0], charter, (Kind.ANSWER,), late=3)
    with pytest.raises(Exception, match=r"all 3 rounds were abandoned"):
        coordinated(fed, charter, sites, tamper=lie)
    assert Cell(fed).status().state is not CellState.OUT_OF_BUDGET
    reasons = {record.absent[0] for record in Cell(fed).rounds()}
    assert reasons == {"its site names its budget, which lasts by its constants"}


def test_reported_weights_need_a_policy_that_lets_counts_leave(tmp_path: Path) -> None:
    text = PLAIN_SGD.replace("min_cohort = 4", "min_cohort = 4, reveal_counts = true")
    charter, sites = joined(tmp_path, text + 'weights = "reported"\n', budget="{ epsilon = inf }")
    with pytest.raises(PolicyRefused, match=r"channel\.reveal_counts = false does not allow"):
        approve_charter(sites[0], charter)
    allow(sites[0], channel="{ reveal_counts = true }")
    assert approve_charter(sites[0], charter).proposal.reveals_counts


def test_the_first_payment_takes_no_longer_where_a_site_works_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What takes seconds, and longer the more other runs there are, is done before the start."""
    charter, sites = joined(tmp_path, ONE)
    approved(tmp_path / "fed", charter, sites)
    coordinated(tmp_path / "fed", charter, sites)
    following = refine(
        tmp_path / "fed", Shared(text=ONE, overrides=()), tmp_path / "next", days=30.0
    )
    approved(tmp_path / "next", following, sites)

    def forbidden(*arguments: object, **keys: object) -> int:
        raise AssertionError("an allowance was searched for while the coordinator waits")

    def begun() -> bool:
        monkeypatch.setattr(ledger, "largest_count", forbidden)
        return False

    coordinated(tmp_path / "next", following, sites, stopped=begun, opened=begun)
    spent = past_of(next((sites[0] / "ledger").glob("*.jsonl")))
    assert sum(dict(spent.events).values()) == 2


def test_a_site_that_was_restarted_hears_that_the_run_is_over(tmp_path: Path) -> None:
    """It has no session then, and neither refuses nor waits any more."""
    charter, sites = joined(tmp_path, ONE)
    fed = tmp_path / "fed"
    approved(fed, charter, sites)
    coordinated(fed, charter, sites)
    with opened_site(sites[1]) as site:
        desk = desk_of(fed, charter, MemoryLink({1: site.agent}))
        desk.enclose(1, Part(Kind.FINISH))
        desk.carry(lambda number, part: None)
        assert site.is_finished
    lines = verified(sites[1] / "audit.jsonl")
    assert not [line for line in lines if line.event is Event.REFUSED]
    assert (lines[-1].event, lines[-1].kind) == (Event.STOPPED, OVER)


def test_rounds_without_enough_sites_are_not_used_up_within_seconds(tmp_path: Path) -> None:
    charter, sites = joined(tmp_path, DP)
    fed = tmp_path / "fed"
    approved(fed, charter, sites)
    waits: list[int] = []

    replies = [0]

    def mute(site: int, reply: bytes) -> list[bytes]:
        """Lets site 0 be heard in the set-up alone."""
        replies[0] += site == 0
        return [reply] if site or replies[0] <= SET_UP_REPLIES else []

    with pytest.raises(NoResult, match="all 3 rounds were abandoned"):
        coordinated(fed, charter, sites, tamper=mute, waits=waits.append)
    assert waits == [1, 2]
