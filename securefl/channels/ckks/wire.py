"""A ciphertext as it travels: 2 x 4096 coefficients of 7 bytes, nothing for a parser to trust.

TenSEAL writes a Protocol Buffers message around SEAL's format, compressed. Both state how many
ciphertexts follow, of which size and in which form, and TenSEAL believes the sender. A false
statement shifts every coordinate, reads beyond a buffer, or unpacks to half a gigabyte. So only
coefficients travel, and the receiver adds the frame that its own library writes.

Source: serialize.h and ciphertext.h of SEAL 4.1, ckksvector.proto of TenSEAL 0.3. The frame is
read off one ciphertext of our own.
"""

import struct

import numpy as np
import zstandard

from securefl.channels.ckks.terms import DEGREE, MODULUS_BITS
from securefl.channels.protocol import Packet
from securefl.errors import ProtocolError

_COEFFICIENT_BYTES = -(-MODULUS_BITS[0] // 8)  # 54 bits take 7 bytes
_COEFFICIENTS = 2 * DEGREE
_UNPACKED_BYTES = 8 * _COEFFICIENTS  # SEAL keeps a coefficient in 8 bytes
CIPHERTEXT_BYTES = _COEFFICIENTS * _COEFFICIENT_BYTES

# sizes = [2048], then the tag of ciphertexts; the length and the bytes of the one entry follow.
_PROTO_HEAD = b"\x0a\x02\x80\x10\x12"
_PROTO_TAIL_BYTES = 1 + 8  # scale, a double
# Magic, bytes of this head, version (2), compression, reserved, bytes in all.
_SEAL_HEAD = struct.Struct("<HBBBBHQ")
_COMPRESSION, _TOTAL = 4, 6  # the places of two of these fields
_PLAIN, _ZSTD = 0, 2
_ZSTD_READER = zstandard.ZstdDecompressor()
# Seven words of 8 bytes hold eight coefficients of 7: number i starts 8 i bits lower.
_SHIFTS = np.arange(0, 64, 8, dtype=np.uint64)
_MASK = np.uint64(2**56 - 1)


class Wire:
    """Converts TenSEAL's bytes of one ciphertext to the bytes that travel, and back.

    Args:
        sample: TenSEAL's bytes of one fresh ciphertext of the parameters in use, whose frame is
            taken.
    """

    def __init__(self, sample: bytes) -> None:
        head, body = _decompressed(sample)
        self._body_head = body[:-_UNPACKED_BYTES]
        # The frame announces an uncompressed ciphertext.
        fields = list(_SEAL_HEAD.unpack(head))
        fields[_COMPRESSION] = _PLAIN
        fields[_TOTAL] = _SEAL_HEAD.size + len(body)
        frame = _SEAL_HEAD.pack(*fields) + self._body_head
        length = len(frame) + _UNPACKED_BYTES
        self._before = _PROTO_HEAD + _varint(length) + frame
        self._after = sample[-_PROTO_TAIL_BYTES:]

    def pack(self, ours: bytes) -> bytes:
        """Returns (CIPHERTEXT_BYTES,) of a ciphertext that our own TenSEAL wrote."""
        _, body = _decompressed(ours)
        if body[:-_UNPACKED_BYTES] != self._body_head:
            raise AssertionError("TenSEAL wrote a ciphertext of another form than the sample")
        numbers = np.frombuffer(body, "<u8", _COEFFICIENTS, len(self._body_head))
        numbers = numbers.reshape(-1, 8)
        high = numbers[:, :_COEFFICIENT_BYTES] >> _SHIFTS[:_COEFFICIENT_BYTES]
        low = numbers[:, 1:] << _SHIFTS[:0:-1]
        return (high | low).tobytes()

    def unpack(self, theirs: Packet) -> bytes:
        """Returns bytes that TenSEAL reads safely, from anybody's bytes.

        Raises:
            ProtocolError: these are not CIPHERTEXT_BYTES.
        """
        if len(theirs) != CIPHERTEXT_BYTES:
            raise ProtocolError(
                f"a ciphertext has {CIPHERTEXT_BYTES} bytes here, got {len(theirs)}"
            )
        words = np.frombuffer(theirs, "<u8").reshape(-1, _COEFFICIENT_BYTES)
        numbers = np.zeros((len(words), 8), "<u8")
        numbers[:, :_COEFFICIENT_BYTES] = words << _SHIFTS[:_COEFFICIENT_BYTES]
        numbers[:, 1:] |= words >> _SHIFTS[:0:-1]
        numbers &= _MASK
        return b"".join([self._before, numbers.data, self._after])


def _decompressed(ours: bytes) -> tuple[bytes, bytes]:
    """Returns SEAL's head and its decompressed body, from our own TenSEAL's bytes."""
    start = len(_PROTO_HEAD) + len(_varint(len(ours)))
    end = start + _SEAL_HEAD.size
    head = ours[start:end]
    packed = ours[end:-_PROTO_TAIL_BYTES]
    if not ours.startswith(_PROTO_HEAD) or _SEAL_HEAD.unpack(head)[_COMPRESSION] != _ZSTD:
        raise AssertionError("TenSEAL wrote a ciphertext of a form that this module does not know")
    return head, _ZSTD_READER.decompress(packed, max_output_size=2 * _UNPACKED_BYTES)


def _varint(number: int) -> bytes:
    """Returns Protocol Buffers' encoding of a length: 7 bits a byte, the lowest first."""
    out = bytearray()
    while number >= 128:
        out.append(number % 128 + 128)
        number //= 128
    return bytes([*out, number])
