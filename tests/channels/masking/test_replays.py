"""Messages that are late, repeated, redirected or forged change nothing, or end the round."""

import hashlib
from typing import Any

import pytest

from securefl.channels.masking.keys import RoundKey, tag
from securefl.channels.masking.replies import (
    Advertisement,
)
from securefl.channels.masking.requests import (
    Invitation,
    KeyTable,
    ShareDelivery,
    SurvivorList,
    UnmaskRequest,
)
from securefl.channels.masking.round_secrets import (
    self_mask_key,
)
from securefl.channels.masking.statement import digest_of_clients
from securefl.errors import ProtocolError
from tests.channels.masking.parties import (
    HASH,
    SESSION,
    Session,
    agreement,
    identity,
    make_client,
    update,
)
from tests.channels.masking.puppeteer import (
    LOW_ORDER,
    SERVER_KEY,
    Puppets,
    is_erased,
    opened,
    puppets,
    signed,
)

# Order, replay, direction


def test_requests_that_come_twice_get_the_same_bytes_and_nothing_is_drawn_masked_or_opened_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_draw(size: int) -> bytes:
        raise AssertionError("a repeated request drew something")

    session = Session(agreement(5)).begin(0)
    replies: dict[int, dict[bytes, bytes]] = {client: {} for client in range(5)}
    for stage in range(1, 6):
        for client, request in session.server.requests().items():
            reply = session.answer(client, request)
            assert session.server.absorb(client, reply)
            if stage != 3:
                replies[client][request] = bytes(reply)
            with monkeypatch.context() as patch:
                patch.setattr("secrets.token_bytes", no_draw)
                for old, bytes_sent in replies[client].items():
                    assert session.clients[client].receive(old) == bytes_sent
                if stage == 3:
                    with pytest.raises(ProtocolError, match="asked for before, and left"):
                        session.clients[client].receive(request)
                    with pytest.raises(ProtocolError, match="no update was asked for"):
                        session.clients[client].submit(session.updates[client])
        view = session.server.close_stage()
    assert view is not None
    assert view.clients == (0, 1, 2, 3, 4)


def test_a_client_that_was_told_twice_to_train_trains_as_long_as_it_has_not_uploaded() -> None:
    session = Session(agreement(5)).begin(0).until(3)
    request = session.server.requests()[0]
    assert session.clients[0].receive(request) is None
    assert session.clients[0].receive(request) is None
    assert session.server.absorb(0, session.clients[0].submit(session.updates[0]))


def test_requests_of_the_round_before_are_forgotten_with_it() -> None:
    session = Session(agreement(5)).begin(0)
    first = session.server.requests()[0]
    session.play(1)
    session.begin(2).until(2)
    with pytest.raises(ProtocolError, match="round 0 was asked for before"):
        session.clients[0].receive(first)
    assert len(session.clients[0]._replies) == 1


def test_an_erased_round_gives_no_reply_again_either() -> None:
    session = Session(agreement(5)).begin(0)
    first = session.server.requests()[0]
    assert session.clients[0].receive(first) == session.clients[0].receive(first)
    with pytest.raises(ProtocolError, match="out of order"):
        Puppets(session).say(0, SurvivorList(SESSION, 0, 0, (0, 1, 2, 3)))
    with pytest.raises(ProtocolError, match="asked for before"):
        session.clients[0].receive(first)


# Which rounds there are, and who is summed with whom in them


def test_no_choice_of_round_numbers_gives_the_server_another_deal_into_blocks() -> None:
    # 14 corrupt clients of 130, while c = 12 in one sum: 13 in one block could open one update
    # there. The server asks an honest client for one round after the other, and looks for a number
    # that puts 13 of them into its block.
    terms = agreement(
        130, beacon=hashlib.sha256(b"beacon").digest(), corrupt=12, min_cohort=14, cohort=130
    )
    client, corrupt = make_client(0, terms), set(range(1, 15))
    blocks = set()
    for round in range(1000):
        reply = client.receive(
            signed(Invitation(SESSION, round, SERVER_KEY, tuple(range(130))), terms)
        )
        assert reply is not None
        blocks.add(Advertisement.from_bytes(opened(reply, 0, terms)).block)
    dealt = terms.block_of(0, tuple(range(130)))
    assert blocks == {digest_of_clients(dealt)}
    assert all(len(corrupt & set(block)) <= 12 for block in terms.blocks(tuple(range(130))))


def test_a_client_answers_no_more_rounds_than_were_agreed_on_and_each_number_once() -> None:
    hands = Puppets(Session(agreement(5, rounds=4)))
    for round, sentence in (
        (0, None),
        (0, "round 0 was asked for before"),
        (2, None),  # it heard nothing of round 1
        (1, "round 1 was asked for before"),
        (4, "round 4 is beyond the 4 rounds that were agreed on"),
        (2**32 - 1, "beyond the 4 rounds"),
        (3, None),
        (3, "round 3 was asked for before"),
        (4, "beyond the 4 rounds"),
    ):
        invitation = Invitation(SESSION, round, RoundKey.generate().public, tuple(range(5)))
        if sentence is None:
            assert hands.say(0, invitation)
        else:
            with pytest.raises(ProtocolError, match=sentence):
                hands.say(0, invitation)


@pytest.mark.parametrize("stage", [1, 2, 3, 4])
def test_a_request_that_comes_out_of_order_erases_the_round(stage: int) -> None:
    session = Session(agreement(5)).begin(0).until(stage)
    session.stage()
    hands = Puppets(session)
    requests: dict[int, Any] = {
        2: KeyTable(SESSION, 0, 0, {}),
        3: ShareDelivery(SESSION, 0, 2, HASH, {1: bytes(94)}),
        4: SurvivorList(SESSION, 0, 0, (0, 1, 2, 3)),
        5: UnmaskRequest(SESSION, 0, 0, {}),
    }
    for wrong, message in requests.items():
        if wrong == stage + 1:
            continue
        client = wrong - 1
        with pytest.raises(ProtocolError, match="twice or out of order"):
            hands.say(client, message)
        assert is_erased(hands, client)


def test_survivors_are_not_signed_before_the_upload() -> None:
    hands, boxes = puppets(upto=2)
    request = signed(hands.delivery(0, boxes), hands.terms)
    assert hands.session.clients[0].receive(request) is None
    with pytest.raises(ProtocolError, match="twice or out of order"):
        hands.consent(0, range(5))
    with pytest.raises(ProtocolError, match="no update was asked for"):
        hands.session.clients[0].submit(hands.session.updates[0])


def test_requests_that_the_server_did_not_sign_change_nothing() -> None:
    session = Session(agreement(5)).begin(0)
    view = None
    for _ in range(5):
        for client, request in session.server.requests().items():
            for forger in (identity(0), identity(-2)):
                body = request[:-64]
                with pytest.raises(ProtocolError, match="does not verify"):
                    session.clients[client].receive(
                        body + forger.signature(body, terms=session.terms.digest)
                    )
            for position in (3, 4, 10, 22, len(request) - 70, len(request) - 1):
                broken = (
                    request[:position] + bytes([request[position] ^ 4]) + request[position + 1 :]
                )
                with pytest.raises(ProtocolError, match="does not verify"):
                    session.clients[client].receive(broken)
            session.server.absorb(client, session.answer(client, request))
        view = session.server.close_stage()
    assert view is not None


def test_replies_cannot_be_sent_back_as_requests() -> None:
    session = Session(agreement(5)).begin(0)
    for client, reply in session.answers().items():
        with pytest.raises(ProtocolError, match="does not verify"):
            session.clients[client].receive(bytes(reply))
    state = session.clients[0]._state
    assert state is not None
    with pytest.raises(ProtocolError, match="not for a client"):
        Puppets(session).say(0, state.own)


def test_a_request_of_another_session_or_round_changes_nothing() -> None:
    hands, _ = puppets()
    with pytest.raises(ProtocolError, match="another session"):
        hands.say(0, SurvivorList(b"x" * 16, 0, 0, (0, 1, 2, 3)))
    with pytest.raises(ProtocolError, match="round 5 is not in progress"):
        hands.say(0, SurvivorList(SESSION, 5, 0, (0, 1, 2, 3)))
    assert hands.consent(0, range(5))


def test_an_upload_with_the_tag_of_another_client_or_of_no_key_is_dropped() -> None:
    session = Session(agreement(5)).begin(0).until(3)
    packets = {client: bytes(message) for client, message in session.answers().items()}
    state, other = session.clients[0]._state, session.clients[1]._state
    assert state is not None
    assert other is not None
    body = packets[0][:-16]
    keys = {
        "another client's": other.secrets.upload_key(other.own, other.server_key),
        "its own key of another purpose": self_mask_key(b"k" * 32, state.own),
        "with another server": state.secrets.upload_key(state.own, SERVER_KEY),
    }
    for key in keys.values():
        assert not session.server.absorb(0, body + tag(key, body))
    signature = identity(0).signature(body, terms=session.terms.digest)
    assert not session.server.absorb(0, body + signature)
    right = state.secrets.upload_key(state.own, state.server_key)
    assert body + tag(right, body) == packets[0]
    assert session.server.absorb(0, packets[0])


def test_an_invitation_with_a_server_key_of_low_order_is_refused_and_changes_nothing() -> None:
    hands = Puppets(Session(agreement(5)))
    hands.session.updates = {client: update(client, hands.terms) for client in range(5)}
    invitation = Invitation(SESSION, 0, bytes.fromhex(LOW_ORDER[0]), (0, 1, 2, 3, 4))
    with pytest.raises(ProtocolError, match="unusable"):
        hands.say(0, invitation)
    assert hands.invite(range(5))  # the refusal changed nothing


def test_every_forged_reply_is_dropped_and_the_round_goes_on() -> None:
    session = Session(agreement(5)).begin(0)
    view = None
    for stage in range(1, 6):
        for client, message in session.answers().items():
            packet = bytes(message)
            body, other = packet[:-64], identity((client + 1) % 5)
            assert not session.server.absorb(
                client, body + other.signature(body, terms=session.terms.digest)
            )
            assert not session.server.absorb((client + 1) % 5, packet)
            for position in (0, 5, 22, 26, 40, len(packet) - 1):
                broken = packet[:position] + bytes([packet[position] ^ 1]) + packet[position + 1 :]
                assert not session.server.absorb(client, broken), (stage, position)
            assert session.server.absorb(client, packet)
        view = session.server.close_stage()
    assert view is not None
    assert view.clients == (0, 1, 2, 3, 4)


def test_a_request_that_was_meant_for_another_client_changes_nothing() -> None:
    # With 130 clients there are two blocks: client 0 hears requests of its own and of the other.
    session = Session(agreement(130, beacon=b"drawn")).begin(0).until(2)
    blocks = session.terms.blocks(tuple(range(130)))
    own, other = sorted(blocks, key=lambda block: 0 not in block)
    for _ in range(4):
        requests = session.server.requests()
        for meant_for in (own[1], other[0]):
            with pytest.raises(ProtocolError, match=f"meant for client {meant_for}"):
                session.clients[0].receive(requests[meant_for])
        for client, request in requests.items():
            assert session.server.absorb(client, session.answer(client, request))
        view = session.server.close_stage()
    assert view is not None
    assert 0 in view.clients
