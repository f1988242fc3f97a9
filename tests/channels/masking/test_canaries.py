"""Canaries in a masked sum: server and colluders measure no more than the booked sum allows.

Each canary is a record with a coordinate of its own, in the sum or not by a fair coin. One round
then holds thousands of trials against the booked bound, which is that of a concentrated DP release:
the Renyi divergence of order alpha of what is seen is at most alpha rho.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import beta

from securefl.channels.masking import upload
from securefl.channels.masking.noise import SumNoise
from securefl.privacy.events import DiscreteGaussianSum
from securefl.privacy.noise.discrete import discrete_gaussian
from securefl.privacy.noise.shares import NoiseShares
from securefl.rng import Keystream, seeded_keystream
from tests.channels.masking.parties import Session
from tests.channels.masking.test_noise import noise_of, terms_of, updates

# One chunk of an upload, so that a colluder's share is drawn in one piece.
CANARIES = 60_000
# One record moves the sum by a 200th: half of the canaries add up to a norm of .87.
CANARY = 0.005
SHARES = NoiseShares(sensitivity=CANARY, length=1.0, noise_multiplier=1.0)
FALSE_ALARM = 1e-6
VICTIM = 1
COLLUDER = 0


def rho_of(event: DiscreteGaussianSum) -> float:
    """Returns the concentrated-DP bound of theorem 1 in Kairouz, Liu and Steinke (2021)."""
    mean = event.sensitivity / event.sigma
    first = mean**2 + event.tau * event.dimension / 2
    second = (mean + event.tau * math.sqrt(event.dimension)) ** 2
    return min(first, second) / 2


def is_refuted(scores: NDArray[np.float64], inside: NDArray[np.bool_], rho: float) -> bool:
    """Whether a guess from the scores is right more often than rho allows, at any order."""
    guesses = scores > CANARY / 2
    found, members = int((guesses & inside).sum()), int(inside.sum())
    alarms, others = int((guesses & ~inside).sum()), int((~inside).sum())
    # Clopper and Pearson's ends, of both rates towards the harmless side.
    hit = float(beta.ppf(FALSE_ALARM / 2, found, members - found + 1))
    alarm = float(beta.isf(FALSE_ALARM / 2, alarms + 1, others - alarms))
    if hit <= alarm:
        return False
    for order in (1.01, 1.5, 2.0, 4.0, 8.0):
        powers = hit**order * alarm ** (1 - order) + (1 - hit) ** order * (1 - alarm) ** (1 - order)
        if math.log(powers) / (order - 1) > order * rho:
            return True
    return False


class Planted:
    """Clients that add less than their share: `factor` of its deviation."""

    def __init__(self, factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
        self._factor = factor
        self._right = upload.add_share
        monkeypatch.setattr(upload, "add_share", self.add_share)

    def add_share(self, part: NDArray[Any], noise: SumNoise, *, stream: Keystream) -> None:
        thin = replace(noise, share=self._factor * noise.share)
        self._right(part, thin, stream=stream)

    def refute(self, *, dropped: tuple[int, ...] = ()) -> bool:
        """Plays a round; returns whether server and colluder together refute what is booked."""
        terms = terms_of(10, SHARES, d=CANARIES)
        noise = noise_of(terms)
        inside = seeded_keystream(5, "coins").bernoulli(CANARIES, probability=0.5)
        session = Session(terms)
        session.begin(0)
        session.updates = updates(terms)
        delta = torch.from_numpy((CANARY * inside).astype(np.float32))
        session.updates[VICTIM] = replace(session.updates[VICTIM], delta=delta)
        session.until(5, silent=dict.fromkeys(dropped, 3))
        view = session.stage(silent=dropped)
        assert view is not None
        steps = view.rows[0].double().numpy() * len(view.clients) / terms.code.step
        # The colluder's own share, which it tells the server.
        stream = seeded_keystream(0, "shares", COLLUDER, 0)
        sigma = self._factor * noise.share
        steps -= discrete_gaussian(CANARIES, sigma=sigma, stream=stream)
        return is_refuted(steps * terms.code.step, inside, rho_of(noise.event))


FEWEST = (6, 7, 8, 9)  # the clients that drop out until only the fewest are left


@pytest.mark.parametrize("dropped", [(), FEWEST])
def test_canaries_refute_nothing_that_is_booked(
    dropped: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not Planted(1.0, monkeypatch).refute(dropped=dropped)


@pytest.mark.parametrize("dropped", [(), FEWEST])
def test_half_the_share_at_every_client_is_found(
    dropped: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Planted(0.5, monkeypatch).refute(dropped=dropped)


def test_a_share_sized_for_everybody_is_found_once_clients_are_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Sized as if ten honest clients were always in the sum, instead of five.
    planted = Planted(math.sqrt(5 / 10), monkeypatch)
    assert not planted.refute()
    assert planted.refute(dropped=FEWEST)
