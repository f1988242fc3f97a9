"""Standardisation over all sites, against all records in one place."""

import json
import math

import numpy as np
import pytest

from securefl.data.harmonise.moments import exact_moments, noised_moments
from securefl.data.harmonise.standardise import standardise_parts, standardised
from securefl.data.harmonise.sums import VARIANCE_FLOOR, Pooled
from securefl.errors import DataError
from securefl.rng import seeded_keystream
from tests.data.harmonise.sites import fitted, unlike_sites


def test_standardisation_is_that_of_all_records_in_one_place() -> None:
    sites = unlike_sites((3, 40, 9), p=5, q=0)
    moments = [exact_moments(*site) for site in sites]
    pooled = fitted(standardise_parts(5, claim=False), moments, p=5, q=0)
    everything = np.concatenate([site.features for site in sites])
    expected = (everything - everything.mean(axis=0)) / everything.std(axis=0)
    assert np.allclose(standardised(everything, pooled), expected, atol=1e-12)
    assert pooled.records == 52


def test_standardisation_known_answer() -> None:
    # By hand: (0, 2) at one site and (7,) at another: mean 3, variance (9 + 1 + 16) / 3.
    none = np.zeros((2, 0))
    moments = [
        exact_moments(np.array([[0.0], [2.0]]), none),
        exact_moments(np.array([[7.0]]), none[:1]),
    ]
    pooled = fitted(standardise_parts(1, claim=False), moments, p=1, q=0)
    assert pooled.mean.tolist() == [3]
    assert pooled.variance.tolist() == pytest.approx([26 / 3])


def test_a_constant_feature_is_refused_without_a_claim() -> None:
    features = np.array([[0.1, 1.0], [0.1, 2.0], [0.1, 4.0]])
    moments = [exact_moments(features, np.zeros((3, 0)))]
    with pytest.raises(DataError, match="column 0 is constant"):
        fitted(standardise_parts(2, claim=False), moments, p=2, q=0)


def test_a_feature_too_small_for_the_steps_of_a_sum_is_to_be_rescaled() -> None:
    # Squares of 1e-10 vanish in steps of 2^-60, and those of 1e-8 keep two digits.
    features = np.array([[1.0, 1.0], [2.0, 2.0], [4.0, 4.0]])
    for scale in (1e-10, 1e-8):
        moments = [exact_moments(features * [1.0, scale], np.zeros((3, 0)))]
        with pytest.raises(DataError, match=r"column 1 is constant, or too .*rescale it"):
            fitted(standardise_parts(2, claim=False), moments, p=2, q=0)
    moments = [exact_moments(features * [1.0, 1e-4], np.zeros((3, 0)))]
    assert fitted(standardise_parts(2, claim=False), moments, p=2, q=0).records == 3


def test_a_constant_feature_has_the_least_variance_under_a_claim() -> None:
    moments = noised_moments(
        np.zeros((10, 1)),
        np.zeros((10, 0)),
        records=10**6,
        noise_multiplier=0.1,
        stream=seeded_keystream(0, "test"),
    )
    pooled = fitted(standardise_parts(1, claim=True), [moments], p=1, q=0)
    assert pooled.variance.tolist() == [VARIANCE_FLOOR]


def test_a_fit_comes_back_from_json_bit_for_bit() -> None:
    moments = [exact_moments(*site) for site in unlike_sites((3, 4), p=2, q=0)]
    pooled = fitted(standardise_parts(2, claim=False), moments, p=2, q=0)
    back = Pooled.from_json(json.loads(json.dumps(pooled.to_json())), p=2, q=0)
    assert back.to_json() == pooled.to_json()


@pytest.mark.parametrize(
    "change",
    [
        {"records": "many"},
        {"x": 1},
        {"mean": [0.0]},
        {"mean": [0.0, math.inf]},
        {"variance": [0.0, 1.0]},
    ],
    ids=["text", "key", "shape", "infinite", "no variance"],
)
def test_other_numbers_are_no_fit(change: dict[str, object]) -> None:
    values = Pooled(np.zeros((0, 2)), np.zeros(2), np.ones(2), 3.0).to_json() | change
    with pytest.raises(ValueError, match=r"keys|variance|finite|reshape"):
        Pooled.from_json(values, p=2, q=0)
