"""Dealing: shares by hand, what every holder must reject, what a second challenge would open."""

import hashlib
import random
import struct
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securefl.channels.masking.sketches import dealing
from securefl.channels.masking.sketches.dealing import (
    PAIR_SKETCHES,
    SKETCHES,
    Dealing,
    Shares,
    check_dealing,
    context_of,
    deal,
    proof_bytes,
    share_bytes,
)
from securefl.channels.masking.sketches.decoding import decoded
from securefl.channels.masking.sketches.field import (
    P,
    centred,
    dot,
    expanded,
    packed,
    random_elements,
    unpacked,
    value_at,
)
from tests.channels.masking.sketches.dealers import (
    CONTEXT,
    SESSION,
    UPLOADS,
    Group,
    counting,
)

deterministic = settings(derandomize=True, max_examples=40, deadline=None, database=None)
GROUP = Group(clients=(3, 5, 8, 9, 12, 20, 31), degree=2, values=3)
SKETCH = [-(2**31), 17, 2**31 - 1]
SENDER = 5


def honest() -> Dealing:
    return GROUP.dealing(SKETCH, SENDER)


def honest_polynomials() -> tuple[list[list[int]], list[list[int]]]:
    """Returns what `deal` draws: values with their blind, zeros with theirs."""
    of_values = [[value % P, *random_elements(2)] for value in SKETCH]
    of_zeros = [[0, *random_elements(4)] for _ in range(7)]
    return [*of_values, random_elements(3)], of_zeros


# What is dealt


def test_any_three_holders_have_the_values_and_any_five_have_zeros() -> None:
    dealt = honest()
    shares = {i: GROUP.accepted(dealt, SENDER, i) for i in GROUP.clients}
    for place, value in enumerate(SKETCH):
        points = {GROUP.points[i]: held.values[place] for i, held in shares.items() if held}
        assert len(points) == 7
        result = decoded(points, degree=2, errors=0)
        assert result is not None
        assert centred(result.constant) == value
        assert result.coefficients[2] != 0
        assert not result.wrong
    for place in range(6):
        points = {GROUP.points[i]: held.zeros[place] for i, held in shares.items() if held}
        result = decoded(points, degree=4, errors=0)
        assert result is not None
        assert result.constant == 0
        assert result.coefficients[4] != 0
        assert not result.wrong


def test_a_dealing_worked_by_hand_with_typed_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    # One value, degree 1, three holders, one zero; draws are 3, 9, 27 and so on.
    monkeypatch.setattr(dealing, "random_elements", counting())
    points = {4: 1, 6: 2, 7: 3}
    dealt = deal([-5], zeros=1, degree=1, points=points, context=CONTEXT, sender=6)
    # -5 + 3 x; the blind 9 + 27 x; a zero 81 x + 243 x^2, its blind 729 x + 2187 x^2.
    by_hand = {
        4: [P - 2, 36, 324, 2916, 6561],
        6: [1, 63, 1134, 10206, 19683],
        7: [4, 90, 2430, 21870, 59049],
    }
    assert {i: unpacked(share, 5) for i, share in dealt.shares.items()} == by_hand
    for holder, share in dealt.shares.items():
        entry = b"securefl masking 1, dealt share" + CONTEXT + struct.pack("<II", 6, holder)
        assert dealt.table[holder] == hashlib.sha256(entry + share).digest()
    rows = b"".join(struct.pack("<I", i) + dealt.table[i] for i in (4, 6, 7))
    head = (
        b"securefl masking 1, challenge of a dealing" + CONTEXT + struct.pack("<IIII", 6, 1, 1, 1)
    )
    one, other = expanded(hashlib.sha256(head + rows).digest(), 2)
    assert unpacked(dealt.proof, 4) == [
        (9 - 5 * one) % P,
        (27 + 3 * one) % P,
        (729 + 81 * other) % P,
        (2187 + 243 * other) % P,
    ]


def test_the_bytes_of_a_dealing_are_fixed_by_typed_digests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dealing, "random_elements", counting())
    dealt = honest()
    assert CONTEXT.hex() == "60e345efd12469bb0af8fad5a0721e43c4454051a7565887fc7e74ac5a2c3753"
    assert (
        dealt.table[3].hex() == "e91538f1d939940792d1c1946a01b1f22c3b7a104804244dabef92c267714a1b"
    )
    assert dealt.proof[:16].hex() == "7c5470e6ab05adb56e57f438a761c91f"
    assert dealt.proof[-16:].hex() == "25cec2c973d8d004a584cf46844d885a"
    assert (
        hashlib.sha256(dealt.shares[31]).hexdigest()
        == "c2b970abcbfd63f72b1ee171ecd7e8bd337a5b26ed078302db94b41e7b9797f5"
    )


def test_a_context_binds_purpose_session_round_and_uploads() -> None:
    purpose = hashlib.sha256(SKETCHES).digest()
    label = b"securefl masking 1, context of a dealing"
    by_hand = hashlib.sha256(label + purpose + SESSION + b"\3\0\0\0" + UPLOADS).digest()
    assert by_hand == CONTEXT
    others = {
        context_of(PAIR_SKETCHES, session=SESSION, round=3, uploads=UPLOADS),
        context_of(SKETCHES, session=SESSION[::-1], round=3, uploads=UPLOADS),
        context_of(SKETCHES, session=SESSION, round=4, uploads=UPLOADS),
        context_of(SKETCHES, session=SESSION, round=3, uploads=UPLOADS[::-1]),
    }
    assert len(others | {CONTEXT}) == 5


def test_sizes_are_those_of_the_bytes_that_travel() -> None:
    dealt = honest()
    assert {len(share) for share in dealt.shares.values()} == {share_bytes(3, 6)} == {16 * 12}
    assert len(dealt.proof) == proof_bytes(2, 6) == 16 * (3 + 4)
    bare = deal(SKETCH, zeros=0, degree=2, points=GROUP.points, context=CONTEXT, sender=SENDER)
    assert {len(share) for share in bare.shares.values()} == {share_bytes(3, 0)} == {16 * 5}
    assert len(bare.proof) == proof_bytes(2, 0) == 16 * 3


def test_twenty_clients_and_64_values_cost_a_client_less_than_28_kilobytes() -> None:
    box = share_bytes(64, 19) + 12 + 16  # as sealed by AES-GCM
    assert box == 1404
    public = 20 * (4 + 32) + proof_bytes(4, 19)
    assert 19 * box + public == 27_604


@deterministic
@given(st.data(), st.integers(1, 3), st.integers(0, 4), st.integers(0, 3))
def test_every_holder_of_an_honest_dealing_accepts_its_shares(
    data: st.DataObject, degree: int, values: int, zeros: int
) -> None:
    ids = data.draw(st.sets(st.integers(0, 90), min_size=degree + 1, max_size=7))
    places = data.draw(st.permutations(range(1, 65)))
    points = dict(zip(ids, places, strict=False))
    integer = st.integers(-(2**126 - 1), 2**126 - 1)
    secrets = data.draw(st.lists(integer, min_size=values, max_size=values))
    dealt = deal(secrets, zeros=zeros, degree=degree, points=points, context=CONTEXT, sender=7)
    held = {
        points[i]: check_dealing(
            share,
            holder=i,
            point=points[i],
            sender=7,
            context=CONTEXT,
            table=dealt.table,
            proof=dealt.proof,
            values=values,
            zeros=zeros,
            degree=degree,
        )
        for i, share in dealt.shares.items()
    }
    for place, secret in enumerate(secrets):
        points_of = {x: shares.values[place] for x, shares in held.items() if shares}
        result = decoded(points_of, degree=degree, errors=0)
        assert result is not None
        assert centred(result.constant) == secret
    assert all(shares is not None and len(shares.zeros) == zeros for shares in held.values())


def test_draws_are_fresh_and_no_two_polynomials_share_them() -> None:
    shares = [GROUP.dealing([1, 1, 1], 3).shares[3] for _ in range(5)]
    elements = [element for share in shares for element in unpacked(share, 12)]
    assert len(set(elements)) == 60


def test_shares_are_never_printed() -> None:
    dealt = honest()
    held = GROUP.accepted(dealt, SENDER, 8)
    assert held is not None
    assert repr(held) == "Shares()"
    assert "shares" not in repr(dealt)
    assert str(held.values[0]) not in repr(dealt)


# What is rejected


def check(dealt: Dealing, **changes: object) -> Shares | None:
    """Returns what holder 8 makes of its shares, or of changed ones."""
    arguments: dict[str, object] = {
        "holder": 8,
        "point": 3,
        "sender": SENDER,
        "context": CONTEXT,
        "table": dealt.table,
        "proof": dealt.proof,
        "values": 3,
        "zeros": 6,
        "degree": 2,
    }
    share = changes.pop("share", dealt.shares[8])
    return check_dealing(share, **(arguments | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"holder": 9, "point": 4},
        {"point": 4},
        {"sender": 3},
        {"context": bytes(32)},
        {"values": 2, "zeros": 7},
        {"values": 4, "zeros": 5},
        {"degree": 1},
        {"degree": 3},
        {"zeros": 0},
        {"holder": 40},
    ],
    ids=str,
)
def test_shares_of_another_place_or_shape_are_rejected(changes: dict[str, object]) -> None:
    dealt = honest()
    assert check(dealt) is not None
    assert check(dealt, **changes) is None


@pytest.mark.parametrize("place", range(12))
def test_a_share_changed_by_one_unit_after_dealing_no_longer_fits_the_table(place: int) -> None:
    dealt = honest()
    elements = unpacked(dealt.shares[8], 12)
    elements[place] = (elements[place] + 1) % P
    assert check(dealt, share=packed(elements)) is None


@pytest.mark.parametrize("length", [0, 16, 16 * 11, 16 * 12 - 1, 16 * 13])
def test_a_share_of_another_length_is_rejected(length: int) -> None:
    dealt = honest()
    share = bytes(length)
    entry = dealing._entry(share, context=CONTEXT, sender=SENDER, holder=8)
    assert check(dealt, share=share, table={**dealt.table, 8: entry}) is None


@pytest.mark.parametrize("length", [0, 16 * 3, 16 * 6, 16 * 7 - 1, 16 * 8])
def test_a_proof_of_another_length_is_rejected(length: int) -> None:
    dealt = honest()
    assert check(dealt, proof=(dealt.proof * 2)[:length]) is None


@pytest.mark.parametrize("place", [0, 2, 3, 6])
def test_a_proof_with_another_coefficient_or_no_element_is_rejected(place: int) -> None:
    dealt = honest()
    elements = unpacked(dealt.proof, 7)
    moved = [*elements[:place], (elements[place] + 1) % P, *elements[place + 1 :]]
    assert check(dealt, proof=packed(moved)) is None
    beyond = [*elements[:place], elements[place] + P, *elements[place + 1 :]]
    assert check(dealt, proof=packed(beyond)) is None


@pytest.mark.parametrize("place", range(12))
def test_a_share_with_an_integer_of_the_prime_or_more_is_rejected(place: int) -> None:
    # Read modulo the prime it would lie on every polynomial.
    elements = unpacked(honest().shares[8], 12)
    elements[place] += P
    share = packed(elements)
    entry = dealing._entry(share, context=CONTEXT, sender=SENDER, holder=8)
    assert check(honest(), share=share, table={**honest().table, 8: entry}) is None


def test_a_table_without_this_holder_or_with_a_bad_entry_is_rejected() -> None:
    dealt = honest()
    without = {i: entry for i, entry in dealt.table.items() if i != 8}
    assert check(dealt, table=without) is None
    assert check(dealt, table={}) is None
    assert check(dealt, table={**dealt.table, 8: dealt.table[9]}) is None
    assert check(dealt, table={**dealt.table, 9: b"short"}) is None
    assert check(dealt, table={**dealt.table, 40: bytes(32)}) is None  # another challenge
    # Two rows written as one have the same bytes, and would have the same challenge.
    joined = {**dealt.table, 3: dealt.table[3] + struct.pack("<I", 5) + dealt.table[5]}
    del joined[5]
    assert check(dealt, table=joined) is None


def test_garbage_of_the_right_lengths_is_rejected_and_raises_nothing() -> None:
    generator = random.Random(5)
    for _ in range(50):
        share = generator.randbytes(share_bytes(3, 6))
        proof = generator.randbytes(proof_bytes(2, 6))
        table = {i: generator.randbytes(32) for i in GROUP.clients}
        table[8] = dealing._entry(share, context=CONTEXT, sender=SENDER, holder=8)
        assert check(honest(), share=share, proof=proof, table=table) is None


# Forged dealings, with the best proof that there is


def test_a_forger_with_honest_polynomials_convinces_everybody() -> None:
    of_values, of_zeros = honest_polynomials()
    dealt = GROUP.forged(of_values, of_zeros, sender=SENDER)
    assert GROUP.acceptors(dealt, SENDER) == set(GROUP.clients)
    convinced = GROUP.forged(of_values, of_zeros, sender=SENDER, convinced=(3, 9, 31, 20))
    assert GROUP.acceptors(convinced, SENDER) == set(GROUP.clients)


@pytest.mark.parametrize("place", [0, 1, 2, 3], ids=["first", "second", "third", "blind"])
def test_values_of_a_degree_too_high_convince_one_holder_more_than_the_degree(place: int) -> None:
    of_values, of_zeros = honest_polynomials()
    of_values[place][3:] = [1]
    dealt = GROUP.forged(of_values, of_zeros, sender=SENDER)
    assert GROUP.acceptors(dealt, SENDER) == set()
    best = GROUP.forged(of_values, of_zeros, sender=SENDER, convinced=(3, 9, 31, 20))
    assert GROUP.acceptors(best, SENDER) == {3, 9, 31}


@pytest.mark.parametrize("place", [0, 5, 6], ids=["first", "last", "blind"])
def test_zeros_of_a_degree_too_high_convince_at_most_twice_the_degree(place: int) -> None:
    of_values, of_zeros = honest_polynomials()
    of_zeros[place][5:] = [1]
    dealt = GROUP.forged(of_values, of_zeros, sender=SENDER)
    assert GROUP.acceptors(dealt, SENDER) == set()
    best = GROUP.forged(of_values, of_zeros, sender=SENDER, convinced=(3, 9, 31, 20))
    assert GROUP.acceptors(best, SENDER) == {3, 9, 31, 20}


@pytest.mark.parametrize("constant", [1, P - 1, 2**64, P // 2])
@pytest.mark.parametrize("place", [0, 5], ids=["first", "last"])
def test_a_sharing_of_something_else_than_zero_convinces_nobody(place: int, constant: int) -> None:
    # It would move the distance of this pair at will.
    of_values, of_zeros = honest_polynomials()
    of_zeros[place][0] = constant
    assert GROUP.acceptors(GROUP.forged(of_values, of_zeros, sender=SENDER), SENDER) == set()


def test_a_blind_of_the_zeros_cannot_hide_a_constant() -> None:
    of_values, of_zeros = honest_polynomials()
    of_zeros[2][0] = 5
    of_zeros[6][0] = P - 5
    assert GROUP.acceptors(GROUP.forged(of_values, of_zeros, sender=SENDER), SENDER) == set()


@pytest.mark.parametrize("place", range(11))
def test_a_holder_whose_share_lies_off_the_polynomial_rejects_and_no_other(place: int) -> None:
    of_values, of_zeros = honest_polynomials()
    dealt = GROUP.forged(of_values, of_zeros, sender=SENDER, changes={12: {place: 1}})
    assert GROUP.acceptors(dealt, SENDER) == set(GROUP.clients) - {12}


def test_errors_that_cancel_in_a_plain_sum_do_not_cancel_in_the_combination() -> None:
    of_values, of_zeros = honest_polynomials()
    for one, other in ((0, 1), (4, 9), (2, 3), (0, 5)):
        changes = {12: {one: 1, other: P - 1}}
        dealt = GROUP.forged(of_values, of_zeros, sender=SENDER, changes=changes)
        assert 12 not in GROUP.acceptors(dealt, SENDER)


def test_who_knows_the_challenge_before_dealing_forges_zeros_and_the_table_prevents_it() -> None:
    # Two constants that cancel under the challenge of a dealing that was prepared for it.
    prepared = honest()
    shape = {"context": CONTEXT, "sender": SENDER, "values": 3, "zeros": 6, "degree": 2}
    challenge = dealing._challenge(prepared.table, **shape)  # type: ignore[arg-type]
    of_values, of_zeros = honest_polynomials()
    of_zeros[0][0] = 1000 * challenge[4] % P
    of_zeros[1][0] = -1000 * challenge[3] % P
    assert (challenge[3] * of_zeros[0][0] + challenge[4] * of_zeros[1][0]) % P == 0
    dealt = GROUP.forged(of_values, of_zeros, sender=SENDER)
    assert GROUP.acceptors(dealt, SENDER) == set()
    # Under the old challenge the forgery would pass.
    forged = dealing._combined(of_zeros, challenge[3:])
    assert forged[0] == 0


def test_the_challenge_hangs_on_every_entry_of_the_table_and_on_the_whole_context() -> None:
    table = honest().table
    shape = {"context": CONTEXT, "sender": SENDER, "values": 3, "zeros": 6, "degree": 2}
    challenges = [dealing._challenge(table, **shape)]  # type: ignore[arg-type]
    for holder in table:
        other = {**table, holder: bytes(32)}
        challenges.append(dealing._challenge(other, **shape))  # type: ignore[arg-type]
    for key, value in {"context": bytes(32), "sender": 6, "degree": 1}.items():
        challenges.append(dealing._challenge(table, **shape | {key: value}))  # type: ignore[arg-type]
    challenges.append(
        dealing._challenge(table, **shape | {"values": 4, "zeros": 5})  # type: ignore[arg-type]
    )
    assert len({tuple(challenge) for challenge in challenges}) == 1 + 7 + 3 + 1
    assert all(len(set(challenge)) == 9 for challenge in challenges)


# Why a blind serves one challenge only


def test_two_proofs_of_the_same_polynomials_would_open_a_combination_of_the_values() -> None:
    of_values, _ = honest_polynomials()
    one, other = expanded(b"one", 3), expanded(b"other", 3)
    proofs = [dealing._combined(of_values, challenge) for challenge in (one, other)]
    without_blind = (proofs[0][0] - proofs[1][0]) % P
    difference = [a - b for a, b in zip(one, other, strict=True)]
    assert without_blind == dot(difference, SKETCH)
    assert proofs[0][0] != dot(one, SKETCH)  # one proof alone is blinded


def test_a_right_guess_gives_all_of_a_share_vector_but_the_salt() -> None:
    # Two holders collude and guess the values. Their shares give the polynomials, and the proof
    # gives the blind: without a salt the table would confirm the guess.
    dealt = deal(SKETCH, zeros=0, degree=2, points=GROUP.points, context=CONTEXT, sender=SENDER)
    held = {GROUP.points[i]: unpacked(dealt.shares[i], 5) for i in (3, 9)}
    challenge = dealing._challenge(
        dealt.table, context=CONTEXT, sender=SENDER, values=3, zeros=0, degree=2
    )
    guessed = []
    for place, value in enumerate(SKETCH):
        line = {0: value, **{x: elements[place] for x, elements in held.items()}}
        result = decoded({x + 1: y for x, y in line.items()}, degree=2, errors=0)
        assert result is not None
        guessed.append(value_at(result.coefficients, GROUP.points[31] + 1))
    combined = value_at(unpacked(dealt.proof, 3), GROUP.points[31])
    guessed.append((combined - dot(challenge, guessed)) % P)
    *elements, salt = unpacked(dealt.shares[31], 5)
    assert guessed == elements
    assert salt not in (*elements, 0)
    assert dealt.table[31] not in {
        dealing._entry(share, context=CONTEXT, sender=SENDER, holder=31)
        for share in (packed(guessed), packed([*guessed, 0]))
    }


def test_every_share_vector_has_a_salt_of_its_own() -> None:
    salts = {share[-16:] for _ in range(5) for share in honest().shares.values()}
    assert len(salts) == 35


# Refusals


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": [2**126]}, "a dealt integer must lie between"),
        ({"values": [-(2**126)]}, "a dealt integer must lie between"),
        ({"zeros": -1}, "the number of zeros must be at least 0, got -1"),
        ({"degree": 0}, "the degree must be 1 to 6, got 0"),
        ({"degree": 7}, "the degree must be 1 to 6, got 7"),
        ({"points": {1: 1, 2: 1, 3: 2}}, "points must be distinct"),
        ({"points": {1: 0, 2: 1, 3: 2}}, "a point must be 1 to"),
        ({"points": {1: 2**31, 2: 1, 3: 2}}, "a point must be 1 to"),
        ({"context": b"short"}, "a context takes 32 bytes, got 5"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_dealing_out_of_range_is_refused(changes: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {
        "values": SKETCH,
        "zeros": 6,
        "degree": 2,
        "points": GROUP.points,
        "context": CONTEXT,
        "sender": SENDER,
    }
    values = (arguments | changes).pop("values")
    keywords = {key: value for key, value in (arguments | changes).items() if key != "values"}
    with pytest.raises(ValueError, match=f"^{message}"):
        deal(values, **keywords)  # type: ignore[arg-type]


def test_the_extreme_integers_and_the_highest_degree_are_dealt() -> None:
    extremes = [2**126 - 1, -(2**126 - 1), 0]
    dealt = deal(extremes, zeros=6, degree=6, points=GROUP.points, context=CONTEXT, sender=SENDER)
    group = replace(GROUP, degree=6)
    held = {GROUP.points[i]: group.accepted(dealt, SENDER, i) for i in GROUP.clients}
    for place, integer in enumerate(extremes):
        values = {x: shares.values[place] for x, shares in held.items() if shares}
        result = decoded(values, degree=6, errors=0)
        assert result is not None
        assert centred(result.constant) == integer
