"""The random matrix A of a round, and the sketches A u of updates, exact modulo 2^32.

A has k rows and d columns. Its entries are 0, +1 and -1 with probability 1/2, 1/4 and 1/4. They
come from one AES-256-CTR stream under the seed, with the first counter block 0. Column j is made of
the ceil(k / 4) bytes from byte j ceil(k / 4) on. Row i of it is made of two bits of byte i // 4:
bit 2 (i % 4) minus bit 2 (i % 4) + 1, where bit 0 is the lowest. Unused bits are skipped.

**Why zeros are needed.** A row misses a changed update with probability 1/2 at most, whatever
the change, so that all k rows miss it with probability 2^-k. Entries +1 and -1 alone would
always miss 2^31 added to two coordinates, because 2^31 = -2^31 modulo 2^32.

**Why the seed hangs on a nonce and on the uploads.** Who knows A before the upload adds any vector
of the kernel of A to it, which changes the update and not its sketch. The uploads of honest clients
keep the server from choosing A. The nonce, shown after the uploads, keeps clients from knowing it.

**Why floating point is exact here.** Words enter as integers in [-2^31, 2^31). A product over at
most 65,536 columns stays below 2^47, and every partial sum of it is an integer below 2^53. The
result does not depend on the order of the additions, nor on the number of threads.
"""

import hashlib
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from securefl.channels.masking.keys import KEY_BYTES, TAG_BYTES
from securefl.channels.masking.stream import CHUNK_BYTES, WORDS, chunks, fastest
from securefl.channels.messages import HASH_BYTES, SESSION_BYTES

SMALLEST_SKETCH = 16
LARGEST_SKETCH = 1024
WORD = WORDS[32]

_SEED = b"securefl masking 1, matrix of sketches"
_UPLOAD = b"securefl masking 1, uploaded words"
_SIGNED_WORD = np.dtype("<i4")
_ENTRIES_PER_BYTE = 4
_ENTRIES_PER_BLOCK = 65_536  # as doubles they fill half a megabyte, a common second-level cache
# OpenBLAS leaves products of at most this many multiplications to one thread. More threads would
# mostly wait for each other. Below the least columns, the time would go into calls.
_MULTIPLICATIONS = 262_144
_LEAST_COLUMNS = 32
_CHUNK_WORDS = CHUNK_BYTES // WORD.itemsize

Rows = NDArray[Any]  # (n, columns) words
ReadRows = Callable[[int], Rows]  # chunk -> its words of all vectors


def seed_of(*, terms: bytes, session: bytes, round: int, nonce: bytes, uploads: bytes) -> bytes:
    """Returns the 32 bytes from which the matrix of a round is made.

    Args:
        terms: the digest of the agreed terms, 32 bytes.
        session: 16 bytes that name the session.
        round: the round, below 2^32.
        nonce: 32 bytes that the server committed to before the uploads and shows after them.
        uploads: the digest of the list of all uploads, 32 bytes.

    Raises:
        ValueError: a part has another length, so that two lists of parts could give one seed.
    """
    lengths = (len(terms), len(session), len(nonce), len(uploads))
    if lengths != (HASH_BYTES, SESSION_BYTES, HASH_BYTES, HASH_BYTES):
        raise ValueError(
            f"a seed needs terms, session, nonce and uploads of {HASH_BYTES}, {SESSION_BYTES}, "
            f"{HASH_BYTES} and {HASH_BYTES} bytes, got {', '.join(map(str, lengths))}"
        )
    place = session + struct.pack("<I", round)
    return hashlib.sha256(_SEED + terms + place + nonce + uploads).digest()


def digest_of_words(words: NDArray[Any]) -> bytes:
    """Returns SHA-256 of a label and of the words (d,) of an upload, little-endian.

    Raises:
        ValueError: they are not words of 32 bits in one dimension.
    """
    _check_words(words)
    digest = hashlib.sha256(_UPLOAD)
    digest.update(np.ascontiguousarray(words).data)
    return digest.digest()


def centred(sketch: NDArray[Any]) -> list[int]:
    """Returns the coordinates of a sketch (k,) as integers in [-2^31, 2^31).

    Raises:
        ValueError: they are not words of 32 bits in one dimension.
    """
    _check_words(sketch)
    return [int(coordinate) for coordinate in np.ascontiguousarray(sketch).view(_SIGNED_WORD)]


class Matrix:
    """The k x d matrix of one round; it is made again for every call, and never held as a whole.

    A call takes about 1 MB, and 256 KB more for each vector that it sketches.

    Args:
        seed: 32 bytes, as `seed_of` makes them.
        size: k, the coordinates of a sketch, 16 to 1024.
        d: the coordinates of an update, at least 1.

    Raises:
        ValueError: an argument is out of range.

    Source: Achlioptas, "Database-friendly random projections", JCSS 2003, whose entries are 0 with
        probability 2/3; here it is 1/2, for which two bits suffice. E |A u|^2 = |u|^2 k / 2.
    """

    def __init__(self, seed: bytes, *, size: int, d: int) -> None:
        if len(seed) != KEY_BYTES:
            raise ValueError(f"a matrix needs a seed of {KEY_BYTES} bytes, got {len(seed)}")
        if not SMALLEST_SKETCH <= size <= LARGEST_SKETCH:
            raise ValueError(
                f"a sketch has {SMALLEST_SKETCH} to {LARGEST_SKETCH} coordinates, got size={size}"
            )
        if d < 1:
            raise ValueError(f"a matrix needs d >= 1 columns, got d={d}")
        self._seed = seed
        self._size = size
        self._d = d

    def sketch(self, words: NDArray[Any]) -> NDArray[np.uint32]:
        """Returns A u modulo 2^32, (k,), of the words u (d,) of an update.

        Raises:
            ValueError: they are not d words of 32 bits.
        """
        sketch: NDArray[np.uint32] = self.sketches([words])[0]
        return sketch

    def sketches(self, updates: Sequence[NDArray[Any]]) -> NDArray[np.uint32]:
        """Returns the sketches (n, k) of n updates, with one pass over the matrix.

        Raises:
            ValueError: an update is not d words of 32 bits.
        """
        for words in updates:
            _check_words(words)
            if len(words) != self._d:
                raise ValueError(f"the matrix has {self._d} columns, the update {len(words)} words")
        parts = [chunks(words) for words in updates]
        return self._sketches(len(updates), lambda chunk: np.stack([part[chunk] for part in parts]))

    def sketches_of_masks(self, keys: Sequence[bytes]) -> NDArray[np.uint32]:
        """Returns the sketches (n, k) of n mask streams over d words, which are never held whole.

        Args:
            keys: of the streams, 32 bytes each, as `stream.Masks` takes them.

        Raises:
            ValueError: a key is not 32 bytes.
        """
        for key in keys:
            if len(key) != KEY_BYTES:
                raise ValueError(f"a mask stream needs a key of {KEY_BYTES} bytes, got {len(key)}")
        path = fastest()
        writers = [path(key) for key in keys]
        # Galois/counter mode writes its tag behind the stream.
        buffer = np.empty((len(keys), CHUNK_BYTES + TAG_BYTES), dtype=np.uint8)

        def read(chunk: int) -> Rows:
            size = min(CHUNK_BYTES, self._d * WORD.itemsize - chunk * CHUNK_BYTES)
            for write, row in zip(writers, buffer, strict=True):
                write(chunk, size, row.data)
            return buffer[:, :size].view(WORD)

        return self._sketches(len(keys), read)

    def _sketches(self, count: int, read: ReadRows) -> NDArray[np.uint32]:
        """Returns the sketches of `count` vectors, which are read chunk by chunk."""
        sketches = np.zeros((count, self._size), dtype=np.int64)
        if not count:
            return sketches.astype(WORD)
        columns = _Columns(self._seed, size=self._size, count=count)
        for chunk in range(-(-self._d // _CHUNK_WORDS)):
            rows = read(chunk).view(_SIGNED_WORD)
            for start, stop in _blocks(rows.shape[1], step=columns.most):
                product = rows[:, start:stop].astype(np.float64) @ columns.take(stop - start)
                # Integers wrap modulo 2^64 here, which 2^32 divides.
                sketches += product[:, : self._size].astype(np.int64)
        return sketches.astype(WORD)


class _Columns:
    """The columns of a matrix in order, some at a time, as rows of doubles.

    Args:
        seed: 32 bytes.
        size: entries of a column.
        count: vectors that the columns are multiplied with.
    """

    def __init__(self, seed: bytes, *, size: int, count: int) -> None:
        self._bytes = -(-size // _ENTRIES_PER_BYTE)  # of one column
        entries = min(_ENTRIES_PER_BLOCK, _MULTIPLICATIONS // count)
        self.most = max(_LEAST_COLUMNS, entries // (self._bytes * _ENTRIES_PER_BYTE))
        self._stream = Cipher(algorithms.AES256(seed), modes.CTR(bytes(16))).encryptor()
        self._zeros = memoryview(bytes(self.most * self._bytes))
        self._buffer = bytearray(len(self._zeros))
        self._entries = np.empty((len(self._zeros), _ENTRIES_PER_BYTE))

    def take(self, count: int) -> NDArray[np.float64]:
        """Returns the next `count` columns, (count, k or a little more); valid until the next call.

        Entries beyond k come from unused bits.
        """
        size = count * self._bytes
        self._stream.update_into(self._zeros[:size], memoryview(self._buffer)[:size])
        codes = np.frombuffer(self._buffer, dtype=np.uint8, count=size)
        # A byte is in range always; "clip" only spares numpy a buffer.
        entries = np.take(_ENTRIES, codes, axis=0, out=self._entries[:size], mode="clip")
        return entries.reshape(count, -1)


def _blocks(columns: int, *, step: int) -> Iterator[tuple[int, int]]:
    """Yields the ends of successive ranges of at most `step` columns."""
    for start in range(0, columns, step):
        yield start, min(start + step, columns)


def _entries_of_bytes() -> NDArray[np.float64]:
    """Returns the four entries of every byte, (256, 4): its even bits minus its odd bits."""
    every_byte = np.arange(256, dtype=np.uint8)[:, None]
    bits = np.unpackbits(every_byte, axis=1, bitorder="little").astype(np.float64)
    return bits[:, 0::2] - bits[:, 1::2]


_ENTRIES = _entries_of_bytes()


def _check_words(words: NDArray[Any]) -> None:
    """Raises ValueError: not words of 32 bits in one dimension."""
    if words.dtype != WORD or words.ndim != 1:
        raise ValueError(
            f"a sketch needs words of 32 bits in one dimension, got {words.dtype} in {words.ndim}"
        )
