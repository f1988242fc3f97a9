"""A ciphertext as it travels: 2 x 4096 coefficients of 7 bytes, and no byte that a parser has to believe.

TenSEAL writes a Protocol Buffers message around SEAL's format, compressed. Both state how many ciphertexts follow, of
what size and in which form, and TenSEAL takes a sender's word for it: a false word shifts every coordinate, reads
beyond a buffer, or unpacks to half a gigabyte. So only coefficients travel, and whoever receives them adds the frame
that their own library writes.

Source: serialize.h and ciphertext.h of SEAL 4.1, ckksvector.proto of TenSEAL 0.3; the frame is read off one ciphertext
of one's own.
"""

import struct

import numpy as np
import zstandard

from securefl.channels.ckks.terms import DEGREE, MODULUS_BITS
from securefl.channels.protocol import Packet
from securefl.errors import ProtocolError

_BYTES = -(-MODULUS_BITS[0] // 8)  # of a coefficient: 54 bits
_NUMBERS = 2 * DEGREE
CIPHERTEXT_BYTES = _NUMBERS * _BYTES

_PROTO_HEAD = (
    b"\x0a\x02\x80\x10\x12"  # sizes = [2048]; ciphertexts = [ (its length and bytes follow)
)
_PROTO_TAIL = 1 + 8  # scale, a double
_SEAL_HEAD = struct.Struct(
    "<HBBBBHQ"
)  # magic, bytes of this head, version (2), compression, reserved, bytes in all
_PLAIN, _ZSTD = 0, 2
_ZSTD_READER = zstandard.ZstdDecompressor()
_SHIFTS = np.arange(
    0, 64, 8, dtype=np.uint64
)  # seven words hold eight numbers: number i starts 8 i bits lower
_MASK = np.uint64(2**56 - 1)


class Wire:
    """From TenSEAL's bytes of one ciphertext to those that travel, and back.

    Args:
        sample: TenSEAL's bytes of one fresh ciphertext of the parameters in use, whose frame is taken.
    """

    def __init__(self, sample: bytes) -> None:
        head, body = _unpacked(sample)
        fields = list(_SEAL_HEAD.unpack(head))
        fields[4], fields[6] = _PLAIN, _SEAL_HEAD.size + len(body)
        frame = _SEAL_HEAD.pack(*fields) + body[: -8 * _NUMBERS]
        length = len(frame) + 8 * _NUMBERS
        self._body_head = body[: -8 * _NUMBERS]
        self._before, self._after = _PROTO_HEAD + _varint(length) + frame, sample[-_PROTO_TAIL:]

    def pack(self, ours: bytes) -> bytes:
        """(CIPHERTEXT_BYTES,) of the ciphertext that our own TenSEAL wrote as `ours`."""
        _, body = _unpacked(ours)
        if body[: -8 * _NUMBERS] != self._body_head:
            raise AssertionError("TenSEAL wrote a ciphertext of another form than the sample")
        numbers = np.frombuffer(body, "<u8", _NUMBERS, len(self._body_head)).reshape(-1, 8)
        return (
            numbers[:, :_BYTES] >> _SHIFTS[:_BYTES] | numbers[:, 1:] << _SHIFTS[:0:-1]
        ).tobytes()

    def unpack(self, theirs: Packet) -> bytes:
        """What TenSEAL reads, of anybody's bytes. Raises ProtocolError where there are not CIPHERTEXT_BYTES."""
        if len(theirs) != CIPHERTEXT_BYTES:
            raise ProtocolError(
                f"a ciphertext has {CIPHERTEXT_BYTES} bytes here, got {len(theirs)}"
            )
        words = np.frombuffer(theirs, "<u8").reshape(-1, _BYTES)
        numbers = np.zeros((len(words), 8), "<u8")
        numbers[:, :_BYTES] = words << _SHIFTS[:_BYTES]
        numbers[:, 1:] |= words >> _SHIFTS[:0:-1]
        numbers &= _MASK
        return b"".join([self._before, numbers.data, self._after])


def _unpacked(ours: bytes) -> tuple[bytes, bytes]:
    """SEAL's head and its body, unpacked."""
    start = len(_PROTO_HEAD) + len(_varint(len(ours)))
    head, packed = (
        ours[start : start + _SEAL_HEAD.size],
        ours[start + _SEAL_HEAD.size : -_PROTO_TAIL],
    )
    if not ours.startswith(_PROTO_HEAD) or _SEAL_HEAD.unpack(head)[4] != _ZSTD:
        raise AssertionError("TenSEAL wrote a ciphertext of a form that this module does not know")
    return head, _ZSTD_READER.decompress(packed, max_output_size=2 * 8 * _NUMBERS)


def _varint(number: int) -> bytes:
    """Protocol Buffers' length prefix."""
    out = bytearray()
    while number >= 128:
        out.append(number % 128 + 128)
        number //= 128
    return bytes([*out, number])
