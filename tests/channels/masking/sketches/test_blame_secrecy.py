"""Blame shows nothing of honest clients that the server could not compute before it.

Tables, proofs and blinds of dealings are judged where dealing is tested; here are the answers.
"""

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest

from securefl.channels.masking.sketches.decoding import decoded
from securefl.channels.masking.sketches.field import P
from tests.channels.masking.sketches.blaming import Edge, Lies, Round

DEGREE, COLLUDERS, HONEST = 2, (1, 2), (3, 4, 5, 6)  # a client's point is its id
HOLDERS = range(1, 8)
PAIRS = tuple(itertools.combinations(HONEST, 2))


@dataclass
class Secrets:
    """What honest clients deal: sketches, sketches of masks, and random coefficients.

    Args:
        sketches: i -> one coordinate of s_i.
        masks: (i, j) -> the same coordinate of t_ij, dealt by both ends.
        random: client, or (dealer, partner) -> the coefficients of its polynomial.
    """

    sketches: Mapping[int, int]
    masks: Mapping[Edge, int]
    random: Mapping[int | Edge, Sequence[int]]

    def share(self, name: int | Edge, holder: int) -> int:
        """Returns a holder's share of s_i, or of t_ij as the first of the pair deals it."""
        if isinstance(name, int):
            constant = self.sketches[name]
        else:
            constant = self.masks[min(name), max(name)]
        powers = [c * holder**e for e, c in enumerate(self.random[name], 1)]
        value: int = (constant + sum(powers)) % P
        return value

    def view(self) -> list[int]:
        """Returns all answers of stages 8 and 10, and what colluders hold."""
        seen = []
        for holder in HOLDERS:
            seen.append(sum(self.share(i, holder) for i in HONEST) % P)
            for i, j in PAIRS:
                seen.append((self.share((i, j), holder) - self.share((j, i), holder)) % P)
            for i in HONEST:
                signed = [
                    self.share((i, j), holder) * (1 if j > i else -1) for j in HONEST if j != i
                ]
                seen.append((self.share(i, holder) + sum(signed)) % P)
        for holder in COLLUDERS:
            seen += [self.share(name, holder) for name in self.random]
        return seen


def drawn(rng: random.Random, *, carries: bool) -> Secrets:
    masks = {}
    for edge in PAIRS:
        masks[edge] = rng.randrange(-(2**31), 2**31)
        masks[edge] += 2**32 * rng.randrange(-(2**63), 2**63) * carries
    names: list[int | Edge] = [*HONEST, *PAIRS, *((j, i) for i, j in PAIRS)]
    return Secrets(
        sketches={i: rng.randrange(-(2**31), 2**31) for i in HONEST},
        masks=masks,
        random={name: [rng.randrange(P) for _ in range(DEGREE)] for name in names},
    )


def explained(secrets: Secrets, sketches: Mapping[int, int]) -> Secrets:
    """Returns the draws with which clients of other sketches, of the same sum, give the same view.

    Masks move along a path of honest pairs. Each polynomial moves by a multiple of the one that is
    1 at zero and 0 at the colluders' points.
    """
    one, two = COLLUDERS
    scale = pow(one * two, -1, P)
    coefficients = (-(one + two) * scale, scale)
    moves: dict[int | Edge, int] = {i: sketches[i] - secrets.sketches[i] for i in HONEST}
    masks = dict(secrets.masks)
    debt = 0
    for i, j in itertools.pairwise(HONEST):
        debt += secrets.sketches[i] - sketches[i]
        masks[i, j] += debt
        moves[i, j] = moves[j, i] = debt
    moved = {
        name: [(c + moves.get(name, 0) * q) % P for c, q in zip(old, coefficients, strict=True)]
        for name, old in secrets.random.items()
    }
    return Secrets(sketches, masks, moved)


def can_be_dealt(masks: Mapping[Edge, int], *, carries: bool) -> bool:
    """Whether each is a centred residue plus a random multiple of 2^32 that a client may draw."""
    for value in masks.values():
        multiple = (value + 2**31) >> 32
        if not (-(2**63) <= multiple < 2**63 if carries else multiple == 0):
            return False
    return True


def others(rng: random.Random, secrets: Secrets) -> dict[int, int]:
    """Returns other sketches with the same sum."""
    *first, last = HONEST
    sketches = {i: rng.randrange(-(2**31), 2**31) for i in first}
    sketches[last] = sum(secrets.sketches.values()) - sum(sketches.values())
    return sketches


def test_all_sketches_with_the_same_sum_explain_a_view_equally_well() -> None:
    """The server's view has the residues, the sum, all answers, and the shares of colluders.

    Other sketches need other random multiples of 2^32, out of range with a chance of 2^-77.
    """
    rng = random.Random(7)
    for _ in range(200):
        secrets = drawn(rng, carries=True)
        other = explained(secrets, others(rng, secrets))
        assert other.sketches != secrets.sketches
        assert other.view() == secrets.view()
        assert can_be_dealt(other.masks, carries=True)


def test_without_random_multiples_most_sketches_would_be_ruled_out() -> None:
    rng = random.Random(7)
    possible = 0
    for _ in range(200):
        secrets = drawn(rng, carries=False)
        possible += can_be_dealt(explained(secrets, others(rng, secrets)).masks, carries=False)
    assert possible < 100


def guessed(trials: int) -> float:
    """Returns how often the sign of an opened b is that of the sketch, over whole rounds."""
    agree = []
    for seed in range(trials):
        played = Round(range(3), range(3), degree=1, rng=random.Random(seed))
        answers = played.answers(Lies(), range(3))
        for client in range(3):
            pairs = zip(played.opened(answers, client), played.sketch(client), strict=True)
            agree += [(opened > 0) == (true > 0) for opened, true in pairs]
    return sum(agree) / len(agree)


def test_opened_sums_do_not_tell_the_signs_of_sketches(monkeypatch: pytest.MonkeyPatch) -> None:
    # By hand for bare carries: a sketch x uniform on [0, 1] meets masks whose sum is triangular on
    # [-2, 2], which outweighs it with probability (2 - x)^2 / 8; the mean of that is 7 / 24. With
    # 1,080 guesses, one standard error is .015.
    assert guessed(120) == pytest.approx(0.5, abs=0.06)
    monkeypatch.setattr(
        "securefl.channels.masking.sketches.blame._carries", lambda key, size: [0] * size
    )
    assert guessed(120) == pytest.approx(17 / 24, abs=0.06)


def test_the_sum_of_all_opened_sums_is_the_sum_of_sketches_that_stage_8_opened() -> None:
    played = Round(range(5), (0, 2, 3), degree=1, rng=random.Random(3))
    answers = played.answers(Lies(), range(5))
    opened = [played.opened(answers, client) for client in played.chosen]
    sketches = [played.sketch(client) for client in played.chosen]
    assert [sum(column) for column in zip(*opened, strict=True)] == [
        sum(column) for column in zip(*sketches, strict=True)
    ]


def test_decoding_a_pair_of_honest_clients_gives_zero_whatever_the_challenge() -> None:
    played = Round(range(5), (0, 2, 3), degree=1, rng=random.Random(4))
    answers = played.answers(Lies(), range(5))
    for edge in ((0, 2), (0, 3), (2, 3)):
        shares = {played.points[holder]: answer.pairs[edge] for holder, answer in answers.items()}
        found = decoded(shares, degree=1, errors=1)
        assert found is not None
        assert found.constant == 0
        assert found.wrong == frozenset()
