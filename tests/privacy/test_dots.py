"""Connect the Dots on whole grids: the bits of dp-accounting, which goes point by point."""

import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution as pld
from dp_accounting.pld.privacy_loss_mechanism import AdjacencyType, GaussianPrivacyLoss

from securefl.privacy.accounting.dots import pessimistic_loss, profile

RELEASES = [
    (1.0, 1.0, 1e-2),
    (0.999, 2.0, 1e-2),
    (0.5, 0.5, 1e-2),
    (0.1135, 0.646, 4e-3),
    (0.064, 1.1, 1e-3),
    (0.0066, 0.88, 4e-3),
    (1e-4, 0.4, 1e-2),
    (1e-9, 1.0, 1e-2),
]


@pytest.mark.parametrize(("rate", "noise", "interval"), RELEASES)
def test_a_loss_on_a_grid_is_dp_accountings(rate: float, noise: float, interval: float) -> None:
    theirs = pld.from_gaussian_mechanism(
        noise, sampling_prob=rate, value_discretization_interval=interval
    )
    ours = pessimistic_loss(rate, noise, interval)
    for name in ("_pmf_remove", "_pmf_add"):
        expected = getattr(theirs, name).to_dense_pmf()
        masses = getattr(ours, name).to_dense_pmf()
        assert masses._lower_loss == expected._lower_loss
        assert np.array_equal(masses._probs, expected._probs)
        assert masses._infinity_mass == expected._infinity_mass


@pytest.mark.parametrize("direction", [AdjacencyType.ADD, AdjacencyType.REMOVE])
@pytest.mark.parametrize("rate", [0.2, 1.0])
def test_a_profile_is_dp_accountings_also_where_no_loss_reaches(
    direction: AdjacencyType, rate: float
) -> None:
    # Of a record in a fifth of the samples, no loss is below log(.8) or above -log(.8).
    end = abs(np.log(1 - 0.2))
    epsilons = np.array([-3.0, -end, -end * (1 - 1e-12), -0.1, 0.0, 0.1, end * (1 - 1e-12), end, 3])
    release = GaussianPrivacyLoss(0.7, sampling_prob=rate, adjacency_type=direction)
    deltas = profile(rate, 0.7, direction, epsilons)
    assert deltas.tolist() == list(release.get_delta_for_epsilon(epsilons))
    assert 0 <= deltas.min() < deltas.max() <= 1
