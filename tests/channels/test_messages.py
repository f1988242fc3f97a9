"""Messages of all channels: bytes by hand, round trips, refusals, random or damaged bytes."""

import random
import struct
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from securefl.channels.messages import MAX_WEIGHT, ModelMessage, PlainUpdate, UpdateRequest
from securefl.errors import ProtocolError

deterministic = settings(derandomize=True, max_examples=100, deadline=None, database=None)
sessions = st.binary(min_size=16, max_size=16)
rounds = st.integers(0, 2**32 - 1)
vectors = st.lists(st.floats(width=32, allow_nan=False), max_size=8)

SESSION = bytes(range(16))
HASH = bytes(range(100, 132))
D = 3
DELTA = torch.tensor([1.0, -2.5, 0.0])
DELTA_BYTES = bytes.fromhex("0000803f000020c000000000")

MODEL = ModelMessage(SESSION, 7, HASH, DELTA).to_bytes()
REQUEST = UpdateRequest(SESSION, 7, HASH).to_bytes()
UPDATE = PlainUpdate(SESSION, 7, sender=258, weight=5, delta=DELTA).to_bytes()

PARSERS: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
    "model": (MODEL, lambda data: ModelMessage.from_bytes(data, d=D)),
    "round of a model": (MODEL, ModelMessage.round_of),
    "request": (REQUEST, UpdateRequest.from_bytes),
    "update": (UPDATE, lambda data: PlainUpdate.from_bytes(data, d=D)),
}
each_parser = pytest.mark.parametrize(("valid", "parse"), PARSERS.values(), ids=PARSERS.keys())
whole_messages = pytest.mark.parametrize("name", ["model", "request", "update"])


class Gigabyte(bytes):
    """Three bytes that claim a length of 2^30."""

    def __len__(self) -> int:
        return 2**30


def head(kind: int, *, magic: bytes = b"sfl", version: int = 1) -> bytes:
    return magic + bytes([version, kind]) + SESSION + b"\x07\0\0\0"


def same(one: Tensor, other: Tensor) -> bool:
    return one.numpy().tobytes() == other.numpy().tobytes()


def test_a_model_message_is_head_name_and_weights() -> None:
    assert head(1) + HASH + DELTA_BYTES == MODEL


def test_a_request_is_head_and_hash() -> None:
    assert head(2) + HASH == REQUEST


def test_an_update_is_head_sender_weight_and_delta() -> None:
    assert head(3) + b"\x02\x01\0\0" + b"\x05\0\0\0" + DELTA_BYTES == UPDATE


@deterministic
@given(sessions, rounds, vectors)
def test_models_make_the_round_trip(session: bytes, round: int, values: list[float]) -> None:
    sent = ModelMessage(session, round, HASH, torch.tensor(values, dtype=torch.float32))
    back = ModelMessage.from_bytes(sent.to_bytes(), d=len(values))
    assert (back.session, back.round, back.name) == (session, round, HASH)
    assert same(back.weights, sent.weights)
    assert ModelMessage.round_of(sent.to_bytes()) == round


@deterministic
@given(sessions, rounds, st.binary(min_size=32, max_size=32))
def test_requests_make_the_round_trip(session: bytes, round: int, model_hash: bytes) -> None:
    sent = UpdateRequest(session, round, model_hash)
    assert UpdateRequest.from_bytes(sent.to_bytes()) == sent


@deterministic
@given(sessions, rounds, st.integers(0, 2**32 - 1), st.integers(1, MAX_WEIGHT), vectors)
def test_updates_make_the_round_trip(
    session: bytes, round: int, sender: int, weight: int, values: list[float]
) -> None:
    sent = PlainUpdate(session, round, sender, weight, torch.tensor(values, dtype=torch.float32))
    back = PlainUpdate.from_bytes(sent.to_bytes(), d=len(values))
    assert (back.session, back.round, back.sender, back.weight) == (session, round, sender, weight)
    assert same(back.delta, sent.delta)


@each_parser
def test_another_magic_or_version_is_refused(
    valid: bytes, parse: Callable[[bytes], object]
) -> None:
    for stranger in (
        b"SFL" + valid[3:],
        b"\0" + valid[1:],
        valid[:3] + b"\0" + valid[4:],
        valid[:3] + b"\2" + valid[4:],
    ):
        with pytest.raises(ProtocolError, match="this is not a message of version 1"):
            parse(stranger)


@each_parser
def test_another_kind_is_refused(valid: bytes, parse: Callable[[bytes], object]) -> None:
    kind = valid[4]
    for other in {0, 1, 2, 3, 4, 255} - {kind}:
        with pytest.raises(
            ProtocolError, match=f"expected a message of kind {kind}, got kind {other}"
        ):
            parse(valid[:4] + bytes([other]) + valid[5:])


@whole_messages
def test_a_message_of_another_length_is_refused(name: str) -> None:
    valid, parse = PARSERS[name]
    for wrong in [
        *(valid[:size] for size in range(len(valid))),
        valid + b"\0",
        valid + bytes(4),
        valid + valid,
    ]:
        with pytest.raises(
            ProtocolError, match=f"kind {valid[4]} takes {len(valid)} bytes here, got {len(wrong)}"
        ):
            parse(wrong)


def test_the_round_of_a_message_shorter_than_its_head_is_refused() -> None:
    for size in range(25):
        with pytest.raises(ProtocolError, match=f"takes 25 bytes here, got {size}"):
            ModelMessage.round_of(MODEL[:size])
    assert ModelMessage.round_of(MODEL[:25]) == 7


@whole_messages
def test_the_length_is_checked_before_anything_is_read_or_allocated(name: str) -> None:
    valid, parse = PARSERS[name]
    with pytest.raises(ProtocolError, match=f"takes {len(valid)} bytes here, got {2**30}"):
        parse(Gigabyte(b"sfl"))


def test_a_number_of_coordinates_that_fits_no_memory_is_refused_by_the_length() -> None:
    with pytest.raises(ProtocolError, match=f"takes {25 + 32 + 4 * 10**15} bytes here"):
        ModelMessage.from_bytes(MODEL, d=10**15)
    with pytest.raises(ProtocolError, match=f"takes {33 + 4 * 10**15} bytes here"):
        PlainUpdate.from_bytes(UPDATE, d=10**15)


def weighing(weight: int) -> bytes:
    return UPDATE[:29] + struct.pack("<I", weight) + UPDATE[33:]


@pytest.mark.parametrize("weight", [0, 2**31, 2**32 - 1])
def test_a_weight_outside_its_range_is_refused(weight: int) -> None:
    with pytest.raises(ProtocolError, match=f"a weight must be 1 to 2147483647, got {weight}"):
        PlainUpdate.from_bytes(weighing(weight), d=D)


@pytest.mark.parametrize("weight", [1, 2**31 - 1])
def test_the_ends_of_the_range_of_weights_are_accepted(weight: int) -> None:
    assert PlainUpdate.from_bytes(weighing(weight), d=D).weight == weight


def accepted(parse: Callable[[bytes], object], data: bytes) -> bool:
    """Whether data was parsed; any failure but ProtocolError ends the test."""
    try:
        parse(data)
    except ProtocolError:
        return False
    return True


@each_parser
def test_random_bytes_meet_nothing_but_a_protocol_error(
    valid: bytes, parse: Callable[[bytes], object]
) -> None:
    draw = random.Random(1)
    for case in range(2000):
        size = len(valid) if case % 2 else draw.randrange(2 * len(valid))
        assert not accepted(parse, draw.randbytes(size))


@each_parser
def test_damaged_messages_meet_nothing_but_a_protocol_error(
    valid: bytes, parse: Callable[[bytes], object]
) -> None:
    draw = random.Random(2)
    outcomes = [accepted(parse, damaged(valid, draw)) for _ in range(3000)]
    assert {True, False} == set(
        outcomes
    )  # a changed session, round, hash or coordinate is for others to notice


def damaged(valid: bytes, draw: random.Random) -> bytes:
    """Returns the message with a few bytes changed, cut out or inserted."""
    data = bytearray(valid)
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(data))
        match draw.randrange(6):
            case 0:
                del data[at : at + draw.randint(1, 8)]
            case 1:
                data[at:at] = draw.randbytes(draw.randint(1, 8))
            case _:
                data[at] = draw.randrange(256)
        if not data:
            break
    return bytes(data)
