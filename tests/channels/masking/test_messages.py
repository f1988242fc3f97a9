"""The masked channel's twelve messages: bytes by hand, round trips, refusals and fuzzing.

Fuzzing goes through both servers and the client, as a network would.
"""

import copy
import random
import struct
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from securefl.channels.masking.agreement import Agreement
from securefl.channels.masking.client import MaskedClient
from securefl.channels.masking.keys import open_tagged, tag
from securefl.channels.masking.replies import (
    Advertisement,
    Consent,
    MaskedInput,
    RevealedShares,
    SealedShares,
)
from securefl.channels.masking.requests import (
    Invitation,
    KeyTable,
    ShareDelivery,
    SurvivorList,
    UnmaskRequest,
)
from securefl.channels.masking.setup import SetupClient, SetupServer
from securefl.channels.masking.setup_messages import SetupReply, SetupTable
from securefl.channels.masking.stream import WORDS
from securefl.channels.monotonic import MemoryMonotonic
from securefl.channels.protocol import Packet, View
from securefl.errors import ProtocolError, RoundAbandoned
from tests.channels.masking.parties import Session, agreement, identity

deterministic = settings(derandomize=True, max_examples=50, deadline=None, database=None)

SESSION = bytes(range(16))
ROUND = 258
SENDER = 515
MOST = 3
M = 2
A, B, C, D = (bytes([first + at for at in range(32)]) for first in (32, 64, 96, 128))
E = bytes(range(160, 176))
SIGNED_KEYS, SIGNED_CONSENT, SEALED, SHARE, REVEAL = 237, 125, 94, 33, 157
WEIGHT = 65_539


def head(kind: int, *, magic: bytes = b"sfl", version: int = 1) -> bytes:
    return magic + bytes([version, kind]) + SESSION + b"\x02\x01\0\0"


def filled(size: int, first: int) -> bytes:
    return bytes((first + at) % 256 for at in range(size))


def blank(
    session: bytes, round: int, sender: int, words: list[int], *, word: str = "<u4"
) -> MaskedInput:
    upload = MaskedInput.blank(session, round, sender, WEIGHT, m=len(words), word=np.dtype(word))
    upload.words[:] = words
    return upload


def masked_input(*, words: list[int]) -> bytes:
    return bytes(blank(SESSION, ROUND, SENDER, words).packet[:-16])


@dataclass(frozen=True)
class Case:
    """One kind of message: an instance by hand, the same as it is packed, and its parser."""

    by_hand: bytes
    packed: bytes
    parse: Callable[[Packet], Any]


CASES = {
    "Invitation": Case(
        head(16) + B + b"\x02\0\0\0" + b"\x03\0\0\0" + b"\x04\x03\x02\x01",
        Invitation(SESSION, ROUND, B, (3, 16909060)).to_bytes(),
        lambda data: Invitation.from_bytes(data, most=MOST),
    ),
    "Advertisement": Case(
        head(17) + b"\x03\x02\0\0" + A + B + C + D + E,
        Advertisement(SESSION, ROUND, SENDER, A, B, C, D, E).to_bytes(),
        Advertisement.from_bytes,
    ),
    "KeyTable": Case(
        head(18)
        + b"\x03\x02\0\0"
        + b"\x02\0\0\0"
        + b"\x01\0\0\0"
        + filled(237, 1)
        + b"\0\x01\0\0"
        + filled(237, 2),
        KeyTable(SESSION, ROUND, SENDER, {256: filled(237, 2), 1: filled(237, 1)}).to_bytes(),
        lambda data: KeyTable.from_bytes(data, most=MOST),
    ),
    "SealedShares": Case(
        head(19)
        + b"\x03\x02\0\0"
        + (b"\x02\0\0\0" + b"\x01\0\0\0" + filled(94, 1) + b"\0\x01\0\0" + filled(94, 2))
        + (b"\x01\0\0\0" + b"\x02\0\0\0" + filled(32, 3)),
        SealedShares(
            SESSION, ROUND, SENDER, {256: filled(94, 2), 1: filled(94, 1)}, {2: filled(32, 3)}
        ).to_bytes(),
        lambda data: SealedShares.from_bytes(data, most=MOST),
    ),
    "ShareDelivery": Case(
        head(20)
        + b"\x03\x02\0\0"
        + A
        + b"\x02\0\0\0"
        + b"\x01\0\0\0"
        + filled(94, 1)
        + b"\0\x01\0\0"
        + filled(94, 2),
        ShareDelivery(SESSION, ROUND, SENDER, A, {256: filled(94, 2), 1: filled(94, 1)}).to_bytes(),
        lambda data: ShareDelivery.from_bytes(data, most=MOST),
    ),
    "MaskedInput": Case(
        head(21)
        + b"\x03\x02\0\0"
        + b"\x03\0\x01\0"
        + bytes(7)
        + b"\x04\x03\x02\x01"
        + b"\xff\xff\xff\xff",
        masked_input(words=[16909060, 2**32 - 1]),
        lambda data: MaskedInput.from_bytes(data, m=M, word=np.dtype("<u4")),
    ),
    "SurvivorList": Case(
        head(22) + b"\x03\x02\0\0" + b"\x02\0\0\0" + b"\x03\0\0\0" + b"\x04\x03\x02\x01",
        SurvivorList(SESSION, ROUND, SENDER, (3, 16909060)).to_bytes(),
        lambda data: SurvivorList.from_bytes(data, most=MOST),
    ),
    "Consent": Case(
        head(23) + b"\x03\x02\0\0" + A,
        Consent(SESSION, ROUND, SENDER, A).to_bytes(),
        Consent.from_bytes,
    ),
    "UnmaskRequest": Case(
        head(24)
        + b"\x03\x02\0\0"
        + b"\x02\0\0\0"
        + b"\x01\0\0\0"
        + filled(125, 1)
        + b"\0\x01\0\0"
        + filled(125, 2),
        UnmaskRequest(SESSION, ROUND, SENDER, {256: filled(125, 2), 1: filled(125, 1)}).to_bytes(),
        lambda data: UnmaskRequest.from_bytes(data, most=MOST),
    ),
    "RevealedShares": Case(
        head(25)
        + b"\x03\x02\0\0"
        + (b"\x02\0\0\0" + b"\x01\0\0\0" + filled(33, 1) + b"\0\x01\0\0" + filled(33, 2))
        + (b"\x01\0\0\0" + b"\x02\0\0\0" + filled(33, 3)),
        RevealedShares(
            SESSION, ROUND, SENDER, {256: filled(33, 2), 1: filled(33, 1)}, {2: filled(33, 3)}
        ).to_bytes(),
        lambda data: RevealedShares.from_bytes(data, most=MOST),
    ),
    "SetupTable of members": Case(
        head(32) + b"\0\0\0\0" + b"\x02\0\0\0" + b"\x03\0\0\0" + b"\x04\x03\x02\x01",
        SetupTable(SESSION, ROUND, 0, {16909060: b"", 3: b""}).to_bytes(),
        lambda data: SetupTable.from_bytes(data, most=MOST),
    ),
    "SetupTable of commitments": Case(
        head(32) + b"\x01\0\0\0" + b"\x01\0\0\0" + b"\x03\x02\0\0" + A,
        SetupTable(SESSION, ROUND, 1, {SENDER: A}).to_bytes(),
        lambda data: SetupTable.from_bytes(data, most=MOST),
    ),
    "SetupTable of reveals": Case(
        head(32) + b"\x02\0\0\0" + b"\x01\0\0\0" + b"\x03\x02\0\0" + filled(157, 9),
        SetupTable(SESSION, ROUND, 2, {SENDER: filled(157, 9)}).to_bytes(),
        lambda data: SetupTable.from_bytes(data, most=MOST),
    ),
    "SetupReply with a commitment": Case(
        head(33) + b"\x03\x02\0\0" + A,
        SetupReply(SESSION, ROUND, SENDER, A).to_bytes(),
        lambda data: SetupReply.from_bytes(data, content=32),
    ),
    "SetupReply with a reveal": Case(
        head(33) + b"\x03\x02\0\0" + A + B,
        SetupReply(SESSION, ROUND, SENDER, A + B).to_bytes(),
        lambda data: SetupReply.from_bytes(data, content=64),
    ),
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
LENGTHS = [69, 173, 515, 269, 261, 48, 41, 61, 291, 148, 41, 69, 194, 61, 93]


@dataclass(frozen=True)
class Place:
    """The place of a table: the bytes before its count, the size of an entry, the bytes after."""

    before: bytes
    entry: int
    parse: Callable[..., Any]
    after: bytes = b""

    def message(self, ids: list[int], *, count: int | None = None) -> bytes:
        entries = b"".join(
            struct.pack("<I", client) + filled(self.entry, client % 256) for client in ids
        )
        return (
            self.before
            + struct.pack("<I", len(ids) if count is None else count)
            + entries
            + self.after
        )


SOMEBODY = b"\x03\x02\0\0"
NONE = b"\0\0\0\0"
PLACES = {
    "Invitation": Place(head(16) + B, 0, Invitation.from_bytes),
    "KeyTable": Place(head(18) + SOMEBODY, SIGNED_KEYS, KeyTable.from_bytes),
    "SealedShares, boxes": Place(head(19) + SOMEBODY, SEALED, SealedShares.from_bytes, after=NONE),
    "SealedShares, commitments": Place(head(19) + SOMEBODY + NONE, 32, SealedShares.from_bytes),
    "ShareDelivery": Place(head(20) + SOMEBODY + A, SEALED, ShareDelivery.from_bytes),
    "SurvivorList": Place(head(22) + SOMEBODY, 0, SurvivorList.from_bytes),
    "UnmaskRequest": Place(head(24) + SOMEBODY, SIGNED_CONSENT, UnmaskRequest.from_bytes),
    "RevealedShares, seeds": Place(
        head(25) + SOMEBODY, SHARE, RevealedShares.from_bytes, after=NONE
    ),
    "RevealedShares, mask keys": Place(
        head(25) + SOMEBODY + NONE, SHARE, RevealedShares.from_bytes
    ),
    "SetupTable, members": Place(head(32) + b"\0\0\0\0", 0, SetupTable.from_bytes),
    "SetupTable, commitments": Place(head(32) + b"\x01\0\0\0", 32, SetupTable.from_bytes),
    "SetupTable, reveals": Place(head(32) + b"\x02\0\0\0", REVEAL, SetupTable.from_bytes),
}
each_place = pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())


# Bytes by hand.


@each_case
def test_a_message_is_the_bytes_by_hand(case: Case) -> None:
    assert case.packed == case.by_hand


def test_messages_have_the_lengths_by_hand() -> None:
    assert [len(case.packed) for case in CASES.values()] == LENGTHS


def test_lengths_with_a_signature_are_the_lengths_by_hand() -> None:
    assert (Advertisement.LENGTH, Advertisement.SIGNED_LENGTH) == (173, 237)
    assert (Consent.LENGTH, Consent.SIGNED_LENGTH) == (61, 125)
    assert SetupTable.ENTRIES == (0, 32, 157)


def test_what_is_parsed_by_hand_is_what_was_meant() -> None:
    meant = {
        "Invitation": Invitation(SESSION, ROUND, B, (3, 16909060)),
        "Advertisement": Advertisement(SESSION, ROUND, SENDER, A, B, C, D, E),
        "KeyTable": KeyTable(SESSION, ROUND, SENDER, {1: filled(237, 1), 256: filled(237, 2)}),
        "SealedShares": SealedShares(
            SESSION, ROUND, SENDER, {1: filled(94, 1), 256: filled(94, 2)}, {2: filled(32, 3)}
        ),
        "ShareDelivery": ShareDelivery(
            SESSION, ROUND, SENDER, A, {1: filled(94, 1), 256: filled(94, 2)}
        ),
        "SurvivorList": SurvivorList(SESSION, ROUND, SENDER, (3, 16909060)),
        "Consent": Consent(SESSION, ROUND, SENDER, A),
        "UnmaskRequest": UnmaskRequest(
            SESSION, ROUND, SENDER, {1: filled(125, 1), 256: filled(125, 2)}
        ),
        "RevealedShares": RevealedShares(
            SESSION, ROUND, SENDER, {1: filled(33, 1), 256: filled(33, 2)}, {2: filled(33, 3)}
        ),
        "SetupTable of members": SetupTable(SESSION, ROUND, 0, {3: b"", 16909060: b""}),
        "SetupTable of commitments": SetupTable(SESSION, ROUND, 1, {SENDER: A}),
        "SetupTable of reveals": SetupTable(SESSION, ROUND, 2, {SENDER: filled(157, 9)}),
        "SetupReply with a commitment": SetupReply(SESSION, ROUND, SENDER, A),
        "SetupReply with a reveal": SetupReply(SESSION, ROUND, SENDER, A + B),
    }
    assert set(meant) == set(CASES) - {"MaskedInput"}
    for name, message in meant.items():
        assert CASES[name].parse(CASES[name].by_hand) == message


def test_every_kind_has_a_number_of_its_own() -> None:
    kinds = {case.by_hand[4] for case in CASES.values()}
    assert kinds == {16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 32, 33}


@each_case
def test_a_parsed_message_keeps_its_contents_when_the_packet_is_overwritten(case: Case) -> None:
    packet = bytearray(case.by_hand)
    message = case.parse(packet)
    if isinstance(message, MaskedInput):
        return  # a view of the packet, on purpose
    packet[:] = bytes(len(packet))
    assert message == case.parse(case.by_hand)
    assert type(message.session) is bytes


# Round trips.

sessions = st.binary(min_size=16, max_size=16)
rounds = st.integers(0, 2**32 - 1)
senders = st.integers(0, 2**32 - 1)
ids = st.integers(0, 2**31 - 1)
hashes = st.binary(min_size=32, max_size=32)


def tables(entry: int) -> st.SearchStrategy[dict[int, bytes]]:
    return st.dictionaries(ids, st.binary(min_size=entry, max_size=entry), max_size=6)


def ascending(clients: set[int]) -> tuple[int, ...]:
    return tuple(sorted(clients))


clients_of_a_list = st.sets(ids, max_size=6).map(ascending)


@deterministic
@given(sessions, rounds, clients_of_a_list)
def test_lists_of_clients_make_the_round_trip(
    session: bytes, round: int, clients: tuple[int, ...]
) -> None:
    for sent in (Invitation(session, round, B, clients), SurvivorList(session, round, 7, clients)):
        assert type(sent).from_bytes(sent.to_bytes(), most=6) == sent


@deterministic
@given(
    sessions, rounds, senders, hashes, hashes, hashes, hashes, st.binary(min_size=16, max_size=16)
)
def test_advertisements_and_consents_make_the_round_trip(
    session: bytes,
    round: int,
    sender: int,
    one: bytes,
    two: bytes,
    three: bytes,
    four: bytes,
    proof: bytes,
) -> None:
    keys = Advertisement(session, round, sender, one, two, three, four, proof)
    assert Advertisement.from_bytes(keys.to_bytes()) == keys
    consent = Consent(session, round, sender, one)
    assert Consent.from_bytes(consent.to_bytes()) == consent


@deterministic
@given(sessions, rounds, tables(SIGNED_KEYS), tables(SIGNED_CONSENT))
def test_tables_of_signed_messages_make_the_round_trip(
    session: bytes, round: int, keys: dict[int, bytes], consents: dict[int, bytes]
) -> None:
    table, request = KeyTable(session, round, 7, keys), UnmaskRequest(session, round, 7, consents)
    parsed = KeyTable.from_bytes(table.to_bytes(), most=6)
    assert parsed == table
    assert list(parsed.advertisements) == sorted(keys)
    assert UnmaskRequest.from_bytes(request.to_bytes(), most=6) == request


@deterministic
@given(sessions, rounds, senders, hashes, tables(SEALED), tables(32))
def test_sealed_shares_make_the_round_trip_both_ways(
    session: bytes,
    round: int,
    sender: int,
    model_hash: bytes,
    sealed: dict[int, bytes],
    commitments: dict[int, bytes],
) -> None:
    up = SealedShares(session, round, sender, sealed, commitments)
    down = ShareDelivery(session, round, sender, model_hash, sealed)
    assert SealedShares.from_bytes(up.to_bytes(), most=6) == up
    parsed = ShareDelivery.from_bytes(down.to_bytes(), most=6)
    assert parsed == down
    assert list(parsed.sealed) == sorted(sealed)


@deterministic
@given(sessions, rounds, senders, tables(SHARE), tables(SHARE))
def test_revealed_shares_make_the_round_trip(
    session: bytes, round: int, sender: int, seeds: dict[int, bytes], keys: dict[int, bytes]
) -> None:
    sent = RevealedShares(session, round, sender, seeds, keys)
    assert RevealedShares.from_bytes(sent.to_bytes(), most=6) == sent


@deterministic
@given(sessions, rounds, senders, st.data(), st.sampled_from([16, 32, 64]))
def test_masked_inputs_make_the_round_trip(
    session: bytes, round: int, sender: int, data: st.DataObject, ring: int
) -> None:
    words = data.draw(st.lists(st.integers(0, 2**ring - 1), min_size=1, max_size=8))
    sent = blank(session, round, sender, words, word=WORDS[ring].str)
    back = MaskedInput.from_bytes(bytes(sent.packet[:-16]), m=len(words), word=WORDS[ring])
    assert (back.session, back.round, back.sender, back.weight) == (session, round, sender, WEIGHT)
    assert back.words.tolist() == words


@deterministic
@given(sessions, rounds, senders, hashes, hashes, tables(0), tables(32), tables(REVEAL))
def test_messages_of_the_set_up_make_the_round_trip(
    session: bytes,
    attempt: int,
    sender: int,
    secret: bytes,
    digest: bytes,
    members: dict[int, bytes],
    commitments: dict[int, bytes],
    reveals: dict[int, bytes],
) -> None:
    for step, table in enumerate((members, commitments, reveals)):
        message = SetupTable(session, attempt, step, table)
        assert SetupTable.from_bytes(message.to_bytes(), most=6) == message
    for content in (secret, secret + digest):
        reply = SetupReply(session, attempt, sender, content)
        assert SetupReply.from_bytes(reply.to_bytes(), content=len(content)) == reply


# Refusals.


@each_case
def test_a_message_cut_anywhere_or_longer_by_a_byte_is_refused(case: Case) -> None:
    valid, kind = case.by_hand, case.by_hand[4]
    for wrong in [
        *(valid[:size] for size in range(len(valid))),
        valid + b"\0",
        valid + bytes(4),
        valid + valid,
    ]:
        with pytest.raises(ProtocolError, match=f"a message of kind {kind} "):
            case.parse(wrong)
    assert case.parse(valid) is not None


@each_case
def test_another_magic_or_version_is_refused(case: Case) -> None:
    valid = case.by_hand
    for stranger in (
        b"SFL" + valid[3:],
        valid[:3] + b"\0" + valid[4:],
        valid[:3] + b"\2" + valid[4:],
    ):
        with pytest.raises(ProtocolError, match="this is not a message of version 1"):
            case.parse(stranger)


@each_case
def test_every_other_kind_is_refused(case: Case) -> None:
    valid, kind = case.by_hand, case.by_hand[4]
    for other in set(range(256)) - {kind}:
        with pytest.raises(
            ProtocolError, match=f"expected a message of kind {kind}, got kind {other}$"
        ):
            case.parse(valid[:4] + bytes([other]) + valid[5:])


@each_place
def test_a_table_of_clients_out_of_order_twice_or_out_of_range_is_refused(place: Place) -> None:
    for wrong in (
        [2, 1],
        [0, 0],
        [7, 7],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 2],
        [2**31],
        [0, 2**31],
        [2**32 - 1],
    ):
        with pytest.raises(
            ProtocolError, match="names clients out of order, twice or out of range"
        ):
            place.parse(place.message(wrong), most=3)


@each_place
def test_a_table_ends_at_the_largest_id_and_at_the_most_entries(place: Place) -> None:
    place.parse(place.message([0, 1, 2**31 - 1]), most=3)
    place.parse(place.message([]), most=0)
    with pytest.raises(ProtocolError, match="has 3 entries, the most is 2"):
        place.parse(place.message([0, 1, 2**31 - 1]), most=2)


@each_place
def test_a_count_that_does_not_fit_the_entries_is_refused(place: Place) -> None:
    with pytest.raises(ProtocolError, match="too short for its table"):
        place.parse(place.message([0, 1], count=3), most=3)
    with pytest.raises(ProtocolError, match=r"left over|too short for its table"):
        place.parse(place.message([2, 3], count=1), most=3)


@each_place
def test_a_count_of_billions_allocates_nothing(place: Place) -> None:
    message = place.message([0, 1], count=2**32 - 1)
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError, match="has 4294967295 entries, the most is 3"):
            place.parse(message, most=3)
        with pytest.raises(ProtocolError, match="too short for its table"):
            place.parse(message, most=2**32)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("step", [3, 4, 2**31, 2**32 - 1])
def test_a_step_that_the_set_up_does_not_have_is_refused(step: int) -> None:
    with pytest.raises(ProtocolError, match=f"the set-up has no step {step}$"):
        SetupTable.from_bytes(head(32) + struct.pack("<I", step) + NONE, most=3)


# The masked input.

each_ring = pytest.mark.parametrize("ring", [16, 32, 64])


@each_ring
@pytest.mark.parametrize("m", [1, 2, 3, 1001])
def test_a_masked_input_takes_40_bytes_its_words_and_a_tag(ring: int, m: int) -> None:
    upload = MaskedInput.blank(SESSION, ROUND, SENDER, WEIGHT, m=m, word=WORDS[ring])
    assert len(upload.packet) == 40 + m * ring // 8 + 16 == MaskedInput.length(m, WORDS[ring]) + 16
    assert upload.words.tolist() == [0] * m
    assert upload.words.dtype == np.dtype(f"<u{ring // 8}")


@each_ring
@pytest.mark.parametrize("m", [1, 3, 1001])
def test_words_lie_in_the_upload_aligned(ring: int, m: int) -> None:
    upload = MaskedInput.blank(SESSION, ROUND, SENDER, WEIGHT, m=m, word=WORDS[ring])
    assert upload.words.ctypes.data % (ring // 8) == 0
    assert upload.words.flags.aligned
    upload.words[:] = 2**ring - 2
    assert bytes(upload.packet[40:-16]) == (b"\xfe" + b"\xff" * (ring // 8 - 1)) * m
    assert bytes(upload.packet[-16:]) == bytes(16)


@each_ring
def test_parsed_words_are_a_view_of_the_data_and_aligned(ring: int) -> None:
    packet = bytearray(blank(SESSION, ROUND, SENDER, [1, 2, 3], word=WORDS[ring].str).packet[:-16])
    back = MaskedInput.from_bytes(packet, m=3, word=WORDS[ring])
    assert np.shares_memory(back.words, np.frombuffer(packet, dtype=np.uint8))
    assert back.words.ctypes.data % (ring // 8) == 0
    packet[40] = 9
    assert back.words.tolist() == [9, 2, 3]
    assert not back.packet


@each_ring
def test_a_masked_input_a_word_or_a_byte_off_is_refused(ring: int) -> None:
    packet = bytes(blank(SESSION, ROUND, SENDER, [1, 2, 3], word=WORDS[ring].str).packet[:-16])
    word = ring // 8
    for wrong in (
        packet[:-word],
        packet + bytes(word),
        packet[:-1],
        packet + b"\0",
        packet[:40],
        packet + bytes(64),
    ):
        with pytest.raises(
            ProtocolError, match=f"kind 21 takes {40 + 3 * word} bytes here, got {len(wrong)}"
        ):
            MaskedInput.from_bytes(wrong, m=3, word=WORDS[ring])


def test_a_masked_input_of_another_ring_is_refused() -> None:
    packet = bytes(blank(SESSION, ROUND, SENDER, [1, 2, 3]).packet[:-16])
    for ring in (16, 64):
        with pytest.raises(ProtocolError, match="kind 21 takes"):
            MaskedInput.from_bytes(packet, m=3, word=WORDS[ring])


def test_the_tag_of_a_masked_input_stands_behind_its_words() -> None:
    upload = blank(SESSION, ROUND, SENDER, [5, 6])
    tagged = upload.tagged(A)
    assert tagged is upload.packet
    assert bytes(tagged[:-16]) == masked_input(words=[5, 6])
    body = open_tagged(A, tagged)
    assert MaskedInput.from_bytes(body, m=2, word=np.dtype("<u4")).words.tolist() == [5, 6]
    with pytest.raises(ProtocolError, match="does not verify"):
        open_tagged(B, tagged)
    for place in range(len(tagged)):
        broken = bytearray(tagged)
        broken[place] ^= 1
        with pytest.raises(ProtocolError, match="does not verify"):
            open_tagged(A, broken)


# Fuzz of the parsers.

VALID = [case.by_hand for case in CASES.values()]


def damaged(valid: bytes, others: list[bytes], draw: random.Random) -> bytes:
    """Returns the message with bits flipped, bytes changed, cut or inserted, or spliced."""
    data = bytearray(valid)
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(data) + 1)
        match draw.randrange(8):
            case 0:
                del data[at : at + draw.randint(1, 8)]
            case 1:
                data[at:at] = draw.randbytes(draw.randint(1, 8))
            case 2:
                del data[at:]
            case 3:
                other = draw.choice(others)
                start = draw.randrange(len(other))
                data[at:] = other[start:]
            case 4:
                data[at : at + 4] = struct.pack(
                    "<I", draw.choice([0, 1, 2, 3, 255, 2**31 - 1, 2**31, 2**32 - 1])
                )
            case 5 if at < len(data):
                data[at] ^= 1 << draw.randrange(8)
            case _ if at < len(data):
                data[at] = draw.randrange(256)
            case _:
                data += valid[:at]
    return bytes(data)


def inputs(count: int, seed: int) -> Iterator[bytes]:
    """Yields random bytes, random bytes behind a good head, and damaged messages, in turn."""
    draw = random.Random(seed)
    for number in range(count):
        if number % 8 == 0:
            yield draw.randbytes(draw.randrange(300))
        elif number % 8 == 1:
            valid = draw.choice(VALID)
            size = len(valid) - 25 if draw.randrange(2) else draw.randrange(300)
            yield valid[:25] + draw.randbytes(size)
        else:
            yield damaged(draw.choice(VALID), VALID, draw)


def accepted(parse: Callable[[Packet], Any], data: bytes) -> bool:
    """Whether data was parsed; any failure but ProtocolError ends the test."""
    try:
        parse(data)
    except ProtocolError:
        return False
    return True


def fuzz_parsers(count: int, *, seconds: float) -> None:
    """Every input goes through every parser, in bounded time and memory.

    Each parser must accept some inputs and refuse some.
    """
    outcomes_of: dict[str, set[bool]] = {name: set() for name in CASES}
    tracemalloc.start()
    started = time.process_time()
    try:
        for data in inputs(count, seed=1):
            for name, case in CASES.items():
                outcomes_of[name].add(accepted(case.parse, data))
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
    assert time.process_time() - started < seconds
    assert all(outcomes == {True, False} for outcomes in outcomes_of.values())


def test_ten_thousand_inputs_meet_protocol_errors_in_little_time_and_memory() -> None:
    fuzz_parsers(10_000, seconds=30)


@pytest.mark.slow
def test_a_hundred_thousand_inputs_meet_protocol_errors_in_little_time_and_memory() -> None:
    fuzz_parsers(100_000, seconds=300)


# Fuzz of the doors. A receiver answers or raises ProtocolError; the server says True or False.

TERMS = agreement(5)
Door = Callable[[bytes], object]


def signed(body: bytes, number: int, terms: Agreement = TERMS) -> bytes:
    return body + identity(number).signature(body, terms=terms.digest)


def refused(door: Door, data: bytes) -> bool:
    try:
        door(data)
    except ProtocolError:
        return True
    return False


def expected_mean(session: Session, members: tuple[int, ...]) -> torch.Tensor:
    return torch.stack([session.updates[client].delta for client in members]).mean(0)


def assert_honest(view: View | None, session: Session) -> None:
    assert view is not None
    assert view.members == ((0, 1, 2, 3, 4),)
    assert torch.allclose(view.rows[0], expected_mean(session, (0, 1, 2, 3, 4)), atol=1e-6)


def test_unsigned_damage_to_requests_is_refused_and_the_round_goes_on() -> None:
    draw = random.Random(3)
    session = Session(TERMS).begin(0)
    view = None
    for _ in range(5):
        requests = dict(session.server.requests())
        for client in (0, 4):
            for _ in range(60):
                if (data := damaged(requests[client], VALID, draw)) != requests[client]:
                    assert refused(session.clients[client].receive, data)
        view = session.stage()
    assert_honest(view, session)


def test_unsigned_damage_to_replies_is_refused_and_the_round_goes_on() -> None:
    draw = random.Random(4)
    session = Session(TERMS).begin(0)
    view = None
    for _ in range(5):
        replies = session.answers()
        for client, reply in replies.items():
            for _ in range(30):
                if (data := damaged(bytes(reply), VALID, draw)) != reply:
                    assert session.server.absorb(client, data) is False
            assert session.server.absorb(client, reply) is True
        view = session.server.close_stage()
    assert_honest(view, session)


Side = TypeVar("Side", MaskedClient, SetupClient)


def twin_of(client: Side) -> Side:
    """Returns a copy with the same state and record, independent from then on."""
    twin = copy.copy(client)  # its state is replaced, never changed
    twin._monotonic = copy.deepcopy(client._monotonic)
    return twin


def test_signed_damage_to_requests_meets_an_answer_or_a_protocol_error() -> None:
    draw = random.Random(5)
    session = Session(TERMS).begin(0)
    view, refusals = None, 0
    for _ in range(5):
        bodies = [request[:-64] for request in session.server.requests().values()]
        for client in (0, 4):
            for _ in range(100):
                twin = twin_of(session.clients[client])
                refusals += refused(
                    twin.receive, signed(damaged(bodies[client], bodies + VALID, draw), -1)
                )
        view = session.stage()
    assert 500 < refusals < 1000
    assert_honest(view, session)  # the clients themselves were told nothing illegal


def ended(session: Session, stage: int, held: dict[int, Packet]) -> View | None:
    """Plays the round on from `stage` with these replies; None if it was abandoned."""
    replies = held
    while True:
        for client, reply in replies.items():
            session.server.absorb(client, reply)
        try:
            if (view := session.server.close_stage()) is not None:
                return view
        except RoundAbandoned:
            return None
        replies = {}
        for client, request in session.server.requests().items():
            try:
                replies[client] = session.answer(client, request)
            except ProtocolError:
                continue


def tagged(session: Session, client: int, body: bytes) -> bytes:
    """Returns an upload with the tag that this client itself would give it."""
    state = session.clients[client]._state
    assert state is not None
    return body + tag(state.secrets.upload_key(state.own, state.server_key), body)


@pytest.mark.parametrize("stage", [1, 2, 3, 4, 5])
def test_signed_damage_to_replies_is_taken_or_not_and_the_round_ends_in_a_sum_or_is_abandoned(
    stage: int,
) -> None:
    draw = random.Random(60 + stage)
    sender, accepted, refusals = 2, 0, 0

    def fresh() -> tuple[Session, dict[int, Packet]]:
        session = Session(TERMS).begin(0).until(stage)
        return session, session.answers()

    session, replies = fresh()
    for _ in range(250):
        bodies = [bytes(reply[: -16 if stage == 3 else -64]) for reply in replies.values()]
        body = damaged(bodies[sender], bodies + VALID, draw)
        answer = session.server.absorb(
            sender, tagged(session, sender, body) if stage == 3 else signed(body, sender)
        )
        assert type(answer) is bool
        if not answer:
            refusals += 1
            continue
        accepted += 1
        view = ended(session, stage, replies)
        assert view is None or torch.isfinite(view.rows).all()
        session, replies = fresh()
    assert refusals > 50
    assert accepted or stage == 4  # a consent has no byte that may change
    assert_honest(ended(session, stage, replies), session)


def secret(client: int, attempt: int) -> bytes:
    return sha256(b"%d %d" % (client, attempt)).digest()


def member(client: int) -> SetupClient:
    return SetupClient(
        client,
        identity(client),
        TERMS,
        draw=lambda attempt: secret(client, attempt),
        monotonic=MemoryMonotonic(),
    )


class SetUp:
    """One set-up, step after step by hand."""

    def __init__(self) -> None:
        self.server = SetupServer(identity(-1), TERMS)
        self.clients = {client: member(client) for client in TERMS.roster}

    def replies(self) -> dict[int, bytes]:
        answers = {
            client: self.clients[client].receive(request)
            for client, request in self.server.requests().items()
        }
        return {client: reply for client, reply in answers.items() if reply is not None}

    def take(self, replies: dict[int, bytes]) -> Agreement | None:
        for client, reply in replies.items():
            assert self.server.absorb(client, reply) is True
        return self.server.close_stage()

    def until(self, step: int) -> "SetUp":
        for _ in range(step):
            self.take(self.replies())
        return self


def assert_agreed(setup: SetUp) -> None:
    assert setup.server.agreed is not None
    assert setup.server.agreed.roster == TERMS.roster
    assert all(client.agreed == setup.server.agreed for client in setup.clients.values())


@pytest.mark.parametrize("by_the_server", [False, True])
def test_damage_to_the_set_ups_requests_meets_an_answer_or_a_protocol_error(
    by_the_server: bool,
) -> None:
    draw = random.Random(7)
    setup, refusals = SetUp(), 0
    for _ in range(3):
        request = setup.server.requests()[0]
        for client in (0, 4):
            for _ in range(150):
                twin = twin_of(setup.clients[client])
                data = damaged(request[:-64] if by_the_server else request, VALID, draw)
                data = signed(data, -1) if by_the_server else data
                refusals += data == request or refused(twin.receive, data)
        setup.take(setup.replies())
    assert 500 < refusals <= 900
    assert by_the_server or refusals == 900
    assert_agreed(setup)


@pytest.mark.parametrize("by_the_member", [False, True])
@pytest.mark.parametrize("step", [0, 1])
def test_damage_to_the_set_ups_replies_is_taken_or_not(step: int, by_the_member: bool) -> None:
    draw = random.Random(80 + step)
    sender, accepted = 2, 0
    setup = SetUp().until(step)
    replies = setup.replies()
    for _ in range(400):
        data = damaged(
            replies[sender][:-64] if by_the_member else replies[sender],
            [*replies.values(), *VALID],
            draw,
        )
        data = signed(data, sender) if by_the_member else data
        answer = data != replies[sender] and setup.server.absorb(sender, data)
        assert type(answer) is bool
        if answer:  # another commitment is as good as the first, but must be opened
            accepted += 1
            setup = SetUp().until(step)
            replies = setup.replies()
    assert (accepted > 0) == (by_the_member and step == 0)
    setup.take(replies)
    setup.until(2 - step)
    assert_agreed(setup)


def test_signed_requests_that_name_strangers_are_refused_at_every_stage() -> None:
    session = Session(TERMS).begin(0)
    for kind in (Invitation, KeyTable, ShareDelivery, SurvivorList, UnmaskRequest):
        request = session.server.requests()[0][:-64]
        place = PLACES[kind.__name__]
        before = request[: len(place.before)]
        size = 4 + place.entry
        count = struct.unpack_from("<I", request, len(before))[0]
        first = request[len(before) + 4 : len(before) + 4 + size]
        wrong = before + struct.pack("<I", min(count + 1, 5))
        entries = request[len(before) + 4 :][: size * (min(count + 1, 5) - 1)]
        wrong += entries + struct.pack("<I", 9) + first[4:]
        with pytest.raises(
            ProtocolError, match=r"not in the roster|not there before|outside the survivors"
        ):
            twin_of(session.clients[0]).receive(signed(wrong, -1))
        session.stage()


def test_signed_shares_for_others_than_the_block_and_keys_of_low_order_are_dropped() -> None:
    session = Session(TERMS).begin(0)
    keys = Advertisement.from_bytes(session.answers()[2][:-64])
    session = Session(TERMS).begin(0)
    for low in (
        Advertisement(SESSION, 0, 2, bytes(32), keys.sealing_key, A, keys.block, keys.proof),
        Advertisement(SESSION, 0, 2, keys.mask_key, bytes(32), A, keys.block, keys.proof),
    ):
        assert session.server.absorb(2, signed(low.to_bytes(), 2)) is False
    session.stage()
    box = filled(SEALED, 0)
    for table in ({}, {0: box}, dict.fromkeys((0, 1, 3), box), dict.fromkeys(range(5), box)):
        reply = SealedShares(SESSION, 0, 2, table, dict.fromkeys(range(5), bytes(32)))
        assert session.server.absorb(2, signed(reply.to_bytes(), 2)) is False
    for _ in range(3):
        session.stage(silent=[4])
    for wrong in (
        RevealedShares(SESSION, 0, 2, {4: bytes(33)}, {}),
        RevealedShares(SESSION, 0, 2, {}, {0: bytes(33)}),
    ):
        assert session.server.absorb(2, signed(wrong.to_bytes(), 2)) is False
