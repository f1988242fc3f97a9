"""Two rounds that overlap: the last stages of one travel together with the first of the next.

The clients are honest, each with a record of its own. A server in these tests may ask for anything.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from securefl.channels.masking.agreement import Agreement
from securefl.channels.masking.reading import RoundReader
from securefl.channels.masking.requests import (
    Invitation,
    KeyTable,
    ShareDelivery,
    SurvivorList,
    UnmaskRequest,
)
from securefl.channels.masking.rounds import MaskedRounds
from securefl.channels.masking.server import MaskedServer
from securefl.channels.masking.wire import SEALED_BYTES
from securefl.channels.monotonic import FileMonotonic, MemoryMonotonic, Monotonic, Progress
from securefl.channels.protocol import ClientUpdate, Packet, View
from securefl.errors import ProtocolError, RoundAbandoned
from tests.channels.masking.parties import HASH, SESSION, agreement, identity, make_client, update
from tests.channels.masking.puppeteer import SERVER_KEY, signed

EVERYONE = tuple(range(5))
OTHER_HASH = b"o" * 32


def rounds_of(client: int, terms: Agreement, monotonic: Monotonic) -> MaskedRounds:
    """Returns a client that was just started."""
    reader = RoundReader()
    return MaskedRounds(
        lambda beside: make_client(client, terms, monotonic, reader, beside), terms, reader
    )


class Overlap:
    """Five clients, and a server's side for each round; the test plays stage after stage."""

    def __init__(self, **changes: Any) -> None:
        self.terms = agreement(5, **changes)
        self.records: dict[int, Monotonic] = {client: MemoryMonotonic() for client in EVERYONE}
        self.clients = {client: self.started(client) for client in EVERYONE}
        self.servers: dict[int, MaskedServer] = {}

    def started(self, client: int) -> MaskedRounds:
        """Returns a client as after a restart: its secrets are gone, its record is there."""
        return rounds_of(client, self.terms, self.records[client])

    def begin(self, round: int) -> None:
        self.servers[round] = MaskedServer(identity(-1), self.terms)
        self.servers[round].begin(round, EVERYONE, b"")

    def update(self, client: int, round: int, name: bytes = HASH) -> ClientUpdate:
        return replace(update(client, self.terms, seed=round), model_hash=name)

    def answer(self, client: int, request: bytes, *, round: int, name: bytes = HASH) -> Packet:
        reply = self.clients[client].receive(request)
        return (
            self.clients[client].submit(self.update(client, round, name))
            if reply is None
            else reply
        )

    def stage(self, round: int, *, silent: Iterable[int] = ()) -> View | None:
        """Plays one stage of a round with everybody who is not silent."""
        server = self.servers[round]
        for client, request in server.requests().items():
            if client not in silent:
                server.absorb(client, self.answer(client, request, round=round))
        return server.close_stage()

    def open(self, round: int) -> None:
        """Plays the stages of a round that need no model."""
        self.begin(round)
        self.stage(round)
        self.stage(round)

    def train(self, round: int, *, silent: Iterable[int] = ()) -> View | None:
        """Plays the stage in which the clients train."""
        self.servers[round].train_on(HASH)
        return self.stage(round, silent=silent)

    def say(self, client: int, message: Any) -> Packet:
        """Sends any request that the server may sign."""
        return self.answer(client, signed(message, self.terms), round=message.round)

    def is_erased(self, client: int, round: int) -> bool:
        """Whether no request gets anything of a round out of a client any more."""
        head = (SESSION, round, client)
        for message in (
            KeyTable(*head, {}),
            ShareDelivery(*head, HASH, {}),
            SurvivorList(*head, EVERYONE),
            UnmaskRequest(*head, {}),
        ):
            with pytest.raises(ProtocolError, match=f"round {round} is not in progress"):
                self.say(client, message)
        with pytest.raises(ProtocolError, match=f"round {round} was asked for before"):
            self.say(client, Invitation(SESSION, round, SERVER_KEY[::-1], EVERYONE))
        return True


def overlapped(*, upto: str = "C") -> Overlap:
    """Returns clients that have trained in round 0 and, up to trip "B" or "C", opened round 1."""
    parties = Overlap()
    parties.open(0)
    parties.train(0)
    parties.begin(1)
    for trip in ("B", "C"):
        if trip <= upto:
            parties.stage(1)
            if trip == "B":
                parties.stage(0)
    return parties


# Honest rounds


def test_rounds_that_overlap_open_the_sums_that_rounds_in_sequence_open() -> None:
    parties = Overlap()
    parties.open(0)
    for round in range(3):
        parties.train(round)
        parties.begin(round + 1)
        parties.stage(round + 1)
        assert parties.stage(round) is None
        parties.stage(round + 1)
        view = parties.stage(round)
        assert view is not None
        updates = [parties.update(client, round).delta for client in EVERYONE]
        assert torch.allclose(view.rows[0], torch.stack(updates).mean(0), atol=1e-6)
        assert view.clients == EVERYONE


def test_each_of_two_rounds_has_keys_of_its_own() -> None:
    parties = Overlap()
    replies = {}
    for round in (0, 1):
        parties.begin(round)
        request = parties.servers[round].requests()[0]
        replies[round] = bytes(parties.answer(0, request, round=round))
    # Two public keys and a commitment, behind session, round and sender.
    assert not {replies[0][at : at + 32] for at in (29, 61, 93)} & {
        replies[1][at : at + 32] for at in (29, 61, 93)
    }
    assert replies[0] == bytes(parties.say(0, Invitation.from_bytes(body(parties, 0), most=5)))


def body(parties: Overlap, round: int) -> bytes:
    """Returns a round's invitation without its signature."""
    return parties.servers[round].requests()[0][:-64]


def test_a_model_that_was_named_late_is_the_one_that_masks_are_bound_to() -> None:
    parties = Overlap()
    parties.open(0)
    parties.servers[0].train_on(OTHER_HASH)
    server = parties.servers[0]
    for client, request in server.requests().items():
        assert server.absorb(client, parties.answer(client, request, round=0, name=OTHER_HASH))
    server.close_stage()
    parties.stage(0)
    view = parties.stage(0)
    assert view is not None
    assert view.clients == EVERYONE


def test_a_client_that_misses_an_invitation_joins_the_round_after_it() -> None:
    parties = overlapped(upto="A")
    parties.stage(1, silent=[4])
    for round in (0, 1, 0):
        parties.stage(round)
    assert parties.servers[1].requests().keys() == {0, 1, 2, 3}
    parties.train(1)
    parties.begin(2)
    parties.stage(2)
    assert parties.servers[2].requests().keys() == set(EVERYONE)


def test_a_round_that_is_abandoned_at_its_last_stage_leaves_the_next_one_usable() -> None:
    parties = overlapped()
    with pytest.raises(RoundAbandoned, match="2 of 5 clients answered stage 5"):
        parties.stage(0, silent=[0, 1, 2])
    parties.train(1)
    parties.stage(1)
    view = parties.stage(1)
    assert view is not None
    assert view.clients == EVERYONE


# What is noted


def test_both_rounds_are_noted_stage_by_stage_and_an_update_ends_the_round_before_it() -> None:
    parties = Overlap()
    noted: list[tuple[int, ...]] = []

    def stage(round: int) -> None:
        parties.stage(round)
        noted.append(parties.records[0].last(SESSION)[4:])

    parties.begin(0)
    stage(0)
    stage(0)
    parties.servers[0].train_on(HASH)
    stage(0)
    parties.begin(1)
    for round in (0, 1, 0, 1):
        stage(round)
    parties.servers[1].train_on(HASH)
    stage(1)
    assert noted == [
        (0, 1, -1, 0),
        (0, 2, -1, 0),
        (0, 4, -1, 0),
        (0, 5, -1, 0),
        (1, 1, 0, 5),
        (1, 1, 0, 6),
        (1, 2, 0, 6),
        (1, 4, -1, 0),
    ]


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_a_restarted_client_refuses_both_rounds_that_it_had_begun_and_joins_the_next(
    kind: str, tmp_path: Path
) -> None:
    parties = Overlap()
    path = tmp_path / "progress"
    if kind == "file":
        parties.records[0] = FileMonotonic.create(path)
        parties.clients[0] = parties.started(0)
    parties.open(0)
    parties.train(0)
    parties.begin(1)
    parties.stage(1)
    if kind == "file":
        parties.records[0] = FileMonotonic(path)
    parties.clients[0] = parties.started(0)
    assert parties.is_erased(0, 0)
    assert parties.is_erased(0, 1)
    parties.begin(2)
    parties.stage(2)
    assert parties.servers[2].requests().keys() == set(EVERYONE)
    assert parties.records[0].last(SESSION)[4:] == (2, 1, -1, 0)


@pytest.mark.parametrize("upto", ["before sharing", "after sharing", "after upload", "before C"])
def test_a_client_that_dies_at_any_moment_is_in_no_sum_twice_and_the_others_go_on(
    upto: str,
) -> None:
    parties = Overlap()
    parties.begin(0)
    parties.stage(0)
    steps: list[Callable[[list[int]], Any]] = [
        lambda silent: parties.stage(0, silent=silent),
        lambda silent: parties.train(0, silent=silent),
        lambda silent: parties.stage(0, silent=silent),
        lambda silent: parties.stage(0, silent=silent),
    ]
    died_before = ["before sharing", "after sharing", "after upload", "before C"].index(upto)
    outcomes = []
    for number, step in enumerate(steps):
        if number == died_before:
            parties.clients[0] = parties.started(0)
        outcomes.append(step([0] if number >= died_before else []))
    view = outcomes[-1]
    assert isinstance(view, View)
    # Its update counts once it is uploaded: the others hold the shares that open the sum.
    assert view.clients == (EVERYONE if died_before >= 2 else EVERYONE[1:])
    assert parties.is_erased(0, 0)


# A server that tries to use the overlap


def test_two_survivor_lists_erase_their_round_and_leave_the_other_as_it_is() -> None:
    parties = overlapped(upto="B")
    with pytest.raises(ProtocolError, match="asked for twice or out of order"):
        parties.say(0, SurvivorList(SESSION, 0, 0, EVERYONE[:4]))
    assert parties.is_erased(0, 0)
    parties.stage(1)
    assert 0 in parties.servers[1].requests()


def test_a_second_unmask_request_gets_nothing_from_either_round() -> None:
    parties = overlapped()
    consents = UnmaskRequest.from_bytes(parties.servers[0].requests()[0][:-64], most=5)
    first = bytes(parties.say(0, consents))
    assert bytes(parties.say(0, consents)) == first  # the same bytes get the same answer
    fewer = replace(consents, consents=dict(list(consents.consents.items())[:4]))
    with pytest.raises(ProtocolError, match="round 0 is not in progress"):
        parties.say(0, fewer)
    # Nor do the consents of one round open the other.
    with pytest.raises(ProtocolError, match="out of order"):
        parties.say(0, replace(consents, round=1))
    assert parties.is_erased(0, 1)


def test_a_second_invitation_to_a_round_is_refused_and_changes_nothing() -> None:
    parties = overlapped(upto="B")
    for key, cohort in ((SERVER_KEY[::-1], EVERYONE), (SERVER_KEY, EVERYONE[:4])):
        for round in (0, 1):
            with pytest.raises(ProtocolError, match=f"round {round} was asked for before"):
                parties.say(0, Invitation(SESSION, round, key, cohort))
    parties.stage(1)
    assert parties.stage(0) is not None


def test_keys_of_one_round_are_no_keys_of_the_other() -> None:
    parties = Overlap()
    parties.begin(0)
    parties.stage(0)
    old = KeyTable.from_bytes(parties.servers[0].requests()[0][:-64], most=5)
    parties.stage(0)
    parties.train(0)
    parties.begin(1)
    parties.stage(1)
    new = KeyTable.from_bytes(parties.servers[1].requests()[0][:-64], most=5)
    mixed = {**old.advertisements, 0: new.advertisements[0]}
    with pytest.raises(ProtocolError, match="the keys of client 1 are of another session, round"):
        parties.say(0, replace(new, advertisements=mixed))
    assert parties.is_erased(0, 1)
    parties.stage(0)
    assert parties.stage(0) is not None


def test_a_key_table_for_fewer_clients_than_were_invited_is_refused_in_the_next_round_too() -> None:
    parties = overlapped(upto="B")
    table = KeyTable.from_bytes(parties.servers[1].requests()[0][:-64], most=5)
    two = dict(list(table.advertisements.items())[:2])
    with pytest.raises(ProtocolError, match="2 clients are too few for a sum of 5"):
        parties.say(0, replace(table, advertisements=two))
    assert parties.is_erased(0, 1)
    assert parties.stage(0) is not None


def test_once_the_next_model_is_taken_nothing_more_of_the_round_before_is_revealed() -> None:
    # A server that could train round 1 first might choose its model by what it left unopened.
    parties = overlapped()
    unmask = {client: parties.servers[0].requests()[client] for client in EVERYONE}
    parties.train(1)
    for client, request in unmask.items():
        with pytest.raises(ProtocolError, match="round 0 is not in progress"):
            parties.clients[client].receive(request)
    assert parties.is_erased(0, 0)


def test_a_model_that_is_refused_does_not_end_the_round_before_it() -> None:
    parties = overlapped()
    head = (SESSION, 1, 0)
    with pytest.raises(ProtocolError, match="shares from this client itself"):
        parties.say(0, ShareDelivery(*head, HASH, {0: bytes(SEALED_BYTES)}))
    assert parties.is_erased(0, 1)
    assert parties.stage(0) is not None


def test_a_model_for_the_next_round_before_its_shares_is_refused_and_ends_nothing_else() -> None:
    parties = overlapped(upto="B")
    with pytest.raises(ProtocolError, match="out of order"):
        parties.say(0, ShareDelivery(SESSION, 1, 0, OTHER_HASH, {}))
    assert parties.is_erased(0, 1)
    assert parties.stage(0) is not None


def test_no_third_round_begins_next_to_two_and_none_comes_back() -> None:
    parties = overlapped()
    parties.begin(2)
    parties.stage(2)
    assert parties.is_erased(0, 0)
    parties.train(1)
    with pytest.raises(ProtocolError, match="round 0 was asked for before"):
        parties.say(0, Invitation(SESSION, 0, SERVER_KEY, EVERYONE))


def test_no_more_rounds_are_answered_than_were_agreed_on_however_they_overlap() -> None:
    parties = Overlap(rounds=3)
    answered = []
    for round in (1, 0, 1, 2, 3, 2, 4):
        try:
            parties.say(0, Invitation(SESSION, round, SERVER_KEY, EVERYONE))
        except ProtocolError as refused:
            assert "before" in str(refused) or "beyond" in str(refused)  # noqa: PT017 - either outcome is legal
        else:
            answered.append(round)
    # Round 0 came too late; the same invitations again are answered with the same bytes.
    assert answered == [1, 1, 2, 2]


def test_requests_of_two_rounds_in_any_order_get_what_each_round_gets_by_itself() -> None:
    parties = overlapped(upto="A")
    invitation = parties.servers[1].requests()[0]
    survivors = parties.servers[0].requests()[0]
    first = bytes(parties.answer(0, invitation, round=1))
    consent = bytes(parties.answer(0, survivors, round=0))
    for _ in range(2):
        assert bytes(parties.answer(0, survivors, round=0)) == consent
        assert bytes(parties.answer(0, invitation, round=1)) == first
    stages = parties.records[0].last(SESSION)
    assert stages == Progress(
        outcome=parties.terms.digest, round=1, stage=1, earlier=0, earlier_stage=5
    )


def test_the_delivery_of_a_round_that_waits_for_training_does_not_end_the_round_after_it() -> None:
    parties = Overlap()
    parties.open(0)
    parties.servers[0].train_on(HASH)
    delivery = parties.servers[0].requests()[0]
    assert parties.clients[0].receive(delivery) is None
    parties.begin(1)
    assert parties.answer(0, parties.servers[1].requests()[0], round=1)
    assert parties.clients[0].receive(delivery) is None
    assert parties.clients[0].submit(parties.update(0, 0))
    parties.clients[0].receive(parties.servers[1].requests()[0])
    assert parties.records[0].last(SESSION)[4:] == (1, 1, 0, 4)


def test_an_update_is_asked_for_in_one_round_at_a_time() -> None:
    parties = overlapped()
    with pytest.raises(ProtocolError, match="no update was asked for"):
        parties.clients[0].check_model(1, HASH)
    parties.servers[1].train_on(HASH)
    assert parties.clients[0].receive(parties.servers[1].requests()[0]) is None
    parties.clients[0].check_model(1, HASH)
    with pytest.raises(ProtocolError, match="an update of round 1 was asked for"):
        parties.clients[0].check_model(0, HASH)
    parties.clients[0].submit(parties.update(0, 1))
    with pytest.raises(ProtocolError, match="no update was asked for"):
        parties.clients[0].submit(parties.update(0, 1))


def test_a_copy_of_the_process_that_was_left_behind_goes_on_with_neither_round() -> None:
    parties = overlapped(upto="A")
    copy = parties.started(0)
    invitation = Invitation(SESSION, 5, SERVER_KEY, EVERYONE)
    copy.receive(signed(invitation, parties.terms))
    survivors = parties.servers[0].requests()[0]
    with pytest.raises(ProtocolError, match="answered before"):
        parties.answer(0, survivors, round=0)
    with pytest.raises(ProtocolError, match="round 1 was asked for before"):
        parties.answer(0, parties.servers[1].requests()[0], round=1)
