"""After a sum that disagrees with its sketches, a liar is found, and no honest client is named."""

import itertools
import random
from collections.abc import Iterable

import pytest

from securefl.channels.masking.sketches.conflicts import CONTRADICTED, MISFIT, SILENT, liars_left
from securefl.channels.masking.sketches.field import P
from securefl.channels.masking.sketches.judging import Blame, judged, least_answers
from securefl.errors import RoundAbandoned
from tests.channels.masking.sketches.blaming import SIZE, Lies, Round

N, C, F = 9, 2, 2


def a_round(
    n: int = N, *, chosen: Iterable[int] = range(1, 7), degree: int = C, seed: int = 0
) -> Round:
    """Returns a round of clients 0 to n - 1, of which 0, 7 and 8 are not in S by default."""
    return Round(range(n), chosen, degree=degree, rng=random.Random(seed))


UNIT = [1, 0, 0]


def hidden(*pairs: tuple[int, int]) -> Lies:
    """Each first client lies by one, and hides it in the mask that it shares with the second."""
    lies = Lies()
    for liar, peer in pairs:
        sign = 1 if peer > liar else -1
        lies.sketches[liar] = UNIT
        lies.masks[liar, peer] = [-sign * value for value in UNIT]
    return lies


def test_nobody_is_named_where_nobody_lied() -> None:
    played = a_round()
    assert not played.check_fails(Lies())
    assert played.blame(Lies(), f=F) == Blame({}, ())


@pytest.mark.parametrize("place", range(SIZE))
def test_a_liar_that_dealt_another_sketch_is_named(place: int) -> None:
    lies = Lies(sketches={3: [int(place == coordinate) for coordinate in range(SIZE)]})
    played = a_round()
    assert played.check_fails(lies)
    assert played.blame(lies, f=F) == Blame({3: MISFIT}, ())


@pytest.mark.parametrize(("liar", "peer"), [(2, 5), (5, 2)])
def test_a_liar_that_hides_in_a_mask_ends_as_a_pair_with_that_peer(liar: int, peer: int) -> None:
    played = a_round()
    assert played.check_fails(hidden((liar, peer)))
    assert played.blame(hidden((liar, peer)), f=F) == Blame({}, ((2, 5),))


def test_a_difference_whose_coordinates_add_up_to_zero_is_seen() -> None:
    lies = Lies(sketches={2: [1, -1, 0]}, masks={(2, 5): [-1, 1, 0]})
    assert a_round().blame(lies, f=F) == Blame({}, ((2, 5),))


def test_a_liar_that_hides_in_more_peers_than_may_lie_is_named() -> None:
    lies = Lies(
        sketches={1: [3, 0, 0]},
        masks={(1, 2): [-1, 0, 0], (1, 3): [-1, 0, 0], (1, 6): [-1, 0, 0]},
    )
    assert a_round().blame(lies, f=F) == Blame({1: CONTRADICTED}, ())


def test_four_liars_are_named_in_one_round() -> None:
    played = a_round(20, chosen=range(3, 20), degree=4)
    lies = Lies(sketches=dict.fromkeys((4, 9, 15, 19), UNIT))
    assert played.blame(lies, f=4) == Blame(dict.fromkeys((4, 9, 15, 19), MISFIT), ())


def test_four_liars_that_hide_in_four_honest_peers_end_as_four_pairs() -> None:
    played = a_round(20, chosen=range(3, 20), degree=4)
    lies = hidden((4, 5), (9, 8), (15, 3), (19, 18))
    lies.garbage = {4, 9, 15, 19}
    assert played.check_fails(lies)
    assert played.blame(lies, f=4) == Blame({}, ((3, 15), (4, 5), (8, 9), (18, 19)))


def test_two_liars_whose_masks_agree_with_each_other_are_found_by_their_uploads() -> None:
    # Both deal the same wrong sketch of their mask, so that no pair contradicts itself.
    lies = Lies(sketches={2: UNIT}, masks={(2, 5): [-1, 0, 0], (5, 2): [-1, 0, 0]})
    assert a_round().blame(lies, f=F) == Blame({5: MISFIT}, ())


@pytest.mark.parametrize("sign", [1, -1])
def test_sketches_that_wrap_around_in_the_field_are_out_of_range(sign: int) -> None:
    # Each fits modulo 2^32; their sum is beyond p / 2 and wraps, which changes it by p, and -1
    # modulo 2^32.
    half = (P // 4 >> 32 << 32) + 2**90
    lies = Lies(sketches={client: [sign * half, 0, 0] for client in (2, 5)})
    played = a_round()
    assert played.check_fails(lies)
    assert played.blame(lies, f=F) == Blame(dict.fromkeys((2, 5), MISFIT), ())


def test_a_client_without_a_dealing_is_named_for_its_silence_alone() -> None:
    lies = Lies(silent={4})
    assert a_round().blame(lies, f=F) == Blame({4: SILENT}, ())


def test_an_honest_client_that_was_silent_hides_no_liar_and_uses_up_none() -> None:
    # Client 4 is silent; three of the others reject client 2, which a liar's dealing explains.
    lies = Lies(silent={4}, sketches={6: UNIT}, spoilt={(2, 0), (2, 1), (2, 8)})
    # Both liars are found, so that client 4 is none.
    assert a_round().blame(lies, f=F) == Blame({6: MISFIT, 2: CONTRADICTED}, ())
    assert a_round(11).blame(lies, f=3) == Blame({4: SILENT, 6: MISFIT, 2: CONTRADICTED}, ())


def test_if_more_are_silent_than_can_lie_nobody_is_named_for_that() -> None:
    assert a_round().blame(Lies(silent={1, 4}), f=F) == Blame({1: SILENT, 4: SILENT}, ())
    assert a_round().blame(Lies(silent={1, 4, 5}), f=F) == Blame({}, ())
    # A liar that is found is one less among the silent ones.
    lies = Lies(silent={1, 4}, sketches={6: UNIT})
    assert a_round().blame(lies, f=F) == Blame({6: MISFIT}, ())
    lies = hidden((3, 2))
    lies.silent = {1, 4}
    assert a_round().blame(lies, f=F) == Blame({}, ((2, 3),))


def blamed_with_wrong_shares(dealer: int, holders: Iterable[int], *, answered: int) -> Blame:
    """Returns the blame in a round with c = 1 and f = 3.

    Client 4 lies, and some holders send wrong shares of a dealer and of its pair with client 6.
    """
    played = a_round(degree=1)
    answers = played.answers(Lies(sketches={4: UNIT}), range(answered))
    for holder in holders:
        given = answers[holder]
        wrong = [value + 1 + holder for value in given.sums[dealer]]
        answers[holder] = given._replace(
            sums={**given.sums, dealer: wrong},
            pairs={**given.pairs, (dealer, 6): 1 + holder},
        )
    return judged(
        answers, played.residues(), points=played.points, dealt=played.chosen, degree=1, f=3
    )


def test_no_honest_client_is_blamed_where_liars_keep_its_shares_from_being_decoded() -> None:
    assert least_answers(degree=1, f=3) == 6
    # Two wrong values of six are not corrected, and three of eight are.
    for answered in (6, 7, 8):
        blame = blamed_with_wrong_shares(2, (1, 3), answered=answered)
        assert blame == Blame({4: MISFIT}, ())
    assert blamed_with_wrong_shares(2, (1, 3, 5), answered=8) == Blame({4: MISFIT}, ())


def test_a_client_whose_shares_must_decode_and_do_not_is_named() -> None:
    both = Blame({2: MISFIT, 4: MISFIT}, ())
    assert blamed_with_wrong_shares(2, (0, 1, 3, 5), answered=8) == both
    # With one answer less, it might be the fault of three holders.
    assert blamed_with_wrong_shares(2, (1, 3, 5), answered=7) == Blame({4: MISFIT}, ())


@pytest.mark.parametrize("rejecting", [1, 2, 3])
@pytest.mark.parametrize("hides", [False, True])
def test_a_dealer_that_others_contradict_is_in_a_pair_or_named(rejecting: int, hides: bool) -> None:
    lies = hidden((3, 4)) if hides else Lies()
    lies.spoilt = {(3, holder) for holder in (0, 7, 8)[:rejecting]}
    # The peer in whose mask it hides contradicts it as well.
    if rejecting + hides <= F:
        assert a_round().blame(lies, f=F) == Blame({}, ((0, 3),))
    else:
        assert a_round().blame(lies, f=F) == Blame({3: CONTRADICTED}, ())


def test_a_dealer_whose_shares_no_holder_accepts_is_named() -> None:
    lies = Lies(spoilt={(3, holder) for holder in range(N)})
    assert a_round().blame(lies, f=F) == Blame({3: MISFIT}, ())


def test_false_complaints_cost_the_liar_its_place() -> None:
    lies = Lies(sketches={3: UNIT}, complaints={(3, dealer) for dealer in (1, 2, 4, 5, 6)})
    assert a_round().blame(lies, f=F) == Blame({3: MISFIT}, ())
    # A helper outside S has no sketch to fail by.
    lies = Lies(sketches={3: UNIT}, complaints={(0, dealer) for dealer in (1, 2, 4, 5, 6)})
    assert a_round().blame(lies, f=F) == Blame({3: MISFIT, 0: CONTRADICTED}, ())


def test_complaints_about_clients_that_dealt_nothing_do_not_count() -> None:
    played = a_round()
    answers = played.answers(Lies(), range(N))
    answers[0] = answers[0]._replace(rejected=frozenset({0, 8, 99}))
    lies = Lies()
    played.answers = lambda lies, holders: answers  # type: ignore[method-assign]
    assert played.blame(lies, f=F) == Blame({}, ())


def test_as_many_garbage_answers_as_may_lie_change_nothing() -> None:
    for holders in itertools.combinations(range(N), F):
        lies = Lies(sketches={3: UNIT}, garbage=set(holders))
        assert a_round().blame(lies, f=F) == Blame({3: MISFIT}, ())


def test_too_few_answers_name_nobody() -> None:
    assert least_answers(degree=C, f=F) == 7
    lies = Lies(sketches={3: UNIT}, away={0, 7})
    assert a_round().blame(lies, f=F).named == {3: MISFIT}
    lies.away.add(8)
    with pytest.raises(RoundAbandoned, match=r"only 6 clients helped .* it takes 7") as raised:
        a_round().blame(lies, f=F)
    assert raised.value.named == {}


def test_more_liars_than_agreed_on_end_the_round() -> None:
    lies = Lies(sketches=dict.fromkeys((1, 2, 3), UNIT))
    with pytest.raises(RoundAbandoned, match="more clients contradict each other"):
        a_round().blame(lies, f=F)


def random_lies(played: Round, liars: Iterable[int], honest_away: set[int]) -> Lies:
    """Returns lies of every kind, mixed at random; honest clients only stay away from stage 10."""
    rng = played.rng
    lies = Lies(away=set(honest_away))
    for liar in liars:
        for behave in rng.sample(BEHAVIOURS, k=rng.randint(1, 3)):
            behave(played, liar, lies)
    return lies


def shift(rng: random.Random) -> list[int]:
    """Returns a change of a sketch: one unit, anything, a multiple of 2^32, or half the field."""
    kind = rng.randrange(4)
    if kind == 0:
        return UNIT
    if kind == 1:
        return [rng.randrange(-(2**31), 2**31) for _ in range(SIZE)]
    if kind == 2:
        return [2**32 * rng.randrange(-(2**70), 2**70) for _ in range(SIZE)]
    return [P // 4 for _ in range(SIZE)]


def lie_about_sketch(played: Round, liar: int, lies: Lies) -> None:
    if liar in played.chosen:
        lies.sketches[liar] = shift(played.rng)


def hide(played: Round, liar: int, lies: Lies) -> None:
    """Adds a shift to the sketch, and takes it out of one mask."""
    if liar in played.chosen:
        peer = played.rng.choice([client for client in played.chosen if client != liar])
        lies.sketches[liar] = shift(played.rng)
        sign = 1 if peer > liar else -1
        lies.masks[liar, peer] = [-sign * value for value in lies.sketches[liar]]


def lie_about_mask(played: Round, liar: int, lies: Lies) -> None:
    if liar in played.chosen:
        peer = played.rng.choice([client for client in played.chosen if client != liar])
        lies.masks[liar, peer] = shift(played.rng)


def be_silent(played: Round, liar: int, lies: Lies) -> None:
    if liar in played.chosen:
        lies.silent.add(liar)


def stay_away(played: Round, liar: int, lies: Lies) -> None:
    lies.away.add(liar)


def spoil(played: Round, liar: int, lies: Lies) -> None:
    if liar in played.chosen:
        holders = played.rng.sample(played.members, k=played.rng.randint(1, 4))
        lies.spoilt |= {(liar, holder) for holder in holders}


def complain(played: Round, liar: int, lies: Lies) -> None:
    most = min(4, len(played.chosen))
    dealers = played.rng.sample(played.chosen, k=played.rng.randint(1, most))
    lies.complaints |= {(liar, dealer) for dealer in dealers}


def answer_garbage(played: Round, liar: int, lies: Lies) -> None:
    lies.garbage.add(liar)


def answer_little(played: Round, liar: int, lies: Lies) -> None:
    lies.sparse.add(liar)


BEHAVIOURS = [
    lie_about_sketch,
    lie_about_sketch,
    hide,
    lie_about_mask,
    be_silent,
    stay_away,
    spoil,
    complain,
    answer_garbage,
    answer_little,
]


@pytest.mark.parametrize("part", range(4))
def test_in_a_thousand_rounds_no_honest_client_is_named_and_every_failed_check_finds_a_liar(
    part: int,
) -> None:
    failed = 0
    for seed in range(250 * part, 250 * (part + 1)):
        rng = random.Random(seed)
        c, f, away = rng.choice([(1, 1, 0), (2, 2, 0), (2, 2, 1), (1, 3, 0), (3, 1, 1), (1, 2, 1)])
        n = 2 * c + 2 * f + 1 + away
        liars = set(rng.sample(range(n), k=rng.randint(1, f)))
        chosen = {min(liars), *rng.sample(range(n), k=rng.randint(3, n))}
        played = Round(range(n), chosen, degree=c, rng=rng)
        honest = sorted(set(range(n)) - liars)
        lies = random_lies(played, liars, set(rng.sample(honest, k=away)))
        blame = played.blame(lies, f=f)
        assert set(blame.named) <= liars
        assert all(liars.intersection(pair) for pair in blame.pairs)
        paired = [client for pair in blame.pairs for client in pair]
        assert len({*paired, *blame.named}) == len(paired) + len(blame.named)
        if played.check_fails(lies):
            failed += 1
            assert blame.named or blame.pairs
    assert failed > 80  # of 250: the rounds are not idle


def test_no_honest_client_is_named_however_many_are_away() -> None:
    judged_rounds = 0
    for seed in range(150):
        rng = random.Random(seed)
        c, f = rng.choice([(1, 1), (2, 2), (3, 2), (1, 2), (1, 3)])
        n = 2 * c + 2 * f + 1
        liars = set(rng.sample(range(n), k=f))
        played = Round(range(n), {min(liars), *rng.sample(range(n), k=4)}, degree=c, rng=rng)
        honest = sorted(set(range(n)) - liars)
        lies = random_lies(played, liars, set(rng.sample(honest, k=rng.randint(1, f))))
        try:
            blame = played.blame(lies, f=f)
        except RoundAbandoned:
            continue
        judged_rounds += 1
        assert set(blame.named) <= liars
        assert all(liars.intersection(pair) for pair in blame.pairs)
    assert judged_rounds > 50


def test_liars_that_never_stop_lose_at_most_as_many_rounds_as_they_are() -> None:
    c, f, n = 2, 3, 12
    most_lost = 0
    for seed in range(25):
        rng = random.Random(seed)
        liars = set(rng.sample(range(n), k=f))
        named: dict[int, str] = {}
        paired: list[tuple[int, int]] = []
        lost = 0
        for _ in range(f + 3):
            out = {*named, *itertools.chain(*paired)}
            active = sorted(set(range(n)) - out)
            members = sorted(set(range(n)) - set(named))
            played = Round(members, active, degree=c, rng=rng)
            lies = Lies()
            # One at a time, in each round another way.
            for liar in sorted(liars - out)[:1]:
                lie_about_sketch(played, liar, lies)
                lies.sketches[liar] = UNIT
                rng.choice([hide, spoil, complain, be_silent, stay_away])(played, liar, lies)
            if played.check_fails(lies):
                lost += 1
                f_left = liars_left(named, paired, f=f)
                blame = played.blame(lies, f=f_left, holders=active)
                assert set(blame.named) <= liars
                named |= blame.named
                paired += blame.pairs
        out = {*named, *itertools.chain(*paired)}
        assert liars <= out
        assert len(out - liars) <= f
        most_lost = max(most_lost, lost)
    assert most_lost == f
