"""Privacy events: their ranges, the gap of a sum of shares, and their lines in a ledger."""

import math

import numpy as np
import pytest

from securefl.privacy.accounting.epsilon import epsilon
from securefl.privacy.events import (
    MAX_SHARES,
    DiscreteGaussianSum,
    PrivacyEvent,
    SampledGaussian,
    event_from_json,
    event_to_json,
    in_order,
    sum_gap,
)


def shares(share: float = 3.0, number: int = 4, *, sample_rate: float = 1.0) -> DiscreteGaussianSum:
    return DiscreteGaussianSum.of(
        share, number, sensitivity=2.0, granularity=0.5, dimension=7, sample_rate=sample_rate
    )


# The gap


def test_the_gap_of_a_sum_known_answer() -> None:
    # By hand: 10 (e^(-pi^2 / 4) + e^(-pi^2 / 3) + e^(-3 pi^2 / 8)) for share 1/2 and four shares.
    by_hand = 10 * (
        math.exp(-(math.pi**2) / 4) + math.exp(-(math.pi**2) / 3) + math.exp(-3 * math.pi**2 / 8)
    )
    assert sum_gap(0.5, 4) == pytest.approx(by_hand, rel=1e-12)
    assert sum_gap(0.5, 4) == pytest.approx(1.4676, abs=5e-5)


def test_one_share_has_no_gap_and_more_shares_have_a_larger_one() -> None:
    assert sum_gap(0.3, 1) == 0.0
    gaps = [sum_gap(0.5, number) for number in (1, 2, 3, 10, 100)]
    assert gaps == sorted(gaps)


@pytest.mark.parametrize("number", [2, 5, 10, 128])
def test_from_two_steps_of_the_grid_a_share_on_the_gap_is_below_1e_15(number: int) -> None:
    for share in (2.0, 3.0, 17.0):
        assert sum_gap(share, number) < 1e-15


# A sum with shares


def test_a_sum_of_equal_shares_known_answer() -> None:
    event = shares()
    # Four shares of 3 steps, of .5 each: twice 1.5.
    assert (event.sigma, event.share, event.noise_multiplier) == (3.0, 3.0, 1.5)
    assert (event.sample_rate, event.steps) == (1.0, 1)
    assert event.tau == sum_gap(3.0, 4)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"sample_rate": 0.0}, r"sample_rate must be in \(0, 1\], got 0.0"),
        ({"sample_rate": math.nan}, r"sample_rate must be in \(0, 1\], got nan"),
        ({"sigma": 0.0}, "sigma must be positive and finite, got 0.0"),
        ({"sensitivity": math.inf}, "sensitivity must be positive and finite, got inf"),
        ({"granularity": -1.0}, "granularity must be positive and finite, got -1.0"),
        ({"shares": 0}, "shares must be >= 1, got 0"),
        ({"shares": MAX_SHARES + 1}, f"shares must be <= {MAX_SHARES}, got"),
        ({"sigma": 0.49}, "a share of noise must be at least 0.5 steps of the grid, got 0.49: use"),
        ({"dimension": 0}, "dimension must be >= 1, got 0"),
        ({"steps": 0}, "steps must be >= 1, got 0"),
        ({"tau": 0.0}, "tau must be at least 1.* for these shares, got 0.0"),
        ({"tau": math.nan}, "tau must be at least"),
        ({"tau": math.inf}, "tau must be at least"),
    ],
    ids=str,
)
def test_values_outside_their_ranges_are_no_event(values: dict[str, float], sentence: str) -> None:
    fields = event_to_json(shares(0.5))
    with pytest.raises(ValueError, match=sentence):
        DiscreteGaussianSum(**(fields | values))


def exact_epsilon(share: float, number: int, delta: float, *, reach: int = 9) -> float:
    """Returns the least epsilon of a sum of shares that one unit moves by a step.

    From the sum's distribution, without any bound, and cut off where it is below all that counts.
    """
    steps = np.arange(-reach, reach + 1)
    one = np.exp(-((steps / share) ** 2) / 2)
    one /= one.sum()
    total = one
    for _ in range(number - 1):
        total = np.convolve(total, one)
    here, there = total[1:], total[:-1]
    low, high = 0.0, 700.0
    for _ in range(60):
        middle = (low + high) / 2
        missing = np.maximum(here - np.exp(middle) * there, 0.0).sum()
        low, high = (middle, high) if missing > delta else (low, middle)
    return low


@pytest.mark.parametrize(("share", "number"), [(0.08, 3), (0.1, 2), (0.08, 5)])
def test_shares_whose_bound_would_be_below_the_exact_cost_are_no_event(
    share: float, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def booked() -> DiscreteGaussianSum:
        return DiscreteGaussianSum.of(share, number, sensitivity=1.0, granularity=1.0, dimension=1)

    with pytest.raises(ValueError, match=f"at least 0.5 steps of the grid, got {share}: use a"):
        booked()
    monkeypatch.setattr("securefl.privacy.events.MIN_SHARE", 0.0)
    assert epsilon({booked(): 1}, delta=0.3) < 0.9 * exact_epsilon(share, number, 0.3)


@pytest.mark.parametrize("delta", [0.3, 1e-3])
@pytest.mark.parametrize("number", [2, 3, 8])
def test_from_half_a_step_a_share_on_the_bound_is_above_the_exact_cost(
    number: int, delta: float
) -> None:
    event = DiscreteGaussianSum.of(0.5, number, sensitivity=1.0, granularity=1.0, dimension=1)
    assert epsilon({event: 1}, delta=delta) >= exact_epsilon(0.5, number, delta)


def test_a_single_share_may_be_as_small_as_it_likes() -> None:
    assert shares(0.1, 1).tau == 0.0


def test_a_larger_gap_than_that_of_the_shares_may_be_booked() -> None:
    fields = event_to_json(shares(0.5)) | {"tau": 100.0}
    assert DiscreteGaussianSum(**fields).tau == 100.0


# Lines of a ledger


@pytest.mark.parametrize(
    "event", [SampledGaussian(0.1, 1.5, 20), shares(sample_rate=0.25)], ids=["gaussian", "shares"]
)
def test_an_event_is_read_back_as_it_was(event: PrivacyEvent) -> None:
    assert event_from_json(event_to_json(event)) == event


@pytest.mark.parametrize(
    "values",
    [{"steps": 1.0}, {"steps": True}, {"steps": "1"}, {"noise_multiplier": False}, {"more": 1}],
    ids=str,
)
def test_a_line_with_a_value_of_another_type_is_no_event(values: dict[str, object]) -> None:
    fields = event_to_json(SampledGaussian(0.1, 1.5, 20)) | values
    with pytest.raises(TypeError, match=r"of an event cannot be|unexpected keyword argument"):
        event_from_json(fields)


def test_events_of_both_kinds_have_one_order_and_differ_from_each_other() -> None:
    gaussian = SampledGaussian(1.0, 1.5, 1)
    events: list[tuple[PrivacyEvent, int]] = [(shares(4.0), 1), (gaussian, 2), (shares(), 3)]
    expected = ((shares(), 3), (shares(4.0), 1), (gaussian, 2))
    assert in_order(dict(events)) == in_order(dict(events[::-1])) == expected
