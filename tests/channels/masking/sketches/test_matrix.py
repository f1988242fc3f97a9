"""The matrix of sketches: typed vectors, an oracle, exactness, statistics, missed changes."""

import hashlib
import itertools
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chi2

from securefl.channels.masking.sketches import matrix
from securefl.channels.masking.sketches.matrix import Matrix, centred, digest_of_words, seed_of
from securefl.channels.masking.stream import add_masks

deterministic = settings(derandomize=True, max_examples=30, deadline=None, database=None)
# Share of seeds for which a right matrix fails a chi-square test; the seeds here are fixed.
FALSE_ALARM = 1e-6
SEED = bytes(range(32))
PARTS: dict[str, Any] = {
    "terms": bytes(range(32)),
    "session": bytes(range(16)),
    "round": 7,
    "nonce": bytes(range(32, 64)),
    "uploads": bytes(range(64, 96)),
}
# Of size 18, so that a column has five bytes and the last byte two unused entries.
COLUMNS = {
    0: [-1, 0, 0, 0, 0, 0, 1, -1, 0, 0, 0, 0, -1, 1, 0, -1, -1, -1],
    1: [1, -1, 0, 1, 0, 0, 1, -1, 0, 0, 1, 0, 1, -1, -1, -1, 0, 0],
    999: [0, 0, -1, -1, 1, 0, 0, -1, 0, 1, 1, 1, 0, 1, -1, -1, 0, 1],
}
# Of size 16, of the words j^2 * 0x9E3779B1 + j modulo 2^32 for j below 1000.
SKETCH = (
    "4c5b9d7c 6dfb7ece bf5ef14a f7b37872 5f1d44e0 242e5c90 9bdab262 adfe1cbe "
    "4cd957f6 f7527edc ba562490 3dc68948 5d5ee2ee c50eacde f521f892 fef1d8c4"
)
TOP = 2**31
LARGEST = 2**32 - 1


def written_out(seed: bytes, size: int, d: int) -> NDArray[np.int64]:
    """Returns the matrix (size, d), each counter block encrypted by itself, bit by bit."""
    per_column = -(-size // 4)
    blocks = -(-d * per_column // 16)
    counters = b"".join(block.to_bytes(16, "big") for block in range(blocks))
    stream = Cipher(algorithms.AES(seed), modes.ECB()).encryptor().update(counters)  # noqa: S305
    entries = np.zeros((size, d), dtype=np.int64)
    for i in range(size):
        of_row = np.frombuffer(stream, dtype=np.uint8)[i // 4 : d * per_column : per_column]
        first = of_row >> 2 * (i % 4) & 1
        second = of_row >> 2 * (i % 4) + 1 & 1
        entries[i] = first.astype(np.int64) - second
    return entries


def words_of(values: object) -> NDArray[np.uint32]:
    return np.array(values, dtype=np.uint32)


def random_words(number: int, d: int) -> NDArray[np.uint32]:
    return np.random.default_rng(number).integers(0, 2**32, d, dtype=np.uint32)


def mask(key: bytes, d: int) -> NDArray[np.uint32]:
    vector = np.zeros(d, dtype=np.uint32)
    add_masks(vector, plus=[key])
    return vector


def unit_words(d: int) -> list[NDArray[np.uint32]]:
    return list(np.eye(d, dtype=np.uint32))


def entries_of(seed: bytes, *, size: int, d: int) -> NDArray[np.int64]:
    """Returns the matrix (size, d) as its sketches of the unit vectors show it."""
    columns = Matrix(seed, size=size, d=d).sketches(unit_words(d))
    return columns.view(np.int32).T.astype(np.int64)


def nonce(number: int) -> bytes:
    return number.to_bytes(32, "big")


# ---- the definition ----


def test_the_typed_columns_are_those_of_the_seed() -> None:
    columns = entries_of(SEED, size=18, d=1000).T
    assert {j: columns[j].tolist() for j in COLUMNS} == COLUMNS


def test_the_typed_sketch_is_that_of_the_typed_words() -> None:
    words = words_of([(j * j * 0x9E3779B1 + j) % 2**32 for j in range(1000)])
    sketch = Matrix(SEED, size=16, d=1000).sketch(words)
    assert " ".join(f"{coordinate:08x}" for coordinate in sketch) == SKETCH
    assert sketch.dtype == np.dtype("<u4")


@pytest.mark.parametrize("size", [16, 17, 18, 19, 64, 1023, 1024])
@pytest.mark.parametrize("d", [1, 2, 5, 63])
def test_sketches_equal_the_matrix_written_out(size: int, d: int) -> None:
    entries = written_out(SEED, size, d)
    a = Matrix(SEED, size=size, d=d)
    vectors = [random_words(d, d), *(np.full(d, word) for word in (0, 1, TOP, LARGEST))]
    for words in vectors:
        expected = (entries @ words.astype(np.int64)).astype(np.uint32)
        assert a.sketch(words.astype(np.uint32)).tolist() == expected.tolist()


@pytest.mark.parametrize("beyond", [(1024, -1), (1024, 0), (1024, 1), (65_536, 0), (131_072, 3)])
def test_blocks_and_chunks_of_columns_join_without_a_gap(beyond: tuple[int, int]) -> None:
    border, more = beyond
    d = border + more
    entries = written_out(SEED, 64, d)
    for words in (random_words(d, d), words_of(np.full(d, TOP)), words_of(np.full(d, TOP - 1))):
        expected = (entries @ words.astype(np.int64)).astype(np.uint32)
        assert Matrix(SEED, size=64, d=d).sketch(words).tolist() == expected.tolist()


def test_a_matrix_with_fewer_columns_is_the_beginning_of_one_with_more() -> None:
    long = entries_of(SEED, size=17, d=40)
    assert np.array_equal(entries_of(SEED, size=17, d=13), long[:, :13])


# ---- exactness ----


@pytest.mark.parametrize("multiplications", [1, 5000, 262_144, 4_194_304])
def test_the_order_of_additions_does_not_change_a_sketch(
    multiplications: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another number of threads changes the order, too.
    updates = [random_words(number, 9000) for number in range(3)]
    expected = Matrix(SEED, size=21, d=9000).sketches(updates)
    monkeypatch.setattr(matrix, "_ENTRIES_PER_BLOCK", multiplications)
    monkeypatch.setattr(matrix, "_MULTIPLICATIONS", 3 * multiplications)
    assert np.array_equal(Matrix(SEED, size=21, d=9000).sketches(updates), expected)


def test_no_product_is_so_large_that_it_is_spread_over_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shapes = []

    class Watched(matrix._Columns):
        def take(self, count: int) -> NDArray[np.float64]:
            columns = super().take(count)
            shapes.append(columns.shape)
            return columns

    monkeypatch.setattr(matrix, "_Columns", Watched)
    Matrix(SEED, size=64, d=5000).sketches_of_masks([nonce(number) for number in range(20)])
    columns, size = max(shapes)
    assert 250_000 < 20 * columns * size <= 4 * 65_536
    assert sum(count for count, _ in shapes) == 5000


@pytest.mark.parametrize("word", [TOP, TOP - 1, LARGEST])
def test_the_largest_sums_are_exact(word: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all entries +1, no partial sum cancels."""
    monkeypatch.setattr(matrix, "_ENTRIES", np.ones((256, 4)))
    # A whole chunk in one block.
    monkeypatch.setattr(matrix, "_ENTRIES_PER_BLOCK", 16 * 65_536)
    monkeypatch.setattr(matrix, "_MULTIPLICATIONS", 16 * 65_536)
    d = 200_001
    sketch = Matrix(SEED, size=16, d=d).sketch(words_of(np.full(d, word)))
    assert sketch.tolist() == 16 * [d * word % 2**32]


@deterministic
@given(st.data())
def test_sketches_are_linear_modulo_2_to_the_32(data: st.DataObject) -> None:
    size = data.draw(st.integers(16, 40))
    d = data.draw(st.integers(1, 60))
    row = st.lists(st.integers(0, LARGEST), min_size=d, max_size=d)
    one, other = (words_of(data.draw(row)) for _ in range(2))
    factor = np.uint32(data.draw(st.integers(0, LARGEST)))
    a = Matrix(nonce(data.draw(st.integers(0, 99))), size=size, d=d)
    assert np.array_equal(a.sketch(one + factor * other), a.sketch(one) + factor * a.sketch(other))


def test_many_sketches_at_once_are_those_one_by_one() -> None:
    d = 66_000  # more than a chunk
    a = Matrix(SEED, size=30, d=d)
    updates = [random_words(number, d) for number in range(3)]
    assert np.array_equal(a.sketches(updates), [a.sketch(update) for update in updates])
    assert a.sketches([]).shape == (0, 30)


@pytest.mark.parametrize("d", [1, 65_535, 65_536, 65_537, 140_000])
def test_sketches_of_masks_are_those_of_their_words(d: int) -> None:
    a = Matrix(SEED, size=18, d=d)
    keys = [nonce(number) for number in range(3)]
    assert np.array_equal(a.sketches_of_masks(keys), a.sketches([mask(key, d) for key in keys]))


def test_no_masks_have_no_sketches() -> None:
    assert Matrix(SEED, size=18, d=5).sketches_of_masks([]).shape == (0, 18)


def test_masks_of_a_pair_cancel_in_sketches_as_in_words() -> None:
    d = 1000
    a = Matrix(SEED, size=64, d=d)
    update = random_words(0, d)
    masked = update.copy()
    add_masks(masked, plus=[nonce(1)], minus=[nonce(2)])
    plus, minus = a.sketches_of_masks([nonce(1), nonce(2)])
    assert np.array_equal(a.sketch(masked) - plus + minus, a.sketch(update))


def test_words_that_are_not_contiguous_have_the_same_sketch() -> None:
    words = random_words(0, 200)
    a = Matrix(SEED, size=16, d=100)
    assert np.array_equal(a.sketch(words[::2]), a.sketch(words[::2].copy()))


def test_centred_coordinates_lie_from_minus_2_to_the_31_to_below_2_to_the_31() -> None:
    assert centred(words_of([0, 1, TOP - 1, TOP, LARGEST])) == [0, 1, TOP - 1, -TOP, -1]


# ---- memory ----


def peak_bytes(call: Callable[[], object]) -> int:
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    call()
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    return peak


def test_neither_the_matrix_nor_a_mask_is_held_as_a_whole() -> None:
    # As doubles the matrix would take 512 MB, as bits 16 MB; the masks would take 80 MB.
    d = 1_000_000
    a = Matrix(SEED, size=64, d=d)
    words = random_words(0, d)
    keys = [nonce(number) for number in range(20)]
    assert peak_bytes(lambda: a.sketch(words)) < 2_000_000
    assert peak_bytes(lambda: a.sketches_of_masks(keys)) < 7_000_000
    assert peak_bytes(lambda: words + words) > 3_900_000  # the measure sees an array


# ---- the distribution ----


def frequencies(entries: NDArray[np.int64]) -> float:
    """Returns the chi-square statistic, 2 degrees of freedom, of the counts of -1, 0 and +1."""
    expected = entries.size * np.array([0.25, 0.5, 0.25])
    observed = np.bincount((entries + 1).ravel(), minlength=3)
    return float(((observed - expected) ** 2 / expected).sum())


def dependence(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """Returns the chi-square statistic, 8 degrees of freedom, of two independent series."""
    share = np.array([0.25, 0.5, 0.25])
    expected = one.size * np.outer(share, share).ravel()
    observed = np.bincount((3 * (one + 1) + other + 1).ravel(), minlength=9)
    return float(((observed - expected) ** 2 / expected).sum())


def most_dependent_pair(series: NDArray[np.int64]) -> float:
    """Returns the largest statistic of all pairs of series (n, length)."""
    return max(dependence(one, other) for one, other in itertools.combinations(series, 2))


def test_entries_are_0_half_of_the_time_and_each_sign_a_quarter() -> None:
    limit = chi2.isf(FALSE_ALARM, 2)
    entries = entries_of(nonce(28), size=1024, d=300)
    assert frequencies(entries) < limit

    # A matrix that lost every twentieth -1 is caught: the statistic's mean is about 290 then.
    wrong = entries.copy()
    wrong[::20][wrong[::20] == -1] = 0
    assert frequencies(wrong) > limit


def test_rows_are_independent_and_so_are_columns() -> None:
    entries = entries_of(nonce(28), size=24, d=1500)
    pairs = 24 * 23 // 2
    limit = chi2.isf(FALSE_ALARM / pairs, 8)
    assert most_dependent_pair(entries) < limit
    one_column_later = [dependence(entries[:, :-lag], entries[:, lag:]) for lag in range(1, 20)]
    assert max(one_column_later) < chi2.isf(FALSE_ALARM / 19, 8)

    # Rows that share one of their two bits, a slip in the reading of bits, are caught.
    bits = np.random.default_rng(0).integers(0, 2, (25, 1500))
    assert most_dependent_pair(bits[1:] - bits[:-1]) > limit


def test_the_squared_norm_of_a_sketch_is_size_halves_of_the_updates_on_average() -> None:
    d, seeds = 50, 400
    update = np.arange(-25, 25) * 1000
    squares = [
        sum(x * x for x in centred(Matrix(nonce(s), size=16, d=d).sketch(words_of(update % 2**32))))
        for s in range(seeds)
    ]
    ratios = np.array(squares) / (update @ update * 8)
    error = ratios.std(ddof=1) / seeds**0.5
    assert error < 0.02
    assert abs(ratios.mean() - 1) < 4.9 * error  # exceeded with probability 1e-6


def test_another_nonce_gives_another_matrix() -> None:
    one, other = (entries_of(seed_of(**PARTS | {"nonce": nonce(i)}), size=64, d=50) for i in (1, 2))
    # Two entries agree with probability 1/4 + 1/16 + 1/16.
    assert abs((one == other).mean() - 0.375) < 0.05


# ---- changes that a sketch must see ----


def test_one_unit_in_one_coordinate_is_seen_in_all_of_1000_rounds() -> None:
    d = 500
    update = random_words(0, d)
    places = np.random.default_rng(1).integers(0, d, 1000)
    seen = 0
    for number, place in enumerate(places):
        changed = update.copy()
        changed[place] += np.uint32(1)
        one, other = Matrix(nonce(number), size=64, d=d).sketches([update, changed])
        seen += not np.array_equal(one, other)
    assert seen == 1000


def rounds_that_see_half_turns(rounds: int) -> int:
    """Returns in how many rounds 2^31, added to two coordinates, changes a sketch of 64."""
    d = 500
    update = random_words(0, d)
    generator = np.random.default_rng(2)
    seen = 0
    for number in range(rounds):
        changed = update.copy()
        changed[generator.choice(d, 2, replace=False)] += np.uint32(TOP)
        one, other = Matrix(nonce(number), size=64, d=d).sketches([update, changed])
        seen += not np.array_equal(one, other)
    return seen


def test_half_a_turn_in_two_coordinates_is_seen_in_all_of_1000_rounds() -> None:
    assert rounds_that_see_half_turns(1000) == 1000


def test_a_matrix_of_signs_alone_never_sees_half_a_turn_in_two_coordinates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The reason for zeros among the entries."""
    signs = np.where(matrix._ENTRIES == 0, 1.0, matrix._ENTRIES)
    monkeypatch.setattr(matrix, "_ENTRIES", signs)
    assert rounds_that_see_half_turns(100) == 0


def test_a_row_misses_a_change_half_of_the_time_at_most() -> None:
    # So that the goal above is a matter of 2^-64 and not of luck: 16 rows a matrix, 500 matrices.
    changes = {"unit": {3: 1}, "half a turn": {3: TOP}, "two": {3: TOP, 40: TOP}, "wrap": {0: 7}}
    missed = {name: 0 for name in changes}
    for number in range(500):
        a = Matrix(nonce(number), size=16, d=50)
        for name, change in changes.items():
            words = np.zeros(50, dtype=np.uint32)
            words[list(change)] = list(change.values())
            missed[name] += int((a.sketch(words) == 0).sum())
    # A standard deviation is 0.0056.
    assert all(abs(count / 8000 - 0.5) < 0.03 for count in missed.values()), missed


def poison_in_the_kernel(
    entries: NDArray[np.int64], update: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Returns mu + P(-10 mu), where P projects to the kernel of the matrix (k, d)."""
    a = entries.astype(np.float64)
    target = -10.0 * update
    in_rows = a.T @ np.linalg.solve(a @ a.T, a @ target)
    poison: NDArray[np.int64] = np.rint(update + target - in_rows).astype(np.int64)
    return poison


def test_who_knows_the_matrix_before_the_upload_poisons_unseen() -> None:
    """The reason for a nonce that is shown after the uploads."""
    d, size = 600, 32
    update = np.random.default_rng(3).integers(-(2**20), 2**20, d)
    known = seed_of(**PARTS | {"nonce": nonce(0)})
    poison = poison_in_the_kernel(written_out(known, size, d), update)

    def distance(seed: bytes) -> float:
        """Returns the distance of the two sketches, relative to the sketch of the update."""
        one, other = (
            np.array(centred(Matrix(seed, size=size, d=d).sketch(words_of(vector % 2**32))))
            for vector in (update, poison)
        )
        return float(np.linalg.norm(one - other) / np.linalg.norm(one))

    assert poison @ update < -8 * (update @ update)  # it points backwards, nine times as far
    assert distance(known) < 1e-5  # equal but for rounding to integers
    assert distance(seed_of(**PARTS | {"nonce": nonce(1)})) > 5


# ---- seed and digest ----


def test_the_seed_is_the_typed_hash_of_its_parts() -> None:
    assert (
        seed_of(**PARTS).hex() == "04e3dab2e78afc43bf0544a975a3a68187f1948b4523ff6747faaef4ef3eb87c"
    )


def test_every_part_changes_the_seed() -> None:
    seeds = {seed_of(**PARTS), seed_of(**PARTS | {"round": 8})}
    for name in ("terms", "session", "nonce", "uploads"):
        seeds.add(seed_of(**PARTS | {name: bytes(len(PARTS[name]))}))
    assert len(seeds) == 1 + len(PARTS)


@pytest.mark.parametrize("part", ["terms", "session", "nonce", "uploads"])
@pytest.mark.parametrize("more", [-1, 1])
def test_a_part_of_another_length_is_refused(part: str, more: int) -> None:
    with pytest.raises(ValueError, match="a seed needs terms, session, nonce and uploads of 32"):
        seed_of(**PARTS | {part: bytes(len(PARTS[part]) + more)})


def test_the_digest_of_words_is_the_typed_hash() -> None:
    words = words_of([1, LARGEST, TOP])
    spread = words_of([1, 0, LARGEST, 0, TOP])[::2]
    expected = "252902cd4876b35b71020432d13c736a1ebedcfbe99b7b7b29acb148b59df9a9"
    assert digest_of_words(words).hex() == digest_of_words(spread).hex() == expected
    # As anybody would compute it from the bytes of an upload.
    content = bytes.fromhex("01000000ffffffff00000080")
    assert hashlib.sha256(b"securefl masking 1, uploaded words" + content).hexdigest() == expected


# ---- refusals ----


@pytest.mark.parametrize("size", [0, 15, 1025])
def test_a_size_out_of_range_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"16 to 1024 coordinates, got size={size}"):
        Matrix(SEED, size=size, d=5)


def test_a_matrix_without_columns_or_with_another_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="needs d >= 1 columns, got d=0"):
        Matrix(SEED, size=16, d=0)
    with pytest.raises(ValueError, match="needs a seed of 32 bytes, got 31"):
        Matrix(SEED[:31], size=16, d=5)


@pytest.mark.parametrize("d", [0, 4, 6])
def test_an_update_of_another_length_is_refused(d: int) -> None:
    with pytest.raises(ValueError, match=f"has 5 columns, the update {d} words"):
        Matrix(SEED, size=16, d=5).sketch(np.zeros(d, dtype=np.uint32))


@pytest.mark.parametrize(
    "words",
    [np.zeros(5), np.zeros(5, np.int32), np.zeros(5, np.uint64), np.zeros((1, 5), np.uint32)],
    ids=["float64", "int32", "uint64", "two dimensions"],
)
def test_words_of_another_type_are_refused(words: NDArray[Any]) -> None:
    for use in (Matrix(SEED, size=16, d=5).sketch, digest_of_words, centred):
        with pytest.raises(ValueError, match="needs words of 32 bits in one dimension"):
            use(words)


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="a mask stream needs a key of 32 bytes, got 31"):
        Matrix(SEED, size=16, d=5).sketches_of_masks([SEED, SEED[:31]])
