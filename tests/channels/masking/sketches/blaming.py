"""A round whose sum disagreed with its sketches, played with pure functions: every lie can be set.

Its matrix has few rows and entries at random below 2^32, so that a thousand rounds take seconds.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from securefl.channels.masking.sketches.blame import (
    Opened,
    opened_shares,
    pair_sketches,
    partners,
)
from securefl.channels.masking.sketches.decoding import decoded_columns
from securefl.channels.masking.sketches.field import P, centred, value_at
from securefl.channels.masking.sketches.judging import Blame, expected_residue, judged
from securefl.channels.masking.sketches.matrix import Matrix
from securefl.channels.masking.stream import add_masks

SIZE, D = 3, 5
Edge = tuple[int, int]


class SmallMatrix(Matrix):
    """A matrix with three rows, which is held whole."""

    def __init__(self, rng: random.Random) -> None:
        rows = [[rng.randrange(2**32) for _ in range(D)] for _ in range(SIZE)]
        self.rows = np.array(rows, dtype=np.uint32)

    def sketch(self, words: NDArray[np.uint32]) -> NDArray[np.uint32]:
        product: NDArray[np.uint32] = self.rows @ words
        return product

    def sketches_of_masks(self, keys: Sequence[bytes]) -> NDArray[np.uint32]:
        sketches = [self.sketch(mask_of(key)) for key in keys]
        return np.array(sketches, dtype=np.uint32).reshape(len(keys), SIZE)


@lru_cache  # each mask has two ends
def mask_of(key: bytes) -> NDArray[np.uint32]:
    words = np.zeros(D, dtype="<u4")
    add_masks(words, plus=[key])
    return words


def signed(sketch: NDArray[np.uint32]) -> list[int]:
    """Returns the coordinates of a sketch in [-2^31, 2^31)."""
    values: list[int] = sketch.view(np.int32).tolist()
    return values


@dataclass
class Lies:
    """Everything that clients do against the protocol, in one round.

    Args:
        sketches: i -> what it adds to the sketch that it deals in stage 4.
        masks: (i, j) -> what i adds to its dealing of t_ij.
        silent: clients of S that deal nothing in stage 9.
        away: holders that do not answer stage 10.
        spoilt: (dealer, holder) -> the holder finds the dealing of stage 9 wrong.
        complaints: (holder, dealer) -> the holder says so without reason.
        garbage: holders that answer stage 10 with random elements.
        sparse: holders that leave out most of their answers.
    """

    sketches: dict[int, list[int]] = field(default_factory=dict)
    masks: dict[Edge, list[int]] = field(default_factory=dict)
    silent: set[int] = field(default_factory=set)
    away: set[int] = field(default_factory=set)
    spoilt: set[Edge] = field(default_factory=set)
    complaints: set[Edge] = field(default_factory=set)
    garbage: set[int] = field(default_factory=set)
    sparse: set[int] = field(default_factory=set)


class Round:
    """Honest data of one round: words, masks, uploads, and the matrix.

    Args:
        members: clients that share masks.
        chosen: S, some of the members.
        degree: c.
        rng: draws everything.
    """

    def __init__(
        self, members: Iterable[int], chosen: Iterable[int], *, degree: int, rng: random.Random
    ) -> None:
        self.members = sorted(members)
        self.chosen = sorted(chosen)
        self.degree = degree
        self.rng = rng
        self.points = {holder: place + 1 for place, holder in enumerate(self.members)}
        self.matrix = SmallMatrix(rng)
        self.words = {client: self.drawn_words() for client in self.chosen}
        self.self_masks = {client: rng.randbytes(32) for client in self.chosen}
        self.pair_masks = {
            (low, high): rng.randbytes(32)
            for low in self.members
            for high in self.members
            if low < high
        }
        self.uploads = {client: self._upload(client) for client in self.chosen}

    def drawn_words(self) -> NDArray[np.uint32]:
        return np.array([self.rng.randrange(2**32) for _ in range(D)], dtype="<u4")

    def key(self, one: int, other: int) -> bytes:
        return self.pair_masks[min(one, other), max(one, other)]

    def _upload(self, client: int) -> NDArray[np.uint32]:
        words = self.words[client].copy()
        higher = [self.key(client, other) for other in self.members if other > client]
        lower = [self.key(client, other) for other in self.members if other < client]
        add_masks(words, plus=[self.self_masks[client], *higher], minus=lower)
        return words

    def sketch(self, client: int) -> list[int]:
        """Returns the true s_i."""
        return signed(self.matrix.sketch(self.words[client]))

    def residues(self) -> dict[int, NDArray[np.uint32]]:
        outsiders = [client for client in self.members if client not in self.chosen]
        return {
            client: expected_residue(
                self.matrix,
                self.uploads[client],
                client=client,
                self_mask=self.self_masks[client],
                outside={other: self.key(client, other) for other in outsiders},
            )
            for client in self.chosen
        }

    def dealt_sketch(self, client: int, lies: Lies) -> list[int]:
        return added(self.sketch(client), lies.sketches.get(client))

    def dealt_masks(self, client: int, lies: Lies) -> list[int]:
        others = partners(client, self.chosen)
        keys = {other: self.key(client, other) for other in others}
        values = pair_sketches(self.matrix, keys, size=SIZE)
        dealt: list[int] = []
        for place, other in enumerate(others):
            part = values[place * SIZE : (place + 1) * SIZE]
            dealt += added(part, lies.masks.get((client, other)))
        return dealt

    def check_fails(self, lies: Lies) -> bool:
        """Whether the sum of the dealt sketches is not that of the opened sum, as in stage 8."""
        total = np.zeros(D, dtype=np.uint32)
        for client in self.chosen:
            total += self.words[client]
        dealt = [self.dealt_sketch(client, lies) for client in self.chosen]
        opened = [centred(sum(column) % P) % 2**32 for column in zip(*dealt, strict=True)]
        expected: list[int] = self.matrix.sketch(total).tolist()
        return opened != expected

    def answers(self, lies: Lies, holders: Iterable[int]) -> dict[int, Opened]:
        """Plays stages 9 and 10, and returns the answers of the holders."""
        sketches = {client: self.shares(self.dealt_sketch(client, lies)) for client in self.chosen}
        pairs = {
            client: self.shares(self.dealt_masks(client, lies))
            for client in self.chosen
            if client not in lies.silent
        }
        challenge = self.rng.randbytes(32)
        answers = {}
        for holder in holders:
            if holder in lies.away:
                continue
            held = {
                dealer: None
                if {(dealer, holder)} & lies.spoilt or {(holder, dealer)} & lies.complaints
                else shares[holder]
                for dealer, shares in pairs.items()
            }
            own = {client: shares[holder] for client, shares in sketches.items()}
            answers[holder] = self._lied(
                holder, opened_shares(own, held, challenge=challenge), lies
            )
        return answers

    def _lied(self, holder: int, honest: Opened, lies: Lies) -> Opened:
        rng = self.rng
        pairs, sums = dict(honest.pairs), dict(honest.sums)
        if holder in lies.garbage:
            pairs = {edge: rng.randrange(P) for edge in pairs}
            sums = {client: [rng.randrange(P) for _ in range(SIZE)] for client in sums}
        if holder in lies.sparse:
            pairs = {edge: value for edge, value in pairs.items() if rng.random() < 0.3}
            sums = {client: values for client, values in sums.items() if rng.random() < 0.3}
        return honest._replace(pairs=pairs, sums=sums)

    def shares(self, values: Sequence[int]) -> dict[int, list[int]]:
        """Returns shares of a degree as dealing makes them, without table and proof."""
        polynomials = [
            [value % P, *(self.rng.randrange(P) for _ in range(self.degree))] for value in values
        ]
        return {
            holder: [value_at(polynomial, point) for polynomial in polynomials]
            for holder, point in self.points.items()
        }

    def blame(self, lies: Lies, *, f: int, holders: Iterable[int] | None = None) -> Blame:
        """Plays stages 9 and 10, and judges."""
        answers = self.answers(lies, self.members if holders is None else holders)
        return judged(
            answers,
            self.residues(),
            points=self.points,
            dealt=set(self.chosen) - lies.silent,
            degree=self.degree,
            f=f,
        )

    def opened(self, answers: Mapping[int, Opened], client: int) -> list[int]:
        """Returns b_i of an honest round."""
        rows = {self.points[holder]: answer.sums[client] for holder, answer in answers.items()}
        values = decoded_columns(rows, degree=self.degree, errors=0)
        return [centred(value) for value in values if value is not None]


def added(values: Sequence[int], shift: Sequence[int] | None) -> list[int]:
    if shift is None:
        return list(values)
    return [value + change for value, change in zip(values, shift, strict=True)]
