"""CLIENT level, as a calculator: the cost to one client of rounds over samples of clients.

A release is the sum of one vector a client over a round's cohort, plus Gaussian noise. Sampling
amplifies only against somebody who does not learn who took part, never against a server that
invites the cohort itself. Against that server, use `gaussian_epsilon` over the rounds that the
client takes part in.
"""

import math

import numpy as np
from dp_accounting.pld import pld_pmf
from dp_accounting.pld.privacy_loss_mechanism import AdjacencyType

from securefl.privacy.accounting.crosscheck import fixed_cohort_renyi
from securefl.privacy.accounting.dots import profile
from securefl.privacy.accounting.epsilon import gaussian_epsilon, subsampled_gaussian_epsilon
from securefl.privacy.accounting.gaussian import MAX_EXPONENT, largest_loss
from securefl.privacy.accounting.grids import intervals, refined, rounding
from securefl.privacy.accounting.inverse import inverted


def poisson_cohort_epsilon(
    cohort: int,
    clients: int,
    noise_multiplier: float,
    rounds: int,
    delta: float,
) -> float:
    """Returns an upper end of epsilon for cohorts that every client joins by its own coin.

    Neighbours differ in a client added or removed.

    Args:
        cohort: clients expected in a round, 1 <= cohort <= clients; a client joins with probability
            cohort / clients.
        clients: of the federation.
        noise_multiplier: standard deviation of the noise over the largest change that one client
            makes to a sum: the clip of its vector.
        rounds: >= 1.
        delta: in (0, 1).

    Raises:
        ValueError: an argument is outside its range.
    """
    _check(cohort, clients, noise_multiplier, rounds)
    return subsampled_gaussian_epsilon(cohort / clients, noise_multiplier, rounds, delta)


def fixed_cohort_epsilon(
    cohort: int,
    clients: int,
    noise_multiplier: float,
    rounds: int,
    delta: float,
) -> float:
    """Returns an upper end of epsilon for cohorts of a fixed size, drawn without replacement.

    Neighbours differ in a client replaced by another.

    Args:
        cohort: clients in a round, 1 <= cohort <= clients.
        clients: of the federation, a public number.
        noise_multiplier: standard deviation of the noise over the largest change that a replacement
            makes to a sum: twice the clip where vectors of that norm may point anywhere.
        rounds: >= 1.
        delta: in (0, 1).

    Raises:
        ValueError: an argument is outside its range.

    Source: one round, Balle, Barthe and Gaboardi, NeurIPS 2018, theorem 9; rounds compose as their
    dominating pair does, Zhu, Dong and Wang, AISTATS 2022. Tighter than Rényi DP without
    replacement (Wang, Balle and Kasiviswanathan, AISTATS 2019).
    """
    _check(cohort, clients, noise_multiplier, rounds)
    if not 0 < delta < 1:
        raise ValueError(f"delta must be in (0, 1), got {delta}")
    if cohort == clients:
        return gaussian_epsilon(noise_multiplier, rounds, delta)
    share = cohort / clients
    # The grid's delta may be too small by its rounding: it has to reach a smaller delta.
    grid_delta = max(0.0, delta - rounding(rounds))

    def upper_at(interval: float) -> float:
        round_loss = _fixed_cohort_loss(share, noise_multiplier, interval)
        return inverted(round_loss.self_compose(rounds), grid_delta).upper

    grids = refined(upper_at, intervals(largest_loss(share, noise_multiplier)))
    by_grid = min((upper.epsilon for upper in grids), default=math.inf)
    by_renyi = fixed_cohort_renyi(cohort, clients, noise_multiplier, rounds, delta)
    return max(0.0, min(by_grid, by_renyi))


def _fixed_cohort_loss(share: float, noise_multiplier: float, interval: float) -> pld_pmf.PLDPmf:
    """Returns the loss of one round on a grid.

    A replacement has no direction. From an epsilon of 0 up, its profile is that of a mixture
    against its part; below, that of the part against the mixture. Each is the larger of the two
    where it is taken.
    """
    loss = min(MAX_EXPONENT, largest_loss(share, noise_multiplier))
    end = math.ceil(loss / interval)
    grid = np.arange(-end, end + 1)
    epsilons = grid * interval

    removed = profile(share, noise_multiplier, AdjacencyType.REMOVE, epsilons)
    added = profile(share, noise_multiplier, AdjacencyType.ADD, epsilons)
    larger = np.maximum(removed, added)
    # A profile never rises: this removes rounding only.
    deltas = np.minimum.accumulate(larger)
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
