"""A coordinator that is killed goes on: at most one paid round is lost, and none is repeated."""

import shutil
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from securefl.channels.apart import Membership
from securefl.channels.monotonic import MemoryMonotonic
from securefl.errors import ProtocolError, RoundAbandoned, RunFailed, RunFolderError
from securefl.federation.record import INTERRUPTED
from securefl.federation.values import State
from securefl.files import read_lines
from securefl.learning.protocol import Trained
from securefl.runs.cell import Cell, CellState
from securefl.runs.deployed.approval import Approval, Approvals
from securefl.runs.deployed.coordinator import coordinate
from securefl.runs.deployed.desk import Desk
from securefl.runs.deployed.envelope import Kind, Part, Sealed
from securefl.runs.deployed.numbers import NUMBERS, Given, Numbers, read_numbers
from securefl.runs.deployed.receipts import ReceiptBook
from securefl.runs.deployed.speaker import Speaker
from securefl.scenario.assemble.public import server_parts
from tests.runs.deployed.parties import DP, MASKED, SGD, Deployment, MemoryLink, deployment
from tests.runs.deployed.test_coordinator import simulated

FRESH = DP.replace('"seeded"', '"system"')


class Killed(BaseException):
    """The coordinator is no more."""


@dataclass
class DeadlyLink(MemoryLink):
    """Kills its coordinator in one trip: before the sites get their envelopes, or after."""

    fatal: int = -1
    delivers: bool = True

    def carry(
        self, envelopes: Mapping[int, Sealed], seconds: float
    ) -> Generator[tuple[int, bytes], None, None]:
        deadly = len(self.trips) == self.fatal
        if deadly and not self.delivers:
            self.trips.append(list(envelopes))
            raise Killed
        for reply in super().carry(envelopes, seconds):
            if not deadly:
                yield reply
        if deadly:
            raise Killed


@dataclass(frozen=True)
class Counting:
    """A site's training, which counts its rounds."""

    site: int
    counted: Counter[tuple[int, int]]
    fit: Callable[..., Trained]

    def __call__(self, weights: Tensor, *, round: int) -> Trained:
        self.counted[self.site, round] += 1
        return self.fit(weights, round=round)


def trainings(parties: Deployment) -> Counter[tuple[int, int]]:
    """Counts (site, round) of all trainings from now on."""
    counted: Counter[tuple[int, int]] = Counter()
    for site, parts in parties.parts.items():
        object.__setattr__(parts.trainer, "fit", Counting(site, counted, parts.trainer.fit))
    return counted


def started(parties: Deployment, link: MemoryLink) -> State:
    """Starts a coordinator, as a process would: an earlier one has left its folder."""
    charter = parties.charter
    folder = parties.cell.folder
    numbers = Numbers.begun(folder / NUMBERS, charter=charter.digest, allowed=charter.numbers)
    receipts = ReceiptBook(folder / "receipts.json", charter.keys)
    desk = Desk(charter, parties.server, link, limit=1 << 20, receipts=receipts, numbers=numbers)
    parts = server_parts(charter.scenario(), run=charter.run)
    return coordinate(parts, desk, parties.server, Cell(folder))


def resumed(parties: Deployment, *, fatal: int, delivers: bool = True) -> State:
    """Returns the last state of a coordinator that was killed in one trip and started again."""
    agents = parties.link.agents
    with pytest.raises(Killed):
        started(parties, DeadlyLink(agents, fatal=fatal, delivers=delivers))
    return started(parties, MemoryLink(agents))


def check(parties: Deployment, counted: Counter[tuple[int, int]], lost: set[int]) -> None:
    records = parties.cell.rounds()
    assert [record.round for record in records] == list(range(len(records)))
    assert {record.round for record in records if record.abandoned} == lost
    assert {record.reason for record in records if record.abandoned} <= {INTERRUPTED}
    assert all(record.survivors == (0, 1, 2, 3) for record in records if not record.abandoned)
    assert max(counted.values()) == 1
    assert parties.cell.status().state is CellState.DONE


@pytest.mark.parametrize("delivers", [True, False])
@pytest.mark.parametrize("trip", [0, 1])
def test_a_plain_round_is_lost_and_the_next_one_played(
    trip: int, delivers: bool, tmp_path: Path
) -> None:
    parties = deployment(SGD, tmp_path)
    counted = trainings(parties)
    resumed(parties, fatal=trip, delivers=delivers)
    check(parties, counted, lost={trip})


# Trips 0 to 2 set the session up; 3 and 4 open round 0; 5, 6 and 7 play it, and 6 and 7 open
# round 1; 8, 9 and 10 play that one.
@pytest.mark.parametrize(
    ("trip", "lost"),
    [(0, None), (2, None), (3, None), (4, None), (5, 0), (6, 0), (7, 0), (8, 1), (9, 1), (10, 1)],
)
def test_a_masked_round_is_lost_only_if_a_site_may_have_trained_in_it(
    trip: int, lost: int | None, tmp_path: Path
) -> None:
    parties = deployment(SGD + MASKED, tmp_path)
    counted = trainings(parties)
    state = resumed(parties, fatal=trip)
    check(parties, counted, lost=set() if lost is None else {lost})
    if lost != 0:
        rounds = "rounds = 1" if lost == 1 else "rounds = 2"
        text = SGD.replace("rounds = 2", rounds) + MASKED
        expected = simulated(text, tmp_path / "simulation").weights
        assert torch.equal(state.weights.view(torch.int32), expected.view(torch.int32))


@pytest.mark.parametrize("trip", [5, 7])
def test_a_masked_trip_that_never_arrived_counts_as_trained(trip: int, tmp_path: Path) -> None:
    parties = deployment(SGD + MASKED, tmp_path)
    counted = trainings(parties)
    resumed(parties, fatal=trip, delivers=False)
    check(parties, counted, lost={0})


def test_under_fresh_noise_each_round_is_paid_once(tmp_path: Path) -> None:
    parties = deployment(FRESH.replace("rounds = 2", "rounds = 3") + MASKED, tmp_path)
    counted = trainings(parties)
    resumed(parties, fatal=9)
    check(parties, counted, lost={1})
    assert set(counted) == {(site, round) for site in range(4) for round in range(3)}
    for site in range(4):
        kinds = Counter(entry["kind"] for entry in read_lines(tmp_path / f"{site}.jsonl"))
        assert kinds["reserve"] == 3


def test_a_coordinator_killed_after_its_last_round_only_writes_that_it_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parties = deployment(SGD, tmp_path)

    def killed(*arguments: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Cell, "keep_model", killed)
        with pytest.raises(Killed):
            started(parties, parties.link)
    link = MemoryLink(parties.link.agents)
    started(parties, link)
    assert link.trips == []
    check(parties, Counter([(0, 0)]), lost=set())


def test_a_coordinator_that_dies_in_every_session_runs_out_of_numbers(tmp_path: Path) -> None:
    parties = deployment(SGD + MASKED, tmp_path)
    for _ in range(4):
        with pytest.raises(Killed):
            started(parties, DeadlyLink(parties.link.agents, fatal=3))
    with pytest.raises(RunFailed, match="allows 4 numbers of rounds, and all are used"):
        started(parties, MemoryLink(parties.link.agents))
    assert parties.cell.rounds() == []


def with_an_older_copy(text: str, folder: Path, *, fatal: int) -> tuple[State, Callable[[], State]]:
    """Plays a run; returns its last state, and what starts its coordinator from an older copy."""
    parties = deployment(text, folder)
    fed, copy = parties.cell.folder, folder / "copy"
    with pytest.raises(Killed):
        started(parties, DeadlyLink(parties.link.agents, fatal=fatal, delivers=False))
    shutil.copytree(fed, copy)
    last = started(parties, parties.link)
    counted = trainings(parties)

    def again() -> State:
        shutil.rmtree(fed)
        shutil.copytree(copy, fed)
        try:
            return started(parties, MemoryLink(parties.link.agents))
        finally:
            assert not counted

    return last, again


def test_with_an_older_copy_of_its_folder_a_coordinator_hears_the_same_replies(
    tmp_path: Path,
) -> None:
    last, again = with_an_older_copy(FRESH.replace("rounds = 2", "rounds = 3"), tmp_path, fatal=1)
    assert torch.equal(again().weights, last.weights)


def test_with_an_older_copy_of_its_folder_a_coordinator_gets_no_session_under_masks(
    tmp_path: Path,
) -> None:
    text = FRESH.replace("rounds = 2", "rounds = 3") + MASKED
    _, again = with_an_older_copy(text, tmp_path, fatal=8)
    with pytest.raises(RoundAbandoned, match="0 members are left after the set-up's drop-outs"):
        again()


def test_a_stop_in_the_last_round_ends_the_run(tmp_path: Path) -> None:
    parties = deployment(SGD, tmp_path)
    parts = server_parts(parties.charter.scenario(), run=parties.charter.run)

    def play() -> int:
        played = coordinate(parts, parties.desk, parties.server, parties.cell, lambda: True)
        return played.round

    assert play() == 1
    assert parties.cell.status().state is CellState.RUNNING
    assert play() == 2
    assert parties.cell.status().state is CellState.DONE


@pytest.mark.parametrize(("trip", "judged"), [(1, [2]), (2, [])])
def test_the_last_model_is_judged_at_most_once(
    trip: int, judged: list[int], tmp_path: Path
) -> None:
    text = SGD + 'evaluate = { leave = "sums" }'
    parties = deployment(text, tmp_path)
    resumed(parties, fatal=trip)
    lines = read_lines(parties.cell.folder / "figures.jsonl")
    assert [line["model"] for line in lines] == judged
    assert [record.round for record in parties.cell.rounds()] == [0, 1]
    assert (parties.cell.metrics() is not None) is bool(judged)
    assert parties.cell.status().state is CellState.DONE


def speaker(parties: Deployment) -> Speaker:
    public = {site: key.public_key().public_bytes_raw() for site, key in parties.keys.items()}
    server = parties.server.public_key().public_bytes_raw()
    member = Membership(0, parties.keys[0], public, server, MemoryMonotonic())
    return Speaker(parties.parts[0], member, lambda round: None, charter=parties.charter)


def approvals(parties: Deployment, *sites: int) -> bytes:
    signed = (Approval.signed(parties.charter, site, parties.keys[site]) for site in sites)
    return Approvals(approvals=tuple(signed)).canonical()


def test_a_site_answers_nothing_before_all_sites_have_approved(tmp_path: Path) -> None:
    parties = deployment(SGD, tmp_path)
    site = speaker(parties)
    everyone = approvals(parties, 0, 1, 2, 3)
    with pytest.raises(ProtocolError, match="no session has begun"):
        site.take(Part(Kind.CONFIRM))
    for content, reason in [
        (approvals(parties, 0, 1, 2), "not approved by site-3"),
        (b"", "no list of approvals"),
        (everyone.replace(b'"site":3', b'"site":2'), "not signed by its key"),
    ]:
        with pytest.raises(ProtocolError, match=reason):
            site.take(Part(Kind.SESSION, 0, content))
        with pytest.raises(ProtocolError, match="no session has begun"):
            site.take(Part(Kind.CONFIRM))
    assert site.take(Part(Kind.SESSION, 0, everyone)) is None
    assert site.take(Part(Kind.CONFIRM)) is None


def test_a_site_goes_back_to_no_earlier_session_and_begins_no_more_than_the_charter_allows(
    tmp_path: Path,
) -> None:
    parties = deployment(SGD, tmp_path)
    site = speaker(parties)
    everyone = approvals(parties, 0, 1, 2, 3)
    site.take(Part(Kind.SESSION, 2, everyone))
    with pytest.raises(ProtocolError, match="session 1 is over"):
        site.take(Part(Kind.SESSION, 1, everyone))
    site.take(Part(Kind.SESSION, 3, everyone))
    with pytest.raises(ProtocolError, match="the charter allows 4 sessions an epoch"):
        site.take(Part(Kind.SESSION, 4, everyone))


def test_a_later_session_has_another_name(tmp_path: Path) -> None:
    parts = server_parts(deployment(SGD, tmp_path).charter.scenario(), run="run")
    names = [replace(parts, session_number=number).session for number in (0, 1, 2)]
    assert names[0] == parts.session
    assert len(set(names)) == 3


def test_a_site_that_was_restarted_hears_of_the_session_again(tmp_path: Path) -> None:
    parties = deployment(SGD.replace("rounds = 2", "rounds = 4"), tmp_path)
    everyone = approvals(parties, 0, 1, 2, 3)
    agent = parties.link.agents[0]
    agent._speaker = speaker(parties)
    receipts = ReceiptBook(tmp_path / "receipts.json", parties.charter.keys)
    desk = Desk(
        parties.charter,
        parties.server,
        parties.link,
        limit=1 << 20,
        receipts=receipts,
        approvals=everyone,
    )

    def restart(site: int, reply: bytes) -> list[bytes]:
        if site == 0 and len(parties.link.trips) == 2:
            agent._speaker = speaker(parties)
        return [reply]

    parties.link.tamper = restart
    parts = server_parts(parties.charter.scenario(), run=parties.charter.run)
    coordinate(parts, desk, parties.server, parties.cell)
    absent = {record.round: dict(record.absent) for record in parties.cell.rounds()}
    assert absent == {0: {}, 1: {}, 2: {0: "its site declined"}, 3: {}}


def test_numbers_are_on_disk_before_they_are_given_out_and_go_on_behind_a_crash(
    tmp_path: Path,
) -> None:
    path = tmp_path / NUMBERS
    first = Numbers.begun(path, charter=b"a", allowed=9)
    assert first.give(3, [Part(Kind.REQUEST, 0), Part(Kind.MODEL, 0)]) == 1
    assert read_numbers(path) == Given(b"a".hex(), 3, session=0, begun=1, latest=0, trained=0)
    assert first.give(2, [Part(Kind.REQUEST, 0), Part(Kind.REQUEST, 1)]) == 4
    second = Numbers.begun(path, charter=b"a", allowed=9)
    assert second.give(1, [Part(Kind.REQUEST, 1)]) == 6
    assert second.given == Given(b"a".hex(), 6, session=1, begun=3, latest=1, trained=0)
    other = Numbers.begun(path, charter=b"b", allowed=9)
    assert other.given == Given(b"b".hex(), 6, session=2, begun=0, latest=-1, trained=0)


@pytest.mark.parametrize("text", ["{}", '{"charter": 1}', "[]", "x"])
def test_damaged_numbers_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / NUMBERS).write_text(text)
    with pytest.raises(RunFolderError, match=r"numbers\.json"):
        read_numbers(tmp_path / NUMBERS)
