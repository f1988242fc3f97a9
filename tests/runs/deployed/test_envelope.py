"""Envelopes: signed as a whole, and refused in one sentence whatever is wrong with them."""

import hashlib
import random
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from securefl.errors import ProtocolError
from securefl.runs.deployed.envelope import MAX_PARTS, Direction, Envelope, Kind, Part, opened

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
CHARTER = bytes(range(100, 132))
PARTS = (Part(Kind.MODEL, 3, b"weights"), Part(Kind.REQUEST, 3, b"request"), Part(Kind.CONFIRM, 2))
ENVELOPE = Envelope(CHARTER, Direction.TO_SITE, 2, 7, PARTS)
REFUSED = "no envelope for this party"


def opened_here(data: bytes, *, limit: int = 1000) -> Envelope:
    return opened(data, PUBLIC, charter=CHARTER, direction=Direction.TO_SITE, site=2, limit=limit)


def signed(body: bytes | bytearray) -> bytes:
    """Returns a body of any content with the right signature, made by hand."""
    return bytes(body) + KEY.sign(b"securefl envelope 1" + hashlib.sha256(body).digest())


def test_an_envelope_comes_back_as_it_was_sealed() -> None:
    assert opened_here(ENVELOPE.sealed(KEY)) == ENVELOPE


def test_the_layout_is_the_one_that_is_written_down() -> None:
    parts = (Part(Kind.MODEL, 3, b"abc", lane=9),)
    data = Envelope(CHARTER, Direction.TO_SITE, 2, 7, parts).sealed(KEY)
    head = b"sfle\x01\x01" + CHARTER + b"\x02\0\0\0" + b"\x07" + bytes(7) + b"\x01"
    assert data[:-64] == head + b"\x03\x09" + b"\x03\0\0\0" + b"\x03\0\0\0" + b"abc"


@pytest.mark.parametrize(
    "other",
    [
        replace(ENVELOPE, charter=bytes(32)),
        replace(ENVELOPE, direction=Direction.TO_COORDINATOR),
        replace(ENVELOPE, site=3),
    ],
)
def test_an_envelope_for_somebody_else_is_refused(other: Envelope) -> None:
    with pytest.raises(ProtocolError, match=REFUSED):
        opened_here(other.sealed(KEY))


def test_an_envelope_of_another_key_is_refused() -> None:
    with pytest.raises(ProtocolError, match=REFUSED):
        opened_here(ENVELOPE.sealed(Ed25519PrivateKey.generate()))


def test_the_limit_counts_every_byte() -> None:
    data = ENVELOPE.sealed(KEY)
    assert opened_here(data, limit=len(data)) == ENVELOPE
    with pytest.raises(ProtocolError, match=REFUSED):
        opened_here(data, limit=len(data) - 1)


def test_more_parts_than_agreed_are_neither_sealed_nor_opened() -> None:
    full = replace(ENVELOPE, parts=(Part(Kind.CONFIRM),) * MAX_PARTS)
    assert opened_here(full.sealed(KEY)) == full
    with pytest.raises(ValueError, match=f"at most {MAX_PARTS} parts"):
        replace(full, parts=(Part(Kind.CONFIRM),) * (MAX_PARTS + 1)).sealed(KEY)
    data = bytearray(full.sealed(KEY)[:-64]) + b"\x02" + bytes(9)
    data[50] = MAX_PARTS + 1  # the count
    with pytest.raises(ProtocolError, match=REFUSED):
        opened_here(signed(data))


def test_a_part_of_unknown_kind_is_refused_although_it_is_signed() -> None:
    data = bytearray(replace(ENVELOPE, parts=(Part(Kind.FINISH),)).sealed(KEY)[:-64])
    data[51] = 200  # the kind of the first part
    with pytest.raises(ProtocolError, match=REFUSED):
        opened_here(signed(data))


def test_bytes_behind_the_parts_are_refused_although_they_are_signed() -> None:
    data = ENVELOPE.sealed(KEY)[:-64]
    assert opened_here(signed(data)) == ENVELOPE
    with pytest.raises(ProtocolError, match=REFUSED):
        opened_here(signed(data + b"x"))


def test_ten_thousand_damaged_envelopes_are_all_refused() -> None:
    coins = random.Random(1)
    data = ENVELOPE.sealed(KEY)
    for _ in range(10_000):
        damaged = bytearray(data)
        match coins.randrange(4):
            case 0:  # some bits turned
                for _ in range(coins.randrange(1, 4)):
                    damaged[coins.randrange(len(data))] ^= 1 << coins.randrange(8)
            case 1:  # cut short
                del damaged[coins.randrange(len(data)) :]
            case 2:  # longer
                damaged += coins.randbytes(coins.randrange(1, 100))
            case _:  # a piece overwritten
                start = coins.randrange(len(data))
                piece = coins.randbytes(coins.randrange(1, 40))
                damaged[start : start + len(piece)] = piece
        if bytes(damaged) == data:
            continue
        with pytest.raises(ProtocolError, match=REFUSED):
            opened_here(bytes(damaged))


def test_lengths_that_promise_gigabytes_are_refused_before_anything_is_read() -> None:
    data = bytearray(ENVELOPE.sealed(KEY))
    data[57:61] = b"\xff\xff\xff\xff"  # the length of the first part
    with pytest.raises(ProtocolError, match=REFUSED):
        opened_here(bytes(data))
