"""Clients and members that are restarted, or put back to an earlier state, answer nothing twice.

A snapshot here is a copy of the client's object. Its record of earlier answers lives on, in memory
or in a file.
"""

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from securefl.channels.masking.requests import Invitation, KeyTable
from securefl.channels.masking.setup import SetupClient, SetupServer, hold
from securefl.channels.monotonic import (
    ANSWERED,
    UNABLE,
    FileMonotonic,
    MemoryMonotonic,
    Monotonic,
    Progress,
)
from securefl.errors import ProtocolError
from tests.channels.masking.parties import SESSION, Session, agreement, identity, make_client
from tests.channels.masking.puppeteer import SERVER_KEY, Puppets, is_erased, signed
from tests.channels.masking.test_setup import (
    TERMS,
    Corrupt,
    commitment_by_hand,
    content_of,
    member,
    members,
    secret_of,
    table_request,
)

Reopen = Callable[[], Monotonic]


@pytest.fixture(params=["memory", "file"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Reopen:
    """Reopens the record of earlier answers, as a restarted process does."""
    if request.param == "memory":
        monotonic = MemoryMonotonic()
        return lambda: monotonic
    FileMonotonic.create(tmp_path / "progress")
    return lambda: FileMonotonic(tmp_path / "progress")


def session_with(monotonic: Monotonic) -> Session:
    """Returns five clients, of which client 0 records its answers in `monotonic`."""
    session = Session(agreement(5))
    session.clients[0] = make_client(0, session.terms, monotonic)
    return session


# A client that is put back


def test_a_client_that_is_put_back_tells_no_second_story_and_gives_no_second_secret(
    reopen: Reopen,
) -> None:
    # The attack: everyone survives, and client 0 gives its share of everyone's seed. Put back to
    # the state after its upload, it would sign that client 4 dropped out, and give its share of
    # that client's mask key, too.
    hands = Puppets(session_with(reopen()))
    boxes = hands.share(hands.invite(range(5)))
    hands.upload(boxes)
    before = copy(hands.session.clients[0])
    consents = {client: hands.consent(client, range(5)) for client in range(5)}
    assert 4 in hands.reveal(0, consents).seeds
    hands.session.clients[0] = before
    with pytest.raises(ProtocolError, match=ANSWERED):
        hands.consent(0, (0, 1, 2, 3))
    assert is_erased(hands, 0)


def test_a_client_that_is_put_back_behind_its_consent_reveals_nothing_either(
    reopen: Reopen,
) -> None:
    hands = Puppets(session_with(reopen()))
    hands.upload(hands.share(hands.invite(range(5))))
    consents = {client: hands.consent(client, range(5)) for client in range(5)}
    before = copy(hands.session.clients[0])
    hands.reveal(0, consents)
    hands.session.clients[0] = before
    with pytest.raises(ProtocolError, match=ANSWERED):
        hands.reveal(0, {client: consents[client] for client in range(4)})
    assert is_erased(hands, 0)


def test_a_client_that_is_put_back_masks_no_second_update(reopen: Reopen) -> None:
    # Two updates under the same masks would differ by what their words differ by.
    session = session_with(reopen()).begin(0).until(3)
    assert session.clients[0].receive(session.server.requests()[0]) is None
    before = copy(session.clients[0])
    session.clients[0].submit(session.updates[0])
    with pytest.raises(ProtocolError, match=ANSWERED):
        before.submit(replace(session.updates[0], delta=torch.zeros(3)))
    with pytest.raises(ProtocolError, match="no update was asked for"):
        before.submit(session.updates[0])


def test_a_client_that_is_put_back_shares_its_secrets_among_no_other_clients(
    reopen: Reopen,
) -> None:
    hands = Puppets(session_with(reopen()))
    keys = hands.invite(range(5))
    before = copy(hands.session.clients[0])
    assert hands.say(0, KeyTable(SESSION, 0, 0, keys))
    hands.session.clients[0] = before
    with pytest.raises(ProtocolError, match=ANSWERED):
        hands.say(0, KeyTable(SESSION, 0, 0, {client: keys[client] for client in range(4)}))
    assert is_erased(hands, 0)


def test_a_client_that_is_put_back_makes_no_second_keys_for_a_round(reopen: Reopen) -> None:
    hands = Puppets(session_with(reopen()))
    before = copy(hands.session.clients[0])
    hands.invite(range(5))
    hands.session.clients[0] = before
    with pytest.raises(ProtocolError, match="round 0 was asked for before"):
        hands.say(0, Invitation(SESSION, 0, SERVER_KEY[::-1], tuple(range(5))))


def test_what_was_answered_is_noted_before_each_answer_and_never_falls(reopen: Reopen) -> None:
    session = session_with(reopen())
    stages: list[tuple[int, int]] = []
    for round in (0, 2):
        session.begin(round)
        for _ in range(5):
            session.stage()
            last = reopen().last(SESSION)
            stages.append((last.round, last.stage))
            assert last.outcome == session.terms.digest
    assert stages == [(round, stage) for round in (0, 2) for stage in (1, 2, 4, 5, 6)]


# A client that is restarted


def test_a_restarted_client_takes_no_round_again_and_goes_on_with_the_next(reopen: Reopen) -> None:
    session = session_with(reopen()).begin(3).until(4)
    survivors = session.server.requests()[0]
    session.clients[0] = make_client(0, session.terms, reopen())
    for round in range(4):
        invitation = Invitation(SESSION, round, SERVER_KEY, tuple(range(5)))
        with pytest.raises(ProtocolError, match=f"round {round} was asked for before"):
            session.clients[0].receive(signed(invitation, session.terms))
    with pytest.raises(ProtocolError, match="round 3 is not in progress"):
        session.clients[0].receive(survivors)
    with pytest.raises(ProtocolError, match="no update was asked for"):
        session.clients[0].submit(session.updates[0])
    session.stage(silent=[0])
    view = session.stage(silent=[0])
    assert view is not None
    assert view.clients == (0, 1, 2, 3, 4)  # its update was in, and the others opened the sum
    assert session.play(4).clients == (0, 1, 2, 3, 4)


def test_a_client_that_was_restarted_every_round_answers_no_more_rounds_than_were_agreed_on(
    reopen: Reopen,
) -> None:
    terms = agreement(5, rounds=3)
    answered = 0
    for round in (0, 0, 1, 1, 2, 2, 3, 4):
        client = make_client(0, terms, reopen())
        invitation = signed(Invitation(SESSION, round, SERVER_KEY, tuple(range(5))), terms)
        try:
            client.receive(invitation)
        except ProtocolError as refused:
            assert "before" in str(refused) or "beyond" in str(refused)  # noqa: PT017 - either outcome is legal
        else:
            answered += 1
    assert answered == 3


def test_a_session_that_was_used_is_taken_up_again_under_the_same_terms_only(
    reopen: Reopen,
) -> None:
    session = session_with(reopen())
    session.play(0)
    for terms in (
        replace(session.terms, beacon=b"another draw"),
        replace(session.terms, rounds=200_000),
    ):
        with pytest.raises(
            ValueError, match="was used before, and its set-up did not end with these terms"
        ):
            make_client(0, terms, reopen())
    make_client(0, session.terms, reopen())
    elsewhere = agreement(5, session=b"another session!", beacon=b"another draw")
    assert make_client(0, elsewhere, reopen()).receive(
        signed(Invitation(elsewhere.session, 0, SERVER_KEY, tuple(range(5))), elsewhere)
    )


def test_of_two_clients_with_other_terms_for_one_session_the_first_to_answer_goes_on(
    reopen: Reopen,
) -> None:
    terms = agreement(5), agreement(5, beacon=b"another draw")
    clients = [make_client(0, agreed, reopen()) for agreed in terms]
    requests = [
        signed(Invitation(SESSION, round, SERVER_KEY, tuple(range(5))), terms[round])
        for round in (0, 1)
    ]
    assert clients[0].receive(requests[0])
    with pytest.raises(ProtocolError, match=ANSWERED):
        clients[1].receive(requests[1])


# What cannot be noted


class FullDisk(MemoryMonotonic):
    """A record that cannot keep anything while it is full."""

    full = False

    def advance(self, session: bytes, progress: Progress) -> None:
        """Keeps the progress, or refuses."""
        if self.full:
            raise ProtocolError(UNABLE)
        super().advance(session, progress)


@pytest.mark.parametrize("stage", [1, 2, 3, 4, 5])
def test_a_stage_that_cannot_be_noted_is_not_answered_and_ends_the_round_for_this_client(
    stage: int,
) -> None:
    disk = FullDisk()
    session = session_with(disk).begin(0).until(stage)
    request = session.server.requests()[0]
    disk.full = True
    with pytest.raises(ProtocolError, match=f"^{UNABLE}$"):
        session.answer(0, request)
    assert session.clients[0]._state is None
    assert session.clients[0]._replies == {}
    if stage > 1:
        with pytest.raises(ProtocolError, match="is not in progress"):
            session.answer(0, request)
    disk.full = False
    assert session.play(1).clients == (0, 1, 2, 3, 4)


def test_a_set_up_that_cannot_be_noted_is_not_answered_and_may_be_asked_for_again() -> None:
    disk, corrupt = FullDisk(), Corrupt()
    client = corrupt.clients[0] = member(0, monotonic=disk)
    disk.full = True
    with pytest.raises(ProtocolError, match=f"^{UNABLE}$"):
        client.receive(table_request(0, members(0, 1, 2)))  # whom it leaves out may still take part
    for request, answer in (
        (table_request(0, members()), corrupt.commitments[0]),
        (table_request(1, corrupt.table), None),
    ):
        disk.full = True
        with pytest.raises(ProtocolError, match=f"^{UNABLE}$"):
            client.receive(request)
        disk.full = False
        reply = client.receive(request)
        assert answer is None or content_of(reply) == answer
    reveals = corrupt.reveals()
    disk.full = True
    with pytest.raises(ProtocolError, match=f"^{UNABLE}$"):
        client.receive(table_request(2, reveals))
    assert client.agreed is None
    disk.full = False
    assert client.receive(table_request(2, reveals)) is None
    assert client.agreed is not None


# The set-up


def test_a_restarted_member_does_not_draw_again_for_an_attempt_that_it_answered(
    reopen: Reopen,
) -> None:
    drawn: list[int] = []

    def restarted() -> SetupClient:
        def draw(_: int, attempt: int) -> bytes:
            drawn.append(attempt)
            return secret_of(0, attempt)

        return member(0, secret=draw, monotonic=reopen())

    assert restarted().receive(table_request(0, members(), attempt=1))
    for attempt in (0, 1):
        with pytest.raises(ProtocolError, match="an attempt is newer than the last"):
            restarted().receive(table_request(0, members(0, 1, 2), attempt=attempt))
    with pytest.raises(ProtocolError, match="each but the first loses members"):
        restarted().receive(
            table_request(0, members(), attempt=2)
        )  # or a restart would give the server another draw
    assert drawn == [1]
    assert restarted().receive(table_request(0, members(0, 1, 2), attempt=2))
    assert drawn == [1, 2]


def test_a_restarted_member_reveals_nothing_that_it_no_longer_has(reopen: Reopen) -> None:
    corrupt = Corrupt()
    corrupt.clients[0] = member(0, monotonic=reopen())
    corrupt.clients[0].receive(table_request(0, members()))
    corrupt.clients[0] = member(0, monotonic=reopen())
    with pytest.raises(ProtocolError, match="out of order"):
        corrupt.clients[0].receive(table_request(1, corrupt.table))


def test_a_member_that_is_put_back_shows_its_secret_with_no_second_table_of_commitments(
    reopen: Reopen,
) -> None:
    # Whoever has seen all secrets could otherwise have this one signed again, next to a commitment
    # that was made to measure.
    corrupt = Corrupt()
    corrupt.clients[0] = member(0, monotonic=reopen())
    corrupt.clients[0].receive(table_request(0, members()))
    before = copy(corrupt.clients[0])
    assert corrupt.clients[0].receive(table_request(1, corrupt.table))
    other = corrupt.table | {4: commitment_by_hand(4, 0, b"made to measure".ljust(32))}
    with pytest.raises(ProtocolError, match=ANSWERED):
        before.receive(table_request(1, other))


def test_a_restarted_member_repeats_no_set_up_and_its_client_takes_only_the_agreed_terms(
    reopen: Reopen,
) -> None:
    clients = {
        client: member(client, monotonic=reopen() if client == 0 else None) for client in range(5)
    }
    agreed = hold(SetupServer(identity(-1), TERMS), clients)
    assert reopen().last(SESSION) == Progress(attempt=0, step=3, members=5, outcome=agreed.digest)
    with pytest.raises(ProtocolError, match="this session's set-up is over"):
        member(0, monotonic=reopen()).receive(table_request(0, members(0, 1, 2), attempt=1))
    for terms in (TERMS, replace(agreed, beacon=agreed.beacon[::-1])):
        with pytest.raises(ValueError, match="its set-up did not end with these terms"):
            make_client(0, terms, reopen())
    session = Session(agreed)
    session.clients[0] = make_client(0, agreed, reopen())
    assert session.play(0).clients == (0, 1, 2, 3, 4)


def test_a_client_whose_set_up_never_ended_is_not_built(reopen: Reopen) -> None:
    member(0, monotonic=reopen()).receive(table_request(0, members()))
    with pytest.raises(ValueError, match="its set-up did not end with these terms"):
        make_client(0, TERMS, reopen())


def test_clients_with_files_of_their_own_play_rounds_and_files_stay_small(tmp_path: Path) -> None:
    session = Session(agreement(5))
    for client in session.clients:
        session.clients[client] = make_client(
            client, session.terms, FileMonotonic.create(tmp_path / f"{client}")
        )
    sizes = set()
    for round in range(3):
        session.play(round, silent={round: 4})
        sizes.add((tmp_path / "4").stat().st_size)
    assert len(sizes) == 1
    assert FileMonotonic(tmp_path / "4").last(SESSION).round == 2
