"""Fractions of field elements, which distances between weights with a common factor do not show."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from securefl.channels.masking.sketches import sketching
from securefl.channels.masking.sketches.field import P, centred
from securefl.channels.masking.sketches.matrix import Matrix
from securefl.channels.masking.sketches.sketching import SketchingClient
from securefl.channels.masking.sketches.words import encoded_words
from securefl.errors import RoundAbandoned
from tests.channels.masking.sketches.parties import (
    SketchSession,
    make_sketching_client,
    sketch_terms,
    without_furthest,
)

POISON = np.array([1, -1, 1]).astype(np.uint32)


class Fraction(SketchingClient):
    """Adds a residue to its update, and a fraction of the same residue to an honest sketch."""

    fraction: int

    def _sketch(self, matrix: Matrix, words: NDArray[Any]) -> Sequence[int]:
        multiples = matrix.sketch(POISON).view(np.int32).tolist()
        dealt = []
        for word, multiple in zip(matrix.sketch(words).tolist(), multiples, strict=True):
            part = centred(multiple * self.fraction % P)
            small = (word - part + 2**31) % 2**32 - 2**31
            dealt.append(centred((part + small) % P))
        return dealt


def play_without_liar(session: SketchSession) -> None:
    """Plays rounds in which the rule leaves out client 8, until one chooses it or is abandoned."""
    for round in range(4):
        assert 8 not in session.play(round).clients, "the liar's update is in the sum"
    pytest.fail("the rule never chose the liar")


@pytest.mark.parametrize(("weight", "factor"), [(3, 3), (2500, 625), (2**20 - 1, 2**20 - 1)])
def test_a_fraction_that_fits_all_weights_is_seen_and_its_dealer_named(
    weight: int, factor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The least fraction: (p + a) / factor.
    Fraction.fraction = (-P % factor) * pow(factor, -1, P) % P
    residue = np.uint32(centred(Fraction.fraction) % 2**32)
    terms = sketch_terms(
        9, corrupt=2, liars=2, size=64, weights=dict.fromkeys(range(9), weight), max_weight=weight
    )
    session = SketchSession(terms, without_furthest)
    session.clients[8] = make_sketching_client(8, terms, kind=Fraction)

    def poisoned(*arguments: Any, **options: Any) -> NDArray[Any]:
        words: NDArray[Any] = encoded_words(*arguments, **options) + residue * POISON
        return words

    submit = session.clients[8].submit

    def submitted(update: Any) -> memoryview:
        with monkeypatch.context() as patched:
            patched.setattr(sketching, "encoded_words", poisoned)
            return submit(update)

    monkeypatch.setattr(session.clients[8], "submit", submitted)
    with pytest.raises(RoundAbandoned, match="sketches") as abandoned:
        play_without_liar(session)
    assert set(abandoned.value.named) == {8}
