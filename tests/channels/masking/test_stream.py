"""The mask stream: typed words, GCM and ECB oracles, both ways to make it, statistics, memory."""

import json
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chi2

from securefl.channels.masking import stream
from securefl.channels.masking.stream import CHUNK_BYTES, WORDS, add_masks, by_ctr, by_gcm, fastest
from tests.paths import VECTORS

deterministic = settings(derandomize=True, max_examples=30, deadline=None, database=None)
# Share of keys for which a right stream fails the chi-square test; the keys here are fixed.
FALSE_ALARM = 1e-6
KEY = bytes(range(32))
PATHS = {"ctr": by_ctr, "gcm": by_gcm}
RINGS = list(WORDS)
BORDER = {  # the last two words of chunk 0 and the first two of chunk 1 under KEY
    16: [0x9990, 0xAE43, 0xD615, 0xFCBF],
    32: [0x12959A9C, 0xAE439990, 0xFCBFD615, 0x1E30F444],
    64: [0x33B5ADCEB8E3375B, 0xAE43999012959A9C, 0x1E30F444FCBFD615, 0xF73AA6EC39512E0E],
}
GCM = json.loads((VECTORS / "nist_gcm.json").read_text(encoding="utf-8"))["cases"]

paths = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
rings = pytest.mark.parametrize("ring", RINGS)


def mask(key: bytes, m: int, *, ring: int = 32, **options: Any) -> NDArray[Any]:
    """Returns the stream itself, as m words."""
    vector = np.zeros(m, dtype=WORDS[ring])
    add_masks(vector, plus=[key], **options)
    return vector


def gcm_of_zeros(key: bytes, size: int) -> bytes:
    """Returns the first bytes of the stream from AES-256-GCM, tags cut off."""
    chunks = range(-(-size // 262_144))
    zeros = bytes(262_144)
    return b"".join(AESGCM(key).encrypt(j.to_bytes(12, "big"), zeros, None)[:-16] for j in chunks)[
        :size
    ]


def ecb_of_counters(key: bytes, size: int) -> bytes:
    """Returns the first bytes of the stream, block by block.

    A block is AES of the chunk (12 bytes) and of 2 + its place in the chunk (4 bytes).
    """
    blocks = -(-size // 16)
    counters = b"".join(
        (n // 16_384).to_bytes(12, "big") + (2 + n % 16_384).to_bytes(4, "big")
        for n in range(blocks)
    )
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(counters)[:size]  # noqa: S305


def test_a_ring_has_little_endian_words_of_its_size() -> None:
    assert {ring: word.str for ring, word in WORDS.items()} == {16: "<u2", 32: "<u4", 64: "<u8"}


@rings
@paths
def test_typed_words_stand_on_both_sides_of_a_chunks_border(path: stream.Path, ring: int) -> None:
    step = 262_144 * 8 // ring
    assert mask(KEY, step + 2, ring=ring, path=path)[step - 2 :].tolist() == BORDER[ring]


def test_the_typed_words_are_aes_of_their_counters() -> None:
    # Chunk 0 ends with counter 2 + 2^14 - 1 under nonce 0; chunk 1 begins with counter 2 under
    # nonce 1.
    last, first = bytes(12) + (0x4001).to_bytes(4, "big"), bytes(11) + b"\1" + bytes(3) + b"\2"
    around = Cipher(algorithms.AES(KEY), modes.ECB()).encryptor().update(last + first)  # noqa: S305
    for ring, border in BORDER.items():
        size = ring // 4
        assert (
            b"".join(word.to_bytes(ring // 8, "little") for word in border)
            == around[16 - size : 16 + size]
        )


@paths
@pytest.mark.parametrize(
    "case", [case for case in GCM if case["plaintext"]], ids=lambda case: str(case["name"])
)
def test_both_paths_encrypt_chunks_to_the_published_gcm_ciphertexts(
    path: stream.Path, case: dict[str, str]
) -> None:
    key, iv, plaintext, ciphertext = (
        bytes.fromhex(case[x]) for x in ("key", "iv", "plaintext", "ciphertext")
    )
    buffer = memoryview(bytearray(CHUNK_BYTES + 16))
    path(key)(int.from_bytes(iv, "big"), len(plaintext), buffer)
    masked = bytes(a ^ b for a, b in zip(buffer, plaintext, strict=False))
    assert masked == ciphertext


def test_a_zero_keys_stream_begins_with_the_published_block() -> None:
    # McGrew and Viega, test case 14: key 0, nonce 0, one block of zeros.
    assert mask(bytes(32), 4).tobytes().hex() == "cea7403d4d606b6e074ec5d3baf39d18"


@rings
@pytest.mark.parametrize(
    "beyond", [(0, 1), (1, -1), (1, 0), (1, 1), (2, -1), (2, 0), (2, 5)], ids=str
)
def test_both_paths_give_the_oracles_bytes_around_the_borders_of_chunks(
    ring: int, beyond: tuple[int, int]
) -> None:
    chunks, more = beyond
    m = chunks * CHUNK_BYTES * 8 // ring + more
    expected = gcm_of_zeros(KEY, m * ring // 8)
    for path in (by_ctr, by_gcm, None):
        assert mask(KEY, m, ring=ring, path=path).tobytes() == expected


def test_the_two_oracles_agree_over_two_chunks_and_a_bit() -> None:
    size = 2 * 262_144 + 20
    assert ecb_of_counters(KEY, size) == gcm_of_zeros(KEY, size)
    assert ecb_of_counters(bytes(32), size) != gcm_of_zeros(KEY, size)


@rings
def test_a_short_mask_is_the_beginning_of_a_long_one(ring: int) -> None:
    long = mask(KEY, CHUNK_BYTES, ring=ring)
    for m in (0, 1, 2, 3, 7, 1000, CHUNK_BYTES * 8 // ring + 1):
        assert np.array_equal(mask(KEY, m, ring=ring), long[:m])


def test_no_word_of_one_chunk_is_repeated_in_the_next() -> None:
    chunks = mask(KEY, 3 * CHUNK_BYTES // 8, ring=64).reshape(3, -1)
    assert np.unique(chunks).size == chunks.size


@pytest.mark.parametrize("winner", [by_ctr, by_gcm], ids=["ctr", "gcm"])
def test_the_quicker_path_is_taken_and_measured_once(
    winner: stream.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []

    def seconds(path: stream.Path) -> float:
        measured.append(path)
        return 1.0 if path is winner else 2.0

    monkeypatch.setattr(stream, "_seconds", seconds)
    fastest.cache_clear()
    try:
        assert [fastest(), fastest()] == [winner, winner]
    finally:
        fastest.cache_clear()
    assert set(measured) == {by_ctr, by_gcm}
    assert len(measured) == 2


def test_a_path_is_timed_by_its_best_run(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 5.0, 10.0, 12.0, 20.0, 23.0, 30.0, 34.0, 40.0, 49.0])
    with monkeypatch.context() as patched:
        patched.setattr(time, "perf_counter", lambda: next(clock))
        assert stream._seconds(by_ctr) == 2.0
    assert list(clock) == []


def test_the_default_path_is_the_quickest(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []

    def noted(key: bytes) -> stream.Write:
        write = by_ctr(key)

        def one(chunk: int, size: int, buffer: memoryview) -> object:
            used.append(chunk)
            return write(chunk, size, buffer)

        return one

    monkeypatch.setattr(stream, "fastest", lambda: noted)
    mask(KEY, CHUNK_BYTES // 2, ring=32)
    assert used == [0, 1]
    mask(KEY, 5, path=by_gcm)
    assert used == [0, 1]


def share_of_other_bits(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(np.unpackbits((one ^ other).view(np.uint8)).mean())


def test_each_of_the_256_bits_of_a_key_changes_half_of_the_mask() -> None:
    # Of 131,072 bits half differ up to a standard error of 0.0014; 0.01 is seven of them.
    whole = mask(KEY, 4096)
    masks = {whole.tobytes()}
    for bit in range(256):
        key = bytearray(KEY)
        key[bit // 8] ^= 1 << bit % 8
        other = mask(bytes(key), 4096)
        assert abs(share_of_other_bits(whole, other) - 0.5) < 0.01, bit
        masks.add(other.tobytes())
    assert len(masks) == 257


def bytes_are_even(data: NDArray[np.uint8]) -> bool:
    counts = np.bincount(data, minlength=256)
    expected = data.size / 256
    statistic = float(((counts - expected) ** 2 / expected).sum())
    return float(chi2.ppf(FALSE_ALARM / 2, 255)) < statistic < float(chi2.isf(FALSE_ALARM / 2, 255))


@pytest.mark.parametrize("key", [KEY, bytes(32), b"\xff" * 32], ids=["counting", "zero", "ones"])
def test_all_bytes_of_the_stream_come_equally_often(key: bytes) -> None:
    data = mask(key, 2**17, ring=64).view(np.uint8)
    assert bytes_are_even(data)


def test_the_chi_square_test_catches_one_byte_in_five_hundred_and_too_even_a_stream() -> None:
    data = mask(KEY, 2**17, ring=64).view(np.uint8)
    biased = data.copy()
    biased[::500] = 0
    assert not bytes_are_even(biased)
    assert not bytes_are_even(np.arange(2**20, dtype=np.uint32).astype(np.uint8))


@rings
@deterministic
@given(data=st.data())
def test_adding_a_mask_and_taking_it_away_changes_nothing(ring: int, data: st.DataObject) -> None:
    words = data.draw(st.lists(st.integers(0, 2**ring - 1), max_size=40))
    key = data.draw(st.binary(min_size=32, max_size=32))
    vector = np.array(words, dtype=WORDS[ring])
    add_masks(vector, plus=[key])
    stream_words = mask(key, len(words), ring=ring).tolist()
    assert vector.tolist() == [(a + b) % 2**ring for a, b in zip(words, stream_words, strict=True)]
    add_masks(vector, minus=[key])
    assert vector.tolist() == words
    add_masks(vector, minus=[key])
    assert vector.tolist() == [(a - b) % 2**ring for a, b in zip(words, stream_words, strict=True)]


@rings
def test_words_wrap_around_at_the_size_of_the_ring(ring: int) -> None:
    top, first = 2**ring - 1, mask(KEY, 3, ring=ring).tolist()
    full, empty = np.full(3, top, dtype=WORDS[ring]), np.zeros(3, dtype=WORDS[ring])
    add_masks(full, plus=[KEY])
    add_masks(empty, minus=[KEY])
    assert full.tolist() == [word - 1 for word in first]
    assert empty.tolist() == [top + 1 - word for word in first]


@rings
def test_a_long_vector_is_masked_and_unmasked_over_chunks(ring: int) -> None:
    m = 2 * CHUNK_BYTES * 8 // ring + 5
    before = np.arange(m).astype(WORDS[ring])
    vector = before.copy()
    add_masks(vector, plus=[KEY])
    assert np.array_equal(vector, before + mask(KEY, m, ring=ring))
    add_masks(vector, minus=[KEY])
    assert np.array_equal(vector, before)


@rings
def test_masks_under_two_keys_commute(ring: int) -> None:
    first, second = mask(KEY, 1000, ring=ring), mask(bytes(32), 1000, ring=ring)
    add_masks(first, plus=[bytes(32)])
    add_masks(second, plus=[KEY])
    assert np.array_equal(first, second)
    assert np.array_equal(first, mask(KEY, 1000, ring=ring) + mask(bytes(32), 1000, ring=ring))


@rings
def test_many_masks_at_once_are_the_same_masks_one_after_another(ring: int) -> None:
    keys = [bytes([number]) * 32 for number in range(7)]
    m = CHUNK_BYTES * 8 // ring + 5
    together, apart = np.arange(m).astype(WORDS[ring]), np.arange(m).astype(WORDS[ring])
    add_masks(together, plus=keys[:4], minus=keys[4:])
    for key in keys[4:]:
        add_masks(apart, minus=[key])
    for key in keys[:4]:
        apart += mask(key, m, ring=ring)
    assert np.array_equal(together, apart)


@rings
def test_no_mask_or_one_both_added_and_taken_away_changes_nothing(ring: int) -> None:
    vector = np.arange(1000).astype(WORDS[ring])
    add_masks(vector)
    add_masks(vector, plus=[KEY, bytes(32)], minus=[bytes(32), KEY])
    assert np.array_equal(vector, np.arange(1000))
    add_masks(vector, plus=[KEY, KEY])
    assert np.array_equal(
        vector, np.arange(1000).astype(WORDS[ring]) + 2 * mask(KEY, 1000, ring=ring)
    )


@rings
def test_an_empty_vector_stays_empty(ring: int) -> None:
    vector = np.zeros(0, dtype=WORDS[ring])
    add_masks(vector, plus=[KEY], minus=[bytes(32)])
    assert vector.size == 0


@pytest.mark.parametrize(
    "dtype", ["<i2", "<i4", "<i8", "u1", "<f4", "<f8", "?", ">u2", ">u4", ">u8"]
)
def test_words_of_another_type_or_byte_order_are_refused_and_left_alone(dtype: str) -> None:
    vector = np.zeros(5, dtype=dtype)
    with pytest.raises(ValueError, match=r"^a mask is added to words of 16, 32, 64 or 128 bits"):
        add_masks(vector, plus=[KEY])
    assert not vector.any()


@pytest.mark.parametrize("length", [0, 16, 24, 31, 33, 64])
def test_a_key_that_is_not_32_bytes_is_refused_before_anything_is_masked(length: int) -> None:
    vector = np.zeros(5, dtype=WORDS[32])
    good, bad = [KEY], [KEY, b"\xab" * length]
    for plus, minus in ((bad, good), (good, bad)):
        with pytest.raises(
            ValueError, match=f"^a mask stream needs a key of 32 bytes, got {length}$"
        ):
            add_masks(vector, plus=plus, minus=minus)
    assert not vector.any()


@rings
@paths
def test_a_view_with_gaps_is_masked_where_it_lies(path: stream.Path, ring: int) -> None:
    whole = np.zeros(3 * (CHUNK_BYTES * 8 // ring + 5), dtype=WORDS[ring])
    add_masks(whole[1::3], plus=[KEY], path=path)
    assert np.array_equal(whole[1::3], mask(KEY, whole.size // 3, ring=ring))
    assert not whole[0::3].any()
    assert not whole[2::3].any()


def test_words_that_are_not_aligned_in_an_upload_are_masked_where_they_lie() -> None:
    packet = bytearray(3 + 4 * 10 + 5)
    add_masks(np.frombuffer(packet, dtype=WORDS[32], count=10, offset=3), plus=[KEY])
    assert packet == bytes(3) + mask(KEY, 10).tobytes() + bytes(5)


def test_words_that_cannot_be_written_are_refused() -> None:
    with pytest.raises(ValueError, match="read-only"):
        add_masks(np.frombuffer(bytes(16), dtype=WORDS[32]), plus=[KEY])


@pytest.fixture
def peak() -> Iterator[Callable[[Callable[[], object]], int]]:
    """Measures the peak of bytes that a call allocates."""

    def measured(call: Callable[[], object]) -> int:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        call()
        return tracemalloc.get_traced_memory()[1] - before

    tracemalloc.start()
    yield measured
    tracemalloc.stop()


def test_masking_four_million_words_with_twenty_keys_takes_less_than_two_megabytes(
    peak: Callable[[Callable[[], object]], int],
) -> None:
    vector = np.zeros(4_000_000, dtype=WORDS[32])
    keys = [bytes([number]) * 32 for number in range(20)]

    assert peak(lambda: add_masks(vector, plus=keys[:13], minus=keys[13:])) < 2_000_000
    assert peak(lambda: vector + vector) > 15_000_000  # the measure sees one whole mask
    last = np.zeros(
        4_000_000 - 3_997_696, dtype=WORDS[32]
    )  # 61 whole chunks, and what is behind them
    for number, key in enumerate(keys):
        buffer = bytearray(CHUNK_BYTES + 16)
        by_gcm(key)(61, last.nbytes, memoryview(buffer))
        tail = np.frombuffer(buffer, dtype=WORDS[32], count=len(last))
        last = last + tail if number < 13 else last - tail
    assert np.array_equal(vector[3_997_696:], last)
