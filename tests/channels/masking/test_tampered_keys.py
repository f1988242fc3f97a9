"""Keys that a server or a client swapped, copied, changed or chose badly are refused."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from securefl.channels.masking.agreement import Agreement
from securefl.channels.masking.replies import (
    Advertisement,
    SealedShares,
)
from securefl.channels.masking.requests import (
    KeyTable,
    ShareDelivery,
)
from securefl.errors import ProtocolError
from tests.channels.masking.parties import (
    HASH,
    SESSION,
    Session,
    agreement,
)
from tests.channels.masking.puppeteer import LOW_ORDER, Puppets, is_erased, opened, puppets, rebuilt


def test_a_key_table_must_hold_this_clients_own_keys_as_it_sent_them() -> None:
    for change in (lambda keys: keys.pop(0), lambda keys: keys.update({0: keys[1]})):
        hands = Puppets(Session(agreement(5)))
        keys = hands.invite(range(5))
        change(keys)  # type: ignore[no-untyped-call]
        with pytest.raises(ProtocolError, match="does not hold this client's own keys"):
            hands.say(0, KeyTable(SESSION, 0, 0, keys))
        assert is_erased(hands, 0)


def test_a_key_table_that_is_too_small_or_holds_uninvited_clients_is_refused() -> None:
    for cohort, shown, sentence in (
        (range(6), (0, 1, 2), "3 clients are too few for a sum of 6; it takes 4"),
        (range(4), (0, 1, 2, 5), "clients that were not there before"),
    ):
        hands = Puppets(Session(agreement(6)))
        keys = hands.invite(cohort)
        keys[5] = keys.get(5, keys[3])
        with pytest.raises(ProtocolError, match=sentence):
            hands.say(0, KeyTable(SESSION, 0, 0, {client: keys[client] for client in shown}))
        assert is_erased(hands, 0)


def test_a_delivery_of_shares_from_the_client_itself_is_refused() -> None:
    hands, boxes = puppets(upto=2)
    honest = hands.delivery(0, boxes)
    with pytest.raises(ProtocolError, match="shares from this client itself"):
        hands.say(0, replace(honest, sealed={0: bytes(94), **honest.sealed}))
    assert is_erased(hands, 0)


@pytest.mark.parametrize(
    ("senders", "sentence"),
    [
        ((1, 2), "3 clients are too few for a sum of 5; it takes 4"),
        ((1, 2, 3, 9), "that were not there before"),
    ],
)
def test_a_delivery_from_too_few_or_from_strangers_is_refused(
    senders: tuple[int, ...], sentence: str
) -> None:
    hands, _ = puppets(upto=2)
    with pytest.raises(ProtocolError, match=sentence):
        hands.say(0, ShareDelivery(SESSION, 0, 0, HASH, dict.fromkeys(senders, bytes(94))))
    assert is_erased(hands, 0)


TAMPERED: dict[str, tuple[Callable[[dict[int, bytes], Agreement], bytes], str]] = {
    "somebody else's keys under this name": (lambda keys, terms: keys[2], "does not verify"),
    "keys signed by somebody else": (
        lambda keys, terms: rebuilt(keys[1], terms, 2),
        "does not verify",
    ),
    "keys changed after signing": (
        lambda keys, terms: keys[1][:40] + bytes([keys[1][40] ^ 1]) + keys[1][41:],
        "does not verify",
    ),
    "keys of another round": (
        lambda keys, terms: rebuilt(keys[1], terms, 1, round=7),
        "another session, round or sender",
    ),
    "keys of another session": (
        lambda keys, terms: rebuilt(keys[1], terms, 1, session=b"x" * 16),
        "another session, round or sender",
    ),
    "keys that name another sender": (
        lambda keys, terms: rebuilt(keys[1], terms, 1, sender=2),
        "another session, round",
    ),
    "keys for another block": (
        lambda keys, terms: rebuilt(keys[1], terms, 1, block=b"b" * 32),
        "invited into another block",
    ),
    "a copy of somebody's mask key": (
        lambda keys, terms: rebuilt(
            keys[1], terms, 1, mask_key=Advertisement.from_bytes(memoryview(keys[2])[:-64]).mask_key
        ),
        "appears twice in the key table",
    ),
    "one key for both uses": (
        lambda keys, terms: rebuilt(
            keys[1],
            terms,
            1,
            mask_key=Advertisement.from_bytes(memoryview(keys[1])[:-64]).sealing_key,
        ),
        "appears twice in the key table",
    ),
    "a sealing key of low order": (
        lambda keys, terms: rebuilt(keys[1], terms, 1, sealing_key=bytes.fromhex(LOW_ORDER[2])),
        "unusable",
    ),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_tampered_keys_are_dropped_by_the_server_and_refused_by_every_client(case: str) -> None:
    tamper, sentence = TAMPERED[case]
    session = Session(agreement(5)).begin(0)
    answers = {client: bytes(message) for client, message in session.answers().items()}
    bad = tamper(answers, session.terms)
    for client in (0, 2, 3, 4):
        assert session.server.absorb(client, answers[client])
    assert not session.server.absorb(1, bad)
    assert session.server.absorb(1, answers[1])  # one forged packet does not stop a round
    hands = Puppets(session)
    with pytest.raises(ProtocolError, match=sentence):
        hands.say(0, KeyTable(SESSION, 0, 0, answers | {1: bad}))
    assert is_erased(hands, 0)


@pytest.mark.parametrize("point", LOW_ORDER)
@pytest.mark.parametrize("field", ["mask_key", "sealing_key"])
def test_points_of_low_order_are_dropped_by_the_server(point: str, field: str) -> None:
    session = Session(agreement(5)).begin(0)
    answers = {client: bytes(message) for client, message in session.answers().items()}
    for high_bit in (0, 0x80):
        key = bytearray.fromhex(point)
        key[31] |= high_bit
        assert not session.server.absorb(
            1, rebuilt(answers[1], session.terms, 1, **{field: bytes(key)})
        )
    assert session.server.absorb(1, answers[1])


def test_a_mask_key_of_low_order_that_the_server_passes_on_stops_the_client_before_it_uploads() -> (
    None
):
    hands = Puppets(Session(agreement(5)))
    keys = hands.invite(range(5))
    keys[1] = rebuilt(keys[1], hands.terms, 1, mask_key=bytes.fromhex(LOW_ORDER[0]))
    boxes = {}
    for client in (0, 2, 3, 4):
        reply = hands.say(client, KeyTable(SESSION, 0, 0, keys))
        boxes[client] = SealedShares.from_bytes(opened(reply, client, hands.terms), most=5).sealed
    boxes[1] = {client: bytes(94) for client in (0, 2, 3, 4)}
    with pytest.raises(ProtocolError, match="unusable"):
        hands.say(0, hands.delivery(0, boxes))
    assert is_erased(hands, 0)
