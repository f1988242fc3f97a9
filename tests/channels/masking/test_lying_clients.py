"""Corrupt clients that deal or reveal wrong shares are outvoted, or end the round and are named."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from securefl.channels.masking.boxes import _route
from securefl.channels.masking.keys import seal
from securefl.channels.masking.replies import (
    Advertisement,
    Consent,
    RevealedShares,
    SealedShares,
)
from securefl.channels.protocol import Packet
from securefl.errors import RoundAbandoned
from tests.channels.masking.parties import (
    SESSION,
    Session,
    agreement,
    identity,
)
from tests.channels.masking.puppeteer import SHARE, opened, puppets, rebuilt, signed


def lying(
    session: Session, client: int, change: Callable[[RevealedShares], RevealedShares]
) -> bytes:
    """Returns the last reply of a client that changes its revealed shares and signs them."""
    packet = session.answers()[client]
    honest = RevealedShares.from_bytes(opened(packet, client, session.terms), most=5)
    return signed(change(honest), session.terms, identity(client))


@pytest.mark.parametrize(
    "change",
    [
        lambda shares: replace(shares, mask_keys={**shares.mask_keys, 0: SHARE}),  # both of one id
        lambda shares: replace(
            shares, seeds={**shares.seeds, 4: SHARE}
        ),  # the seed of a dropped client
        lambda shares: replace(shares, seeds={**shares.seeds, 9: SHARE}),  # an unknown client
        lambda shares: replace(shares, mask_keys={9: SHARE}),
        lambda shares: replace(shares, seeds={**shares.seeds, 0: b"\xff" * 33}),  # no field element
        lambda shares: replace(shares, sender=1),
        lambda shares: replace(shares, round=1),
    ],
)
def test_illegal_revelations_are_dropped(
    change: Callable[[RevealedShares], RevealedShares],
) -> None:
    session = Session(agreement(5)).begin(0).until(5, silent={4: 3})
    assert not session.server.absorb(0, lying(session, 0, change))


@pytest.mark.parametrize(
    ("kind", "of", "sentence"),
    [("seeds", 2, "seed of client 2"), ("mask_keys", 4, "mask key of client 4")],
)
def test_one_wrong_share_abandons_the_round_and_names_whose_secret_failed(
    kind: str, of: int, sentence: str
) -> None:
    session = Session(agreement(5)).begin(0).until(5, silent={4: 3})

    def wrong(shares: RevealedShares) -> RevealedShares:
        if kind == "seeds":
            return replace(shares, seeds={**shares.seeds, of: SHARE})
        return replace(shares, mask_keys={**shares.mask_keys, of: SHARE})

    packets = {client: bytes(message) for client, message in session.answers().items()}
    honest = RevealedShares.from_bytes(opened(packets[1], 1, session.terms), most=5)
    packets[1] = signed(wrong(honest), session.terms, identity(1))
    for client, packet in packets.items():
        assert session.server.absorb(client, packet)
    with pytest.raises(RoundAbandoned, match=f"the {sentence} has 3 right shares left, it takes 4"):
        session.server.close_stage()
    assert not [o for o in session.observed if o.kind == "sum of updates"]


def test_a_box_that_does_not_open_is_left_out_and_the_others_suffice() -> None:
    session = Session(agreement(7)).begin(0).until(2)

    def spoil(client: int, packet: Packet) -> bytes:
        reply = SealedShares.from_bytes(opened(packet, client, session.terms), most=7)
        if client != 3:
            return bytes(packet)
        return signed(
            replace(reply, sealed={**reply.sealed, 0: bytes(94)}), session.terms, identity(client)
        )

    session.stage(change=spoil)
    for _ in range(2):
        session.stage()
    packets = session.answers()
    assert 3 not in RevealedShares.from_bytes(opened(packets[0], 0, session.terms), most=7).seeds
    for client, packet in packets.items():
        assert session.server.absorb(client, packet)
    view = session.server.close_stage()
    assert view is not None
    assert view.clients == tuple(range(7))


def test_a_client_that_seals_junk_for_too_many_holders_stops_the_round_and_is_named() -> None:
    session = Session(agreement(5)).begin(0).until(2)

    def spoil(client: int, packet: Packet) -> bytes:
        if client != 3:
            return bytes(packet)
        reply = SealedShares.from_bytes(opened(packet, client, session.terms), most=5)
        spoilt = replace(reply, sealed={**reply.sealed, 0: bytes(94), 1: bytes(94)})
        return signed(spoilt, session.terms, identity(client))

    session.stage(change=spoil)
    for _ in range(2):
        session.stage()
    with pytest.raises(
        RoundAbandoned, match="the seed of client 3 has 3 right shares left, it takes 4"
    ):
        session.stage()


@pytest.mark.parametrize("drops_out", [False, True])
def test_a_dealer_of_impossible_shares_does_not_make_honest_holders_look_guilty(
    drops_out: bool,
) -> None:
    # In its box for client 0, the half that will be revealed is no field element.
    session = Session(agreement(7)).begin(0).until(2)
    dealer = session.clients[3]
    state = dealer._state
    assert state is not None
    honest = dict(session.server.requests())
    for client, request in honest.items():
        packet = session.answer(client, request)
        if client == 3:
            after = dealer._state
            assert after is not None
            keys = state.secrets._sealing_keys(after.own, after.peers, [0], outgoing=True)
            reply = SealedShares.from_bytes(opened(packet, 3, session.terms), most=7)
            boxes = dict(reply.sealed)
            for holder, key in keys.items():
                both = bytes(33) + b"\xff" * 33 if drops_out else b"\xff" * 33 + bytes(33)
                boxes[holder] = seal(key, both, associated=_route(after.own, after.peers[holder]))
            packet = signed(replace(reply, sealed=boxes), session.terms, identity(3))
        assert session.server.absorb(client, packet)
    session.server.close_stage()
    session.stage(silent=[3] if drops_out else [])
    session.stage()
    packets = session.answers()
    shares = RevealedShares.from_bytes(opened(packets[0], 0, session.terms), most=7)
    assert 3 not in {**shares.seeds, **shares.mask_keys}
    assert all(session.server.absorb(client, packet) for client, packet in packets.items())
    view = session.server.close_stage()
    assert view is not None
    assert view.clients == tuple(client for client in range(7) if client != 3 or not drops_out)


def test_one_wrong_share_does_no_harm_while_there_is_one_to_spare() -> None:
    session = Session(agreement(5)).begin(0).until(5)
    for client, packet in session.answers().items():
        if client == 1:
            shares = RevealedShares.from_bytes(opened(packet, 1, session.terms), most=5)
            packet = signed(
                replace(shares, seeds=dict.fromkeys(shares.seeds, SHARE)),
                session.terms,
                identity(1),
            )
        assert session.server.absorb(client, packet)
    view = session.server.close_stage()
    assert view is not None
    assert view.clients == (0, 1, 2, 3, 4)
    mean = torch.stack([session.updates[client].delta for client in range(5)]).mean(dim=0)
    assert torch.allclose(view.rows[0], mean, atol=1e-6)


def test_shares_swapped_between_recipients_do_not_open() -> None:
    hands, boxes = puppets(upto=2)
    swapped = {sender: dict(sealed) for sender, sealed in boxes.items()}
    swapped[1][0], swapped[1][2] = boxes[1][2], boxes[1][0]
    for client in range(5):
        hands.say(client, hands.delivery(client, swapped))
    consents = {client: hands.consent(client, range(5)) for client in range(5)}
    assert set(hands.reveal(0, consents).seeds) == {0, 2, 3, 4}
    assert set(hands.reveal(3, consents).seeds) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(
    "change", [lambda boxes: boxes.pop(1), lambda boxes: boxes.update({9: bytes(94)})]
)
def test_shares_go_to_every_other_client_once(change: Callable[[dict[int, bytes]], object]) -> None:
    session = Session(agreement(5)).begin(0).until(2)
    packet = session.answers()[0]
    reply = SealedShares.from_bytes(opened(packet, 0, session.terms), most=5)
    boxes = dict(reply.sealed)
    change(boxes)
    assert not session.server.absorb(
        0, signed(replace(reply, sealed=boxes), session.terms, identity(0))
    )
    assert session.server.absorb(0, packet)


def test_a_consent_to_another_statement_is_dropped_by_the_server() -> None:
    session = Session(agreement(5)).begin(0).until(4)
    packet = session.answers()[0]
    other = Consent(SESSION, 0, 0, b"o" * 32)
    assert not session.server.absorb(0, signed(other, session.terms, identity(0)))
    assert session.server.absorb(0, packet)


def test_a_key_with_another_writing_of_the_same_point_is_dropped() -> None:
    session = Session(agreement(5)).begin(0)
    answers = {client: bytes(message) for client, message in session.answers().items()}
    key = bytearray(Advertisement.from_bytes(memoryview(answers[2])[:-64]).mask_key)
    assert key[31] < 0x80
    key[31] |= 0x80  # X25519 does not read this bit
    assert session.server.absorb(2, answers[2])
    assert not session.server.absorb(1, rebuilt(answers[1], session.terms, 1, mask_key=bytes(key)))


def test_a_cohort_may_be_named_in_any_order() -> None:
    session = Session(agreement(5)).begin(0, (4, 0, 2, 1, 3))
    assert list(session.server.requests()) == [0, 1, 2, 3, 4]
    view = session.until(5).stage()
    assert view is not None
    assert view.clients == (0, 1, 2, 3, 4)


def test_a_cohort_with_strangers_is_not_begun() -> None:
    with pytest.raises(ValueError, match="client 7 is not in the roster"):
        Session(agreement(5)).begin(0, (0, 1, 2, 7))
