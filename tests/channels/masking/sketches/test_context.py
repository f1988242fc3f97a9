"""The facts of a round that every client computes for itself."""

import hashlib
from typing import Any

import numpy as np
import pytest

from securefl.channels.masking.agreement import Sketching
from securefl.channels.masking.sketches.context import (
    Facts,
    digest_of_dealings,
    digest_of_uploads,
    fewest_answers,
    fewest_chosen,
    points_of,
    promise_of,
    sketching_of,
    statement_on,
)
from securefl.channels.masking.sketches.dealing import PAIR_SKETCHES, SKETCHES
from tests.channels.masking.parties import agreement
from tests.channels.masking.sketches.parties import sketch_terms

DIGESTS = {1: b"a" * 32, 4: b"b" * 32}
NONCE = b"n" * 32


@pytest.mark.parametrize(
    ("n", "corrupt", "liars", "min_cohort", "fewest"),
    [
        # 2 c + 1 clients, however many are invited or lie.
        (6, 1, 1, 3, 3),
        (20, 4, 4, 6, 9),
        (20, 4, 1, 6, 9),
        # The minimum cohort lies above.
        (20, 4, 4, 15, 15),
    ],
)
def test_a_sum_takes_this_many_chosen_clients(
    n: int, corrupt: int, liars: int, min_cohort: int, fewest: int
) -> None:
    terms = sketch_terms(n, corrupt=corrupt, liars=liars, min_cohort=min_cohort)
    assert fewest_chosen(terms) == fewest
    assert fewest_answers(terms) == 2 * corrupt + 2 * liars + 1


def test_the_set_up_leaves_as_many_as_the_distances_need_of_a_whole_cohort() -> None:
    assert sketch_terms(20, corrupt=4, liars=4).least_members() == 17
    assert sketch_terms(20, corrupt=4, liars=1).least_members() == 13  # the threshold of 20
    assert sketch_terms(17, corrupt=4, liars=4).least_members() == 17


def test_the_matrix_hangs_on_every_upload_on_the_nonce_on_the_round_and_on_the_terms() -> None:
    terms = sketch_terms(6)
    words = np.arange(3, dtype=np.uint32) + 2**31

    def sketch(**changes: Any) -> tuple[int, ...]:
        facts: dict[str, Any] = {
            "round": 2,
            "nonce": NONCE,
            "digests": DIGESTS,
            "terms": terms,
        } | changes
        return tuple(Facts(**facts, model_hash=b"h" * 32).matrix.sketch(words))

    sketches = [
        sketch(),
        sketch(digests={**DIGESTS, 4: b"c" * 32}),
        sketch(digests={1: DIGESTS[1]}),
        sketch(digests={1: DIGESTS[1], 5: DIGESTS[4]}),
        sketch(nonce=b"m" * 32),
        sketch(round=3),
        sketch(terms=sketch_terms(6, session=bytes(16))),
        sketch(terms=sketch_terms(6, liars=2)),
    ]
    assert len(set(sketches)) == len(sketches)
    # Tables have one order, whoever builds them.
    assert sketch(digests=dict(reversed(DIGESTS.items()))) == sketches[0]


def test_in_a_simulation_that_can_be_repeated_the_matrix_depends_on_seed_and_round_alone() -> None:
    words = np.arange(3, dtype=np.uint32) + 2**31
    terms = sketch_terms(6, sketching=Sketching(16, 1, b"s"))
    other = sketch_terms(6, sketching=Sketching(16, 1, b"t"), session=bytes(16))

    def sketch(terms: Any, round: int, nonce: bytes, digests: Any) -> tuple[int, ...]:
        return tuple(Facts(terms, round, nonce, b"h" * 32, digests).matrix.sketch(words))

    first = sketch(terms, 2, NONCE, DIGESTS)
    assert sketch(terms, 2, bytes(32), {}) == first
    assert sketch(terms, 3, NONCE, DIGESTS) != first
    assert sketch(other, 2, NONCE, DIGESTS) != first


def test_contexts_differ_by_everything_that_dealers_could_be_told_differently() -> None:
    def context(label: bytes = SKETCHES, **changes: Any) -> bytes:
        facts: dict[str, Any] = {
            "terms": sketch_terms(6),
            "round": 2,
            "nonce": NONCE,
            "model_hash": b"h" * 32,
            "digests": DIGESTS,
        }
        return Facts(**facts | changes).context(label)

    contexts = [
        context(),
        context(label=PAIR_SKETCHES),
        context(terms=sketch_terms(6, session=bytes(16))),
        context(round=3),
        context(nonce=b"m" * 32),
        context(model_hash=b"i" * 32),
        context(digests={**DIGESTS, 4: b"c" * 32}),
    ]
    assert len(set(contexts)) == len(contexts)


def test_digests_have_a_purpose_each() -> None:
    digests = {
        digest_of_uploads(DIGESTS),
        digest_of_dealings(DIGESTS),
        statement_on(b"a" * 32, b"b" * 32),
        statement_on(b"b" * 32, b"a" * 32),
        statement_on(b"a" * 32, b"c" * 32),
    }
    assert len(digests) == 5
    assert promise_of(NONCE) == hashlib.sha256(NONCE).digest()


def test_points_are_places_in_the_block_from_one() -> None:
    assert points_of((3, 5, 8, 9), (5, 9)) == {5: 2, 9: 4}


def test_terms_without_sketches_choose_nobody() -> None:
    with pytest.raises(ValueError, match="choose no clients"):
        sketching_of(agreement(5))
