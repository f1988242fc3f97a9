"""The messages of rounds with sketches: round trips, bounds, and nothing allocated before them."""

import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securefl.channels.masking.keys import SIGNATURE_BYTES
from securefl.channels.masking.sketches.field import P
from securefl.channels.masking.sketches.replies import (
    MAX_CHOICE,
    Acceptance,
    BlameShares,
    DistanceShares,
    OpeningShares,
    PublicDealing,
    SealedDealing,
    bits_of,
    clients_of,
)
from securefl.channels.masking.sketches.requests import (
    AcceptanceList,
    BlameRequest,
    Challenge,
    DealingList,
    PromisedInvitation,
    UploadList,
)
from securefl.channels.protocol import Packet
from securefl.errors import ProtocolError

SESSION = bytes(range(16))
HEAD = (SESSION, 7, 3)
ids = st.lists(st.integers(0, 2**31 - 1), unique=True, max_size=8).map(sorted)
deterministic = settings(derandomize=True, max_examples=40, deadline=None, database=None)


def table(clients: list[int], size: int) -> dict[int, bytes]:
    return {client: bytes([place + 1]) * size for place, client in enumerate(clients)}


ELEMENTS = [0, 1, P - 1, 2**64]

EXAMPLES: list[tuple[Any, Callable[[Packet], Any]]] = [
    (
        PromisedInvitation(SESSION, 7, b"k" * 32, (1, 5), b"p" * 32),
        lambda data: PromisedInvitation.from_bytes(data, most=2),
    ),
    (
        UploadList(*HEAD, b"n" * 32, table([1, 5], 32)),
        lambda data: UploadList.from_bytes(data, most=2),
    ),
    (
        DealingList(*HEAD, table([1, 5], 90), table([5], 40)),
        lambda data: DealingList.from_bytes(data, most=2),
    ),
    (
        AcceptanceList(*HEAD, table([1, 5], Acceptance.SIGNED_LENGTH)),
        lambda data: AcceptanceList.from_bytes(data, most=2),
    ),
    (BlameRequest(*HEAD), lambda data: BlameRequest.from_bytes(data, most=2)),
    (
        Challenge(*HEAD, b"c" * 32, table([1, 5], 90), table([5], 40)),
        lambda data: Challenge.from_bytes(data, most=2),
    ),
    (
        PublicDealing(*HEAD, b"x" * 32, b"y" * 48, table([1, 5], 32)),
        lambda data: PublicDealing.from_bytes(data, proof=48, most=2),
    ),
    (
        SealedDealing(*HEAD, b"s" * 70, table([1, 5], 33)),
        lambda data: SealedDealing.from_bytes(data, signed=70, box=33, most=2),
    ),
    (Acceptance(*HEAD, b"d" * 32, 2**63 + 5), Acceptance.from_bytes),
    (DistanceShares(*HEAD, ELEMENTS), lambda data: DistanceShares.from_bytes(data, count=4)),
    (
        OpeningShares(*HEAD, ELEMENTS, table([1], 33), table([2, 4], 33)),
        lambda data: OpeningShares.from_bytes(data, size=4, most=2),
    ),
    (
        OpeningShares(*HEAD, [], table([1], 33), {}),
        lambda data: OpeningShares.from_bytes(data, size=4, most=2),
    ),
    (BlameShares(*HEAD, 9, ELEMENTS), lambda data: BlameShares.from_bytes(data, most=4)),
]
NAMES = [f"{type(message).__name__} {place}" for place, (message, _) in enumerate(EXAMPLES)]


@pytest.mark.parametrize(("message", "read"), EXAMPLES, ids=NAMES)
def test_a_message_is_read_as_it_was_written(message: Any, read: Callable[[Packet], Any]) -> None:
    data = message.to_bytes()
    assert read(data) == message
    assert read(memoryview(data)) == message
    assert data[:5] == b"sfl\1" + bytes([message.KIND])


@pytest.mark.parametrize(("message", "read"), EXAMPLES, ids=NAMES)
def test_a_message_that_is_cut_or_goes_on_is_refused(
    message: Any, read: Callable[[Packet], Any]
) -> None:
    data = message.to_bytes()
    wrong = [data[:end] for end in range(len(data))] + [data + b"\0", data + data]
    wrong += [data[:4] + bytes([data[4] ^ 2]) + data[5:], b"x" + data[1:]]
    for packet in wrong:
        with pytest.raises(ProtocolError, match=r"message|field elements"):
            read(packet)


@pytest.mark.parametrize(("message", "read"), EXAMPLES, ids=NAMES)
def test_any_bytes_are_read_or_refused_and_never_fail_otherwise(
    message: Any, read: Callable[[Packet], Any]
) -> None:
    data = message.to_bytes()

    @deterministic
    @given(st.integers(0, len(data) - 1), st.integers(1, 255))
    def check(place: int, change: int) -> None:
        changed = bytearray(data)
        changed[place] ^= change
        try:
            read(bytes(changed))
        except ProtocolError:
            return

    check()


def test_every_kind_has_a_number_of_its_own() -> None:
    kinds = [type(message).KIND for message, _ in EXAMPLES]
    assert sorted(set(kinds)) == list(range(48, 60))


@pytest.mark.parametrize(
    "packet",
    [
        UploadList(*HEAD, b"n" * 32, table([1, 5, 6], 32)).to_bytes(),
        # A count of 2^32 - 1 that nothing follows.
        UploadList(*HEAD, b"n" * 32, {}).to_bytes()[:-4] + b"\xff" * 4,
    ],
)
def test_more_entries_than_clients_are_refused_before_they_are_read(packet: bytes) -> None:
    with pytest.raises(ProtocolError, match="entries, the most is 2"):
        UploadList.from_bytes(packet, most=2)


def test_lengths_that_a_list_of_dealings_claims_allocate_nothing() -> None:
    head = DealingList(*HEAD, {}, {}).head
    lengths = struct.pack("<II", 2**32 - 1, 2**32 - 1)
    with pytest.raises(ProtocolError, match="too short for its table"):
        DealingList.from_bytes(head + lengths + struct.pack("<I", 2), most=2)


@pytest.mark.parametrize("element", [P, 2**127, 2**128 - 1])
def test_elements_that_are_not_below_the_prime_are_refused(element: int) -> None:
    good = DistanceShares(*HEAD, [5]).to_bytes()
    packet = good[:-16] + element.to_bytes(16, "little")
    with pytest.raises(ProtocolError, match="not below the prime"):
        DistanceShares.from_bytes(packet, count=1)


@pytest.mark.parametrize("count", [1, 3, 5, 2**32 - 1])
def test_a_summed_sketch_has_all_of_its_coordinates_or_none(count: int) -> None:
    good = OpeningShares(*HEAD, [5] * 4, {}, {}).to_bytes()
    packet = good[:29] + struct.pack("<I", count) + good[33:]
    with pytest.raises(ProtocolError, match="no sketch of 4 elements"):
        OpeningShares.from_bytes(packet, size=4, most=2)


def test_too_many_elements_of_blame_are_refused() -> None:
    with pytest.raises(ProtocolError, match="too many"):
        BlameShares.from_bytes(BlameShares(*HEAD, 0, [1] * 5).to_bytes(), most=4)


@deterministic
@given(ids)
def test_the_length_of_a_signed_dealing_is_known_beforehand(clients: list[int]) -> None:
    dealing = PublicDealing(*HEAD, b"x" * 32, b"y" * 48, table(clients, 32))
    length = PublicDealing.signed_length(proof=48, holders=len(clients))
    assert len(dealing.to_bytes()) + SIGNATURE_BYTES == length


@deterministic
@given(st.sets(st.integers(0, MAX_CHOICE - 1)))
def test_bits_stand_for_places_in_the_block(places: set[int]) -> None:
    block = tuple(range(100, 100 + MAX_CHOICE))
    assert clients_of(bits_of(places), block) == {100 + place for place in places}


def test_a_place_outside_the_block_is_refused() -> None:
    assert clients_of(0b111, (4, 5, 6)) == {4, 5, 6}
    with pytest.raises(ProtocolError, match="outside the block"):
        clients_of(0b1000, (4, 5, 6))
