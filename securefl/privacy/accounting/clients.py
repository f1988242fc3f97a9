"""CLIENT level, as a calculator: what rounds over samples of clients cost one client.

A release is the sum of one vector a client over a round's cohort, plus Gaussian noise. Sampling amplifies only against
whoever does not learn who took part, never against a server that invites the cohort itself; against that one, use
`gaussian_epsilon` over the rounds that the client takes part in.
"""

import math

import numpy as np
from dp_accounting.pld import pld_pmf
from dp_accounting.pld.privacy_loss_mechanism import AdjacencyType, GaussianPrivacyLoss

from securefl.privacy.accounting.crosscheck import fixed_cohort_renyi
from securefl.privacy.accounting.epsilon import gaussian_epsilon, subsampled_gaussian_epsilon
from securefl.privacy.accounting.gaussian import largest_loss
from securefl.privacy.accounting.grids import intervals, refined, rounding
from securefl.privacy.accounting.inverse import inverted

_FLOAT = 700.0  # a loss whose exponential is still a float


def poisson_cohort_epsilon(
    cohort: int, clients: int, noise_multiplier: float, rounds: int, delta: float
) -> float:
    """An upper end of epsilon for cohorts that every client joins by its own coin; a client added or removed.

    Args:
        cohort: clients expected in a round, 1 <= cohort <= clients; a client joins with probability cohort / clients.
        clients: of the federation.
        noise_multiplier: standard deviation of the noise over the largest change that one client makes to a sum: the
            clip of its vector.
        rounds: >= 1.
        delta: in (0, 1).

    Raises:
        ValueError: an argument is outside its range.
    """
    _check(cohort, clients, noise_multiplier, rounds)
    return subsampled_gaussian_epsilon(cohort / clients, noise_multiplier, rounds, delta)


def fixed_cohort_epsilon(
    cohort: int, clients: int, noise_multiplier: float, rounds: int, delta: float
) -> float:
    """An upper end of epsilon for cohorts of a fixed size, drawn without replacement; a client replaced by another.

    Args:
        cohort: clients in a round, 1 <= cohort <= clients.
        clients: of the federation, a public number.
        noise_multiplier: standard deviation of the noise over the largest change that a replacement makes to a sum:
            twice the clip where vectors of that norm may point anywhere.
        rounds: >= 1.
        delta: in (0, 1).

    Raises:
        ValueError: an argument is outside its range.

    Source: one round, Balle, Barthe and Gaboardi, NeurIPS 2018, theorem 9; rounds compose as their dominating pair
        does, Zhu, Dong and Wang, AISTATS 2022. Tighter than Rényi DP without replacement (Wang, Balle and
        Kasiviswanathan, AISTATS 2019).
    """
    _check(cohort, clients, noise_multiplier, rounds)
    if not 0 < delta < 1:
        raise ValueError(f"delta must be in (0, 1), got {delta}")
    if cohort == clients:
        return gaussian_epsilon(noise_multiplier, rounds, delta)
    share, least = cohort / clients, max(0.0, delta - rounding(rounds))

    def upper_at(interval: float) -> float:
        losses = _fixed_cohort_losses(share, noise_multiplier, interval).self_compose(rounds)
        return inverted(losses, least).upper

    grids = refined(upper_at, intervals(largest_loss(share, noise_multiplier)))
    best = min((upper.epsilon for upper in grids), default=math.inf)
    return max(0.0, min(best, fixed_cohort_renyi(cohort, clients, noise_multiplier, rounds, delta)))


def _fixed_cohort_losses(share: float, noise_multiplier: float, interval: float) -> pld_pmf.PLDPmf:
    """The loss of one round on a grid.

    Replacement has no direction: the profile is that of a mixture against its part from an epsilon of 0 up, that of the
    part against the mixture below, which in both cases is the larger of the two.
    """
    end = math.ceil(min(_FLOAT, largest_loss(share, noise_multiplier)) / interval)
    grid = np.arange(-end, end + 1)
    with_against_without, without_against_with = (
        GaussianPrivacyLoss(
            noise_multiplier, sampling_prob=share, adjacency_type=direction
        ).get_delta_for_epsilon(grid * interval)
        for direction in (AdjacencyType.REMOVE, AdjacencyType.ADD)
    )
    deltas = np.minimum.accumulate(
        np.maximum(with_against_without, without_against_with)
    )  # but for rounding, as it is
    return pld_pmf.create_pmf_pessimistic_connect_dots(interval, grid, deltas)


def _check(cohort: int, clients: int, noise_multiplier: float, rounds: int) -> None:
    if clients < 1:
        raise ValueError(f"clients must be >= 1, got {clients}")
    if not 1 <= cohort <= clients:
        raise ValueError(f"a cohort has 1 to {clients} of {clients} clients, got {cohort}")
    if not 0 < noise_multiplier < math.inf:
        raise ValueError(f"noise_multiplier must be positive and finite, got {noise_multiplier}")
    if rounds < 1:
        raise ValueError(f"rounds must be >= 1, got {rounds}")
