"""The server's choice, on shares of squared distances that the test computes in the clear."""

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from securefl.channels.masking.sketches.choosing import (
    Compared,
    Suspects,
    chosen_of,
    compared,
    lacking_shares,
    summed_sketch,
)
from securefl.channels.masking.sketches.conflicts import (
    CONTRADICTED,
    LACKING,
    MISFIT,
    WRONG_SHARES,
)
from securefl.channels.masking.sketches.field import P, random_elements, value_at
from securefl.channels.protocol import Selection
from securefl.errors import RoundAbandoned
from tests.channels.masking.sketches.parties import everyone, sketch_terms

N = 9
TERMS = sketch_terms(N, corrupt=2, liars=2)
BLOCK = tuple(range(N))
UNIT = 2 * TERMS.code.step**2 / 16
NOBODY = Suspects(2)


def shares_of(
    squares: Mapping[tuple[int, int], int], holders: Iterable[int] = BLOCK, *, degree: int = 4
) -> dict[int, dict[tuple[int, int], int]]:
    """Returns holder -> pair -> share, on polynomials of a degree."""
    polynomials = {pair: [square, *random_elements(degree)] for pair, square in squares.items()}
    return {
        holder: {pair: value_at(c, holder + 1) for pair, c in polynomials.items()}
        for holder in holders
    }


def squares(clients: Iterable[int] = BLOCK) -> dict[tuple[int, int], int]:
    return {(i, j): 1000 * (j - i) ** 2 for i, j in combinations(clients, 2)}


def result(
    answers: Mapping[int, Mapping[tuple[int, int], int]],
    *,
    dealers: tuple[int, ...] = BLOCK,
    suspects: Suspects = NOBODY,
    rejections: Iterable[tuple[int, int]] = (),
) -> Compared:
    return compared(
        answers,
        dealers=dealers,
        suspects=suspects,
        rejections=rejections,
        block=BLOCK,
        terms=TERMS,
    )


def test_all_dealers_are_compared_and_distances_are_exact() -> None:
    found = result(shares_of(squares()))
    assert found.clients == BLOCK
    assert found.suspects == NOBODY
    for i, j in combinations(BLOCK, 2):
        assert found.squared[i, j] == found.squared[j, i] == 1000 * (j - i) ** 2 * UNIT


def test_two_of_nine_holders_may_answer_anything() -> None:
    answers = shares_of(squares())
    for holder in (3, 8):
        answers[holder] = dict.fromkeys(answers[holder], 7)
    assert np.array_equal(result(answers).squared, result(shares_of(squares())).squared)


def test_clients_that_did_not_deal_are_holders_but_not_compared() -> None:
    dealers = (0, 1, 2, 5, 6, 7, 8)
    found = result(shares_of(squares(dealers)), dealers=dealers)
    assert found.clients == dealers
    assert found.squared.shape == (7, 7)


def test_both_ends_of_a_rejection_are_left_out_and_their_answers_do_not_count() -> None:
    answers = shares_of(squares())
    answers[2] = dict.fromkeys(answers[2], 7)
    answers[6] = dict.fromkeys(answers[6], 7)
    # One of both lied, so that one liar more is left, and seven answers tell which.
    answers[0] = dict.fromkeys(answers[0], 7)
    found = result(answers, rejections=[(2, 6)])
    assert found.clients == (0, 1, 3, 4, 5, 7, 8)
    assert found.suspects == Suspects(1, {}, ((2, 6),))


def test_too_many_rejections_name_a_client_and_free_all_others() -> None:
    found = result(shares_of(squares()), rejections=[(2, holder) for holder in (0, 4, 5)])
    assert found.suspects == Suspects(1, {2: CONTRADICTED}, ())
    assert found.clients == (0, 1, 3, 4, 5, 6, 7, 8)


def test_a_distance_that_no_sketches_have_is_an_edge() -> None:
    too_far = (16 << 64) + 1
    found = result(shares_of(squares() | {(1, 4): too_far}))
    assert found.suspects == Suspects(1, {}, ((1, 4),))
    assert found.clients == (0, 2, 3, 5, 6, 7, 8)
    found = result(shares_of(squares() | {(1, 4): 16 << 64}))
    assert found.clients == BLOCK


@pytest.mark.parametrize("square", [-1, P // 2])
def test_who_dealt_no_sketch_is_far_from_everybody_and_named(square: int) -> None:
    far = {pair: square % P for pair in squares() if 3 in pair}
    found = result(shares_of(squares() | far))
    assert found.suspects == Suspects(1, {3: CONTRADICTED}, ())


def test_distances_of_clients_that_are_in_doubt_already_name_nobody_else() -> None:
    far = {(3, 5): P - 1, (3, 6): P - 1, (4, 7): P - 1}
    found = result(shares_of(squares() | far), rejections=[(3, 0)])
    assert found.suspects == Suspects(0, {}, ((0, 3), (4, 7)))
    assert found.clients == (1, 2, 5, 6, 8)


def test_suspects_of_earlier_rounds_are_not_compared_and_their_answers_do_not_count() -> None:
    answers = shares_of(squares())
    for holder in (0, 1, 5):
        answers[holder] = dict.fromkeys(answers[holder], 7)
    earlier = Suspects(0, {5: MISFIT}, ((0, 1),))
    found = result(answers, suspects=earlier, dealers=(0, 1, 2, 3, 4, 6, 7, 8))
    assert found.clients == (2, 3, 4, 6, 7, 8)
    assert found.suspects == earlier
    # An edge to a suspect says nothing about its other end.
    assert result(answers, suspects=earlier, rejections=[(0, 3), (4, 1)]).suspects == earlier


def test_too_few_right_answers_end_the_round() -> None:
    # Degree 4 and two liars: seven answers suffice, six of which may be told apart from none.
    assert result(shares_of(squares(), range(7))).clients == BLOCK
    with pytest.raises(RoundAbandoned, match="6 clients answered stage 6, of which too few"):
        result(shares_of(squares(), range(6)))
    answers = shares_of(squares(), range(7))
    answers[0] = dict.fromkeys(answers[0], 7)
    with pytest.raises(RoundAbandoned, match="7 clients answered stage 6, of which too few"):
        result(answers)


def test_a_choice_is_what_the_rule_gives_weight() -> None:
    shown: list[Any] = []

    def rule(squared: Any, f: int) -> Any:
        shown.append((squared.tolist(), f))
        return np.array([0.5, 0.0, 0.25])

    distances = Compared((2, 4, 7), np.ones((3, 3)), Suspects(1))
    selection = Selection(rule, liars=2, fewest=lambda f: 2 + f)
    assert chosen_of(distances, selection, fewest=2) == (2, 7)
    assert shown == [([[1.0] * 3] * 3, 1)]
    with pytest.raises(RoundAbandoned, match="the rule chose 2 clients, a sum takes 3"):
        chosen_of(distances, selection, fewest=3)
    few = Selection(rule, liars=2, fewest=lambda f: 3 + f)
    with pytest.raises(RoundAbandoned, match="3 sketches are undisputed, the rule takes 4"):
        chosen_of(distances, few, fewest=2)


def test_a_sum_of_sketches_is_exact_whatever_two_holders_send() -> None:
    sums = [-(2**40), -1, 0, 1] + [2**33 + i for i in range(12)]
    polynomials = [[value % P, *random_elements(2)] for value in sums]
    shares = {h: [value_at(c, h + 1) for c in polynomials] for h in range(N)}
    for holder in (0, 7):
        shares[holder] = [5] * 16
    assert summed_sketch(shares, suspects=NOBODY, block=BLOCK, terms=TERMS) == sums
    # Of a pair one lies: neither counts, and one liar less is left.
    in_doubt = Suspects(1, {}, ((0, 1),))
    assert summed_sketch(shares, suspects=in_doubt, block=BLOCK, terms=TERMS) == sums
    few = {holder: shares[holder] for holder in range(4)}
    with pytest.raises(RoundAbandoned, match="4 clients sent shares of the sum of sketches"):
        summed_sketch(few, suspects=NOBODY, block=BLOCK, terms=TERMS)
    with pytest.raises(RoundAbandoned, match="0 clients sent shares"):
        summed_sketch({}, suspects=NOBODY, block=BLOCK, terms=TERMS)


def test_a_rule_that_chooses_all_chooses_all() -> None:
    selection = Selection(everyone, liars=2, fewest=lambda f: 2)
    assert chosen_of(result(shares_of(squares())), selection, fewest=5) == BLOCK


def at_fault(
    *edges: tuple[int, int], before: Suspects = NOBODY, newly_named: Mapping[int, str] | None = None
) -> tuple[dict[int, str], tuple[tuple[int, int], ...]]:
    """Returns who is found where holders lack the shares of dealers; client 7 certainly lied."""
    reason = RoundAbandoned("too few right shares", named={7: WRONG_SHARES}, paired=edges)
    found = lacking_shares(reason, before, newly_named or {})
    assert str(found) == "too few right shares"
    named = dict(found.named)
    assert named.pop(7) == WRONG_SHARES
    return named, found.paired


def test_a_dealer_and_a_holder_without_its_share_are_a_pair_and_the_dealer_deals_no_more() -> None:
    assert at_fault((3, 0), (3, 1)) == ({3: LACKING}, ((0, 3),))
    assert at_fault((3, 0), (4, 1)) == ({3: LACKING, 4: LACKING}, ((0, 3), (1, 4)))
    assert at_fault() == ({}, ())


def test_a_holder_that_lacks_shares_of_more_dealers_than_can_lie_is_named_alone() -> None:
    assert at_fault((1, 6), (2, 6), (3, 6)) == ({6: CONTRADICTED}, ())
    # Otherwise it takes one dealer with it, and no more.
    assert at_fault((1, 6), (2, 6)) == ({1: LACKING}, ((1, 6),))


def test_who_is_known_to_lie_already_takes_nobody_along() -> None:
    assert at_fault((3, 0), (7, 1)) == ({3: LACKING}, ((0, 3),))
    assert at_fault((3, 0), (4, 1), newly_named={4: CONTRADICTED}) == ({3: LACKING}, ((0, 3),))


def test_if_all_missing_shares_concern_pairs_of_earlier_rounds_one_dealer_deals_no_more() -> None:
    earlier = Suspects(1, {}, ((2, 5),))
    reason = RoundAbandoned("too few right shares", paired=((4, 2), (3, 5)))
    found = lacking_shares(reason, earlier, {})
    assert (dict(found.named), found.paired) == ({3: LACKING}, ())
    # Somebody else is out, which is enough for one round.
    found = lacking_shares(reason, earlier, {6: CONTRADICTED})
    assert (dict(found.named), found.paired) == ({}, ())
