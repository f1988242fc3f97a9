"""ComBat from sums over sites, against neuroCombat with all records in one place."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securefl.data.harmonise.combat import (
    MAX_RATIO,
    NO_EFFECT,
    adjusted,
    check_site,
    combat_parts,
    site_effect,
)
from securefl.data.harmonise.moments import exact_moments, noised_moments
from securefl.data.harmonise.sums import VARIANCE_FLOOR, Pooled
from securefl.errors import DataError
from securefl.rng import seeded_keystream
from tests.data.harmonise.sites import Records, combat, fitted, reference, unlike_sites

NO_COVARIATES = np.zeros((2, 0))


@pytest.mark.parametrize("empirical_bayes", [True, False], ids=["shrunk", "as estimated"])
@pytest.mark.parametrize("q", [0, 1, 3], ids=["no covariate", "one", "three"])
@pytest.mark.parametrize("sizes", [(20, 30, 40), (5, 60, 17, 9), (50, 3)], ids=str)
def test_combat_is_that_of_neurocombat(
    sizes: tuple[int, ...], q: int, *, empirical_bayes: bool
) -> None:
    sites = unlike_sites(sizes, p=6, q=q, seed=len(sizes))
    ours = combat(sites, empirical_bayes=empirical_bayes)
    theirs = reference(sites, empirical_bayes=empirical_bayes)
    for one, other in zip(ours, theirs, strict=True):
        assert np.abs(one - other).max() < 1e-9


@settings(deadline=None, max_examples=20)
@given(
    st.lists(st.integers(4, 25), min_size=2, max_size=4),
    st.integers(2, 8),
    st.integers(0, 2),
    st.integers(0, 10**6),
)
def test_combat_is_that_of_neurocombat_on_any_sites(
    sizes: list[int], p: int, q: int, seed: int
) -> None:
    sites = unlike_sites(tuple(sizes), p=p, q=q, seed=seed)
    for one, other in zip(combat(sites), reference(sites), strict=True):
        assert np.allclose(one, other, rtol=1e-6, atol=1e-6)


def test_combat_known_answer() -> None:
    # By hand, without shrinking: sites (0, 2) and (10, 14, 18). Grand mean (2 x 1 + 3 x 14) / 5 =
    # 8.8, pooled variance (2 + 32) / 5 = 6.8. Site variances 2 and 16 (of n - 1) become 6.8, so
    # that the first site is 8.8 + (-1, 1) sqrt(6.8 / 2) and the second 8.8 + (-4, 0, 4)
    # sqrt(6.8 / 16). With n in place of n - 1, or the mean of means 7.5, other numbers come out.
    first = Records(np.array([[0.0], [2.0]]), NO_COVARIATES)
    second = Records(np.array([[10.0], [14.0], [18.0]]), np.zeros((3, 0)))
    one, other = combat([first, second], empirical_bayes=False)
    step = math.sqrt(3.4)
    assert one.ravel().tolist() == pytest.approx([8.8 - step, 8.8 + step])
    wide = 4 * math.sqrt(0.425)
    assert other.ravel().tolist() == pytest.approx([8.8 - wide, 8.8, 8.8 + wide])


def test_slopes_are_those_within_sites() -> None:
    # Frisch and Waugh: y = 2 z + 100 at one site and 2 z - 300 at the other, where z is near 50.
    # Between the sites y falls with z, so that slopes of all records together are far from 2.
    z = np.array([[0.0], [1.0], [2.0]])
    moments = [exact_moments(2 * z + 100, z), exact_moments(2 * (z + 50) - 300, z + 50)]
    slopes_part, means_part, _ = combat_parts(1, 1, claim=False)
    pooled = Pooled.start(1, 1)
    for part in (slopes_part, means_part):
        total = np.sum([part.of(site, pooled) for site in moments], axis=0)
        pooled = part.learn(total, pooled)
    assert pooled.slopes.ravel().tolist() == pytest.approx([2.0])
    # Means of y - 2 z, weighted alike: (100 - 300) / 2.
    assert pooled.mean.tolist() == pytest.approx([-100.0])


def test_there_are_three_sums_and_two_without_covariates() -> None:
    assert [part.length for part in combat_parts(4, 2, claim=False)] == [3 + 8, 5, 4]
    assert [part.length for part in combat_parts(4, 0, claim=False)] == [5, 4]


def test_no_effect_leaves_records_as_they_are() -> None:
    records = unlike_sites((9,), p=3, q=1)[0]
    pooled = Pooled(np.ones((1, 3)), np.arange(3.0), np.array([1.0, 2.0, 3.0]), 9.0)
    assert np.allclose(adjusted(*records, pooled, NO_EFFECT), records.features, atol=1e-12)


def test_copies_of_one_feature_have_finite_effects() -> None:
    # Their variance across features is 0, which the priors divide by.
    sites = [
        Records(np.repeat(site.features[:, :1], 3, axis=1), site.covariates)
        for site in unlike_sites((8, 5), p=1, q=0)
    ]
    for one in combat(sites):
        assert np.isfinite(one).all()
        assert np.allclose(one, one[:, :1], atol=1e-12)


def test_covariates_without_slopes_are_refused() -> None:
    sites = unlike_sites((8, 9), p=2, q=1)
    constant = [
        Records(site.features, np.full_like(site.covariates, i)) for i, site in enumerate(sites)
    ]
    twice = [Records(site.features, np.repeat(site.covariates, 2, axis=1)) for site in sites]
    # In steps of 2^-60 their sums have hardly any digits.
    tiny = [Records(site.features, site.covariates * 1e-8) for site in sites]
    for refused in (constant, twice, tiny):
        with pytest.raises(DataError, match=r"covariates are constant within.*rescale the column"):
            combat(refused)
    small = [Records(site.features, site.covariates * 1e-4) for site in sites]
    for one, other in zip(combat(small), combat(sites), strict=True):
        assert np.allclose(one, other, atol=1e-9)


@pytest.mark.parametrize(
    ("features", "reason"),
    [
        ([[1.0, 2.0]], "1 training records; it takes 2"),
        ([[1.0, 2.0], [3.0, 2.0]], "column 1 is constant"),
        ([[1.0, 2.0], [3.0, math.nan]], "not finite"),
    ],
    ids=["one record", "constant", "nan"],
)
def test_a_site_without_a_scale_is_refused(features: list[list[float]], reason: str) -> None:
    table = np.array(features)
    with pytest.raises(DataError, match=f"site 'here' .*{reason}"):
        check_site(table, np.zeros((len(table), 0)), name="here")


def test_under_a_claim_nothing_is_refused_and_scales_stay_within_limits() -> None:
    # Constant features and covariates, one record, and more noise than records.
    for seed in range(30):
        moments = [
            noised_moments(
                np.zeros((1, 3)),
                np.zeros((1, 2)),
                records=records,
                noise_multiplier=5.0,
                stream=seeded_keystream(seed, "test", records),
            )
            for records in (1, 40)
        ]
        pooled = fitted(combat_parts(3, 2, claim=True), moments, p=3, q=2)
        assert (pooled.variance >= VARIANCE_FLOOR).all()
        for own in moments:
            effect = site_effect(own, pooled, empirical_bayes=False, claim=True)
            assert np.isfinite(effect.location).all()
            assert ((effect.scale >= 1 / MAX_RATIO) & (effect.scale <= MAX_RATIO)).all()
            shrunk = site_effect(own, pooled, empirical_bayes=True, claim=True)
            assert np.isfinite(shrunk.location).all()
            assert (shrunk.scale > 0).all()


def test_noise_that_makes_covariates_vary_less_than_not_at_all_leaves_small_slopes() -> None:
    # By hand: a hundredth of the larger eigenvalue, 100, takes the place of -5. So the slopes are
    # 3 / 1 and 4 / 100; without a floor the first would be -0.6.
    part = combat_parts(1, 2, claim=True)[0]
    pooled = part.learn(np.array([-5.0, 0.0, 100.0, 3.0, 4.0]), Pooled.start(1, 2))
    assert pooled.slopes.ravel().tolist() == pytest.approx([3.0, 0.04])


def test_with_many_records_noise_changes_little() -> None:
    draw = np.random.default_rng(3)
    sites = []
    for shift in (-0.3, 0.2):
        z = draw.uniform(-1, 1, (20_000, 1))
        sites.append(Records(0.3 * z + shift + draw.uniform(-0.3, 0.3, (20_000, 2)), z))
    noised = [
        noised_moments(
            *site, records=20_000, noise_multiplier=4.0, stream=seeded_keystream(0, "test", place)
        )
        for place, site in enumerate(sites)
    ]
    pooled = fitted(combat_parts(2, 1, claim=True), noised, p=2, q=1)
    for place, exact in enumerate(combat(sites)):
        effect = site_effect(noised[place], pooled, empirical_bayes=True, claim=True)
        assert np.abs(adjusted(*sites[place], pooled, effect) - exact).max() < 0.02
