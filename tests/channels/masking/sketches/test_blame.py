"""The client's side of blame: sketches of pair masks, and the shares that holders open."""

import random

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from securefl.channels.masking.sketches.blame import (
    largest_sum,
    opened_shares,
    pair_sketches,
    partners,
)
from securefl.channels.masking.sketches.conflicts import MISFIT
from securefl.channels.masking.sketches.dealing import (
    PAIR_SKETCHES,
    SKETCHES,
    check_dealing,
    context_of,
    deal,
)
from securefl.channels.masking.sketches.field import P, expanded
from securefl.channels.masking.sketches.judging import Blame, expected_residue, judged
from securefl.channels.masking.sketches.matrix import Matrix
from securefl.channels.masking.stream import add_masks, by_ctr, by_gcm
from tests.channels.masking.sketches.blaming import Lies, Round, signed

K, D = 16, 40
KEYS = {2: b"a" * 32, 5: b"b" * 32, 9: b"c" * 32}


def matrix() -> Matrix:
    return Matrix(b"m" * 32, size=K, d=D)


def carries_by_hand(key: bytes) -> list[int]:
    """Returns the multiples of 2^32 from AES-256-CTR, the counter of chunk 2^64 written out."""
    counter = (2**64).to_bytes(12, "big") + bytes([0, 0, 0, 2])
    stream = Cipher(algorithms.AES256(key), modes.CTR(counter)).encryptor().update(bytes(8 * K))
    words = [int.from_bytes(stream[8 * i : 8 * i + 8], "little") for i in range(K)]
    return [word - 2**63 for word in words]


def test_a_pair_sketch_is_that_of_the_mask_plus_the_random_multiples_of_both_ends() -> None:
    values = pair_sketches(matrix(), KEYS, size=K)
    expected = []
    for key in KEYS.values():
        mask = np.zeros(D, dtype="<u4")
        add_masks(mask, plus=[key])
        low = signed(matrix().sketch(mask))
        high = carries_by_hand(key)
        expected += [a + 2**32 * b for a, b in zip(low, high, strict=True)]
    assert values == expected
    assert max(map(abs, values)) <= 2**31 + 2**95


def test_pair_sketches_come_in_ascending_order_of_partners() -> None:
    backwards = dict(reversed(KEYS.items()))
    assert pair_sketches(matrix(), backwards, size=K) == pair_sketches(matrix(), KEYS, size=K)
    assert pair_sketches(matrix(), {}, size=K) == []
    assert partners(5, (9, 2, 5)) == (2, 9)


def test_random_multiples_are_the_same_for_both_ways_to_make_a_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = []
    for path in (by_ctr, by_gcm):
        monkeypatch.setattr("securefl.channels.masking.sketches.blame.fastest", lambda p=path: p)
        found.append(pair_sketches(matrix(), KEYS, size=K))
    assert found[0] == found[1]


def test_opened_shares_by_hand() -> None:
    # Three clients, sketches of two coordinates; shares of 0 at this holder but for a few.
    challenge = b"r" * 32
    rho = expanded(challenge, 2)
    sketches = {1: [100, 200], 2: [300, 400], 3: [500, 600]}
    pairs = {
        1: [1, 2, 3, 4],  # towards 2, towards 3
        2: [10, 20, 30, 40],  # towards 1, towards 3
        3: [5, 6, 7, 8],  # towards 1, towards 2
    }
    answer = opened_shares(sketches, pairs, challenge=challenge)
    assert answer.rejected == frozenset()
    assert answer.sums == {
        1: [100 + 1 + 3, 200 + 2 + 4],
        2: [300 - 10 + 30, 400 - 20 + 40],
        3: [500 - 5 - 7, 600 - 6 - 8],
    }
    assert answer.pairs == {
        (1, 2): (rho[0] * (1 - 10) + rho[1] * (2 - 20)) % P,
        (1, 3): (rho[0] * (3 - 5) + rho[1] * (4 - 6)) % P,
        (2, 3): (rho[0] * (30 - 7) + rho[1] * (40 - 8)) % P,
    }


def test_nothing_is_opened_of_a_dealing_that_is_rejected_or_missing() -> None:
    sketches = {1: [1], 2: [2], 3: [3], 4: [4]}
    pairs = {1: [1, 1, 1], 2: None, 4: [4, 4, 4]}
    answer = opened_shares(sketches, pairs, challenge=b"r" * 32)
    assert answer.rejected == {2}
    assert set(answer.sums) == {1, 4}
    assert set(answer.pairs) == {(1, 4)}


def test_a_residue_is_the_sketch_of_the_update_with_the_masks_inside_s() -> None:
    played = Round(range(6), (1, 2, 4), degree=1, rng=random.Random(0))
    residues = played.residues()
    before = played.uploads[2].copy()
    words = played.words[2].copy()
    add_masks(words, plus=[played.key(2, 4)], minus=[played.key(2, 1)])
    assert residues[2].tolist() == played.matrix.sketch(words).tolist()
    assert played.uploads[2].tolist() == before.tolist()


def test_an_honest_b_is_its_residue_modulo_the_ring_and_in_range() -> None:
    played = Round(range(6), (1, 2, 4), degree=1, rng=random.Random(1))
    answers = played.answers(Lies(), range(6))
    for client, residue in played.residues().items():
        opened = played.opened(answers, client)
        assert [value % 2**32 for value in opened] == residue.tolist()
        assert max(map(abs, opened)) <= largest_sum(2)


def test_the_range_of_a_sum_is_reached_and_sums_of_64_clients_do_not_wrap() -> None:
    greatest = 2**31 + 3 * (2**31 + 2**95)
    assert largest_sum(3) == greatest
    # Nor do they reach the fraction with the largest odd denominator that divides a weight.
    assert 64 * largest_sum(63) < P // 2**20


@pytest.mark.parametrize("hides", [False, True])
def test_blame_works_with_dealings_that_are_proven_and_a_matrix_from_aes(hides: bool) -> None:
    """Client 3 dealt another sketch, in full size; every holder checks every dealing."""
    n, degree, f = 7, 1, 2
    chosen = (0, 2, 3, 5)
    rng = random.Random(5)
    keys = {(i, j): rng.randbytes(32) for i in range(n) for j in range(i + 1, n)}
    own_keys = {i: rng.randbytes(32) for i in chosen}
    points = {client: client + 1 for client in range(n)}
    a = matrix()
    places = {"session": bytes(16), "round": 0, "uploads": bytes(32)}
    of_sketch = context_of(SKETCHES, **places)  # type: ignore[arg-type]
    of_pairs = context_of(PAIR_SKETCHES, **places)  # type: ignore[arg-type]
    residues, dealings = {}, {}
    for i in chosen:
        words = np.array([rng.randrange(2**32) for _ in range(D)], dtype="<u4")
        upload = words.copy()
        higher = [keys[i, j] for j in range(i + 1, n)]
        add_masks(upload, plus=[own_keys[i], *higher], minus=[keys[j, i] for j in range(i)])
        outside = {j: keys[min(i, j), max(i, j)] for j in range(n) if j not in chosen}
        residues[i] = expected_residue(a, upload, client=i, self_mask=own_keys[i], outside=outside)
        sketch = signed(a.sketch(words))
        pairs = pair_sketches(
            a, {j: keys[min(i, j), max(i, j)] for j in partners(i, chosen)}, size=K
        )
        if i == 3:
            sketch[7] += 5
            if hides:
                pairs[7] += 5  # towards client 0, whose mask client 3 subtracts
        deals = [(sketch, of_sketch), (pairs, of_pairs)]
        dealings[i] = [
            deal(values, zeros=0, degree=degree, points=points, context=context, sender=i)
            for values, context in deals
        ]
    answers = {}
    for holder, point in points.items():
        held: list[dict[int, list[int]]] = [{}, {}]
        for i, both in dealings.items():
            for kind, (dealing, context) in enumerate(
                zip(both, (of_sketch, of_pairs), strict=True)
            ):
                shares = check_dealing(
                    dealing.shares[holder],
                    holder=holder,
                    point=point,
                    sender=i,
                    context=context,
                    table=dealing.table,
                    proof=dealing.proof,
                    values=K * (len(chosen) - 1) if kind else K,
                    zeros=0,
                    degree=degree,
                )
                assert shares is not None
                held[kind][i] = shares.values
        answers[holder] = opened_shares(held[0], held[1], challenge=b"x" * 32)
    blame = judged(answers, residues, points=points, dealt=chosen, degree=degree, f=f)
    assert blame == (Blame({}, ((0, 3),)) if hides else Blame({3: MISFIT}, ()))
