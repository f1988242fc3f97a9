"""Moments of a site: exact ones, and noised ones whose sensitivity is known."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securefl.data.harmonise.moments import (
    Array,
    Moments,
    clipped_sums,
    exact_moments,
    noised_moments,
    sensitivity,
    symmetric,
)
from securefl.rng import seeded_keystream
from tests.data.harmonise.sites import unlike_sites

Y = np.array([[1.0, 10.0], [3.0, 10.0], [5.0, 16.0]])
Z = np.array([[0.0], [1.0], [2.0]])


def same(one: Moments, other: Moments) -> bool:
    return json.dumps(one.to_json()) == json.dumps(other.to_json())


def test_moments_known_answer() -> None:
    # By hand: means 3 and 12, deviations (-2, 0, 2) and (-2, -2, 4), of the covariate (-1, 0, 1).
    moments = exact_moments(Y, Z)
    assert moments.n == 3
    assert moments.mean.tolist() == [3, 12]
    assert moments.covariate_mean.tolist() == [1]
    assert moments.squares.tolist() == [8, 24]
    assert moments.between.tolist() == [[2]]
    assert moments.cross.tolist() == [[4, 6]]


def test_residuals_known_answer() -> None:
    # With slopes 2 and 3: y - 2 z = (1, 1, 1) and y - 3 z = (10, 7, 10).
    moments, slopes = exact_moments(Y, Z), np.array([[2.0, 3.0]])
    assert moments.residual_mean(slopes).tolist() == [1, 9]
    assert moments.residual_squares(slopes).tolist() == [0, 6]


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 12), st.integers(1, 4), st.integers(0, 3), st.integers(0, 99))
def test_residual_squares_are_those_of_the_records(n: int, p: int, q: int, seed: int) -> None:
    records = unlike_sites((n,), p=p, q=q, seed=seed)[0]
    slopes = np.random.default_rng(seed).normal(size=(q, p))
    residuals = records.features - records.covariates @ slopes
    moments = exact_moments(*records)
    expected = ((residuals - residuals.mean(axis=0)) ** 2).sum(axis=0)
    assert np.allclose(moments.residual_squares(slopes), expected, rtol=1e-9, atol=1e-9)
    assert np.allclose(moments.residual_mean(slopes), residuals.mean(axis=0))


def test_no_record_has_no_moments() -> None:
    with pytest.raises(ValueError, match="no record"):
        exact_moments(np.zeros((0, 2)), np.zeros((0, 1)))


def test_a_triangle_becomes_a_symmetric_matrix() -> None:
    assert symmetric(np.array([1.0, 2.0, 3.0]), 2).tolist() == [[1, 2], [2, 3]]


def test_moments_come_back_from_json_bit_for_bit() -> None:
    moments = exact_moments(*unlike_sites((7,), p=3, q=2)[0])
    back = Moments.from_json(json.loads(json.dumps(moments.to_json())), p=3, q=2)
    assert same(back, moments)


@pytest.mark.parametrize(
    "change",
    [{"n": "3"}, {"more": 1}, {"mean": [1.0]}, {"squares": [1.0, math.nan]}, {"n": math.inf}],
    ids=["text", "key", "shape", "nan", "infinite"],
)
def test_other_numbers_are_no_moments(change: dict[str, object]) -> None:
    values = exact_moments(Y, Z).to_json() | change
    with pytest.raises(ValueError, match=r"moment|reshape"):
        Moments.from_json(values, p=2, q=1)


# Values of a record that is as bad as it can be, whatever the clip lets through.
WILD = st.one_of(st.floats(-5, 5), st.sampled_from([math.nan, math.inf, -math.inf, 1e300]))


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 4), st.integers(0, 3), st.data())
def test_one_record_more_moves_the_sums_by_the_sensitivity_at_most(
    p: int, q: int, data: st.DataObject
) -> None:
    record = data.draw(st.lists(WILD, min_size=p + q, max_size=p + q))
    rest = unlike_sites((5,), p=p, q=q)[0]
    row = np.array([record])
    more = clipped_sums(
        np.concatenate([rest.features, row[:, :p]]),
        np.concatenate([rest.covariates, row[:, p:]]),
    )
    moved = np.linalg.norm(more - clipped_sums(*rest))
    assert moved <= sensitivity(p, q) * (1 + 1e-12)


@pytest.mark.parametrize(("p", "q"), [(1, 0), (3, 0), (2, 1), (4, 3)])
def test_a_record_of_ones_reaches_the_sensitivity(p: int, q: int) -> None:
    sums = clipped_sums(np.ones((1, p)), -np.ones((1, q)))
    assert np.linalg.norm(sums) == pytest.approx(sensitivity(p, q))


def test_sensitivity_known_answer() -> None:
    # 2 p + q + q (q + 1) / 2 + q p = 4 + 2 + 3 + 4 for two features and two covariates.
    assert sensitivity(2, 2) == pytest.approx(math.sqrt(13))


def noised(features: Array, covariates: Array, *, noise: float = 1.0, seed: int = 0) -> Moments:
    return noised_moments(
        features,
        covariates,
        records=len(features),
        noise_multiplier=noise,
        stream=seeded_keystream(seed, "test"),
    )


def test_next_to_no_noise_the_moments_are_exact() -> None:
    draw = np.random.default_rng(0)
    features, covariates = draw.uniform(-1, 1, (50, 3)), draw.uniform(-1, 1, (50, 2))
    exact, close = exact_moments(features, covariates), noised(features, covariates, noise=1e-9)
    for name, value in exact.to_json().items():
        assert np.allclose(getattr(close, name), value, atol=1e-6), name


def test_noise_has_the_stated_scale() -> None:
    # 50 features have sensitivity 10, so that sums get noise of 3 x 10. Of 10,000 draws, half for y
    # and half for y^2, the standard deviation is within 4 % but for a chance of 1e-8.
    draws = []
    for seed in range(100):
        moments = noised(np.zeros((1000, 50)), np.zeros((1000, 0)), noise=3.0, seed=seed)
        draws += [*(1000 * moments.mean), *(moments.squares + 1000 * moments.mean**2)]
    assert np.std(draws) == pytest.approx(30, rel=0.04)


def test_no_value_is_refused_under_noise_and_the_real_number_is_not_used() -> None:
    features = np.array([[math.nan, math.inf], [-math.inf, 0.5]])
    moments = noised_moments(
        features,
        np.zeros((2, 0)),
        records=1000,
        noise_multiplier=1.0,
        stream=seeded_keystream(1, "test"),
    )
    assert moments.n == 1000
    assert np.isfinite(moments.mean).all()
    assert np.isfinite(moments.squares).all()


def test_means_are_brought_back_into_the_range() -> None:
    moments = noised_moments(
        np.ones((1, 4)),
        np.zeros((1, 0)),
        records=1,
        noise_multiplier=1000.0,
        stream=seeded_keystream(2, "test"),
    )
    assert set(np.abs(moments.mean)) == {1.0}
