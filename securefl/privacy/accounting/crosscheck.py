"""What other accountants say of the same releases: to be printed beside ours, never in its place."""

import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial, reduce
from typing import Any

import numpy as np
from dp_accounting import (
    GaussianDpEvent,
    NeighboringRelation,
    PoissonSampledDpEvent,
    SampledWithoutReplacementDpEvent,
)
from dp_accounting.pld import privacy_loss_distribution as pld
from dp_accounting.rdp import RdpAccountant

from securefl.privacy.accounting.inverse import inverted
from securefl.privacy.events import SampledGaussian

_MOST_CELLS = 2**22  # of Opacus' grid: some seconds


def renyi_epsilon(segments: Mapping[SampledGaussian, int], *, delta: float) -> float:
    """Epsilon by Rényi DP (dp-accounting): a valid upper end, usually 7 to 19 % high."""
    accountant = RdpAccountant()
    with _quiet():
        for event, count in segments.items():
            sampled = PoissonSampledDpEvent(
                event.sample_rate, GaussianDpEvent(event.noise_multiplier)
            )
            accountant.compose(sampled, event.steps * count)
        return float(accountant.get_epsilon(delta))


def prv_epsilon(segments: Mapping[SampledGaussian, int], *, delta: float) -> float | None:
    """Epsilon by Opacus' accountant of privacy random variables: the upper end of its interval, usually .01 high.

    At a delta of 1e-12 and 20,000 steps it is too low: nothing allows for the rounding of its Fourier transforms.
    None where it cannot: its roundings exceed delta, or its grid would take more than `_MOST_CELLS`.
    """
    from opacus.accountants import PRVAccountant

    accountant = PRVAccountant()
    for event, count in segments.items():
        accountant.history.append((event.noise_multiplier, event.sample_rate, event.steps * count))
    accountant._get_domain = partial(_affordable, accountant._get_domain, delta)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter(
                "ignore"
            )  # it divides by zero where every record is in every step
            found = float(accountant.get_epsilon(delta))
    except (
        ValueError,
        RuntimeError,
        ArithmeticError,
        IndexError,
    ):  # one for each way to find no number
        return None
    return found if math.isfinite(found) else None


def _affordable(domain_of: Callable[..., Any], delta: float, **sizes: Any) -> Any:
    """The grid that the accountant asks for. Raises ValueError where it is too large, or too coarse for delta."""
    domain = domain_of(**sizes)
    if domain.size > _MOST_CELLS or domain.size * float(np.finfo(np.longdouble).eps) > delta:
        raise ValueError(f"a grid of {domain.size} cells is too large")
    return domain


def fixed_cohort_renyi(
    cohort: int, clients: int, noise_multiplier: float, rounds: int, delta: float
) -> float:
    """Epsilon of cohorts drawn without replacement by Rényi DP (dp-accounting); a client replaced by another."""
    accountant = RdpAccountant(neighboring_relation=NeighboringRelation.REPLACE_ONE)
    drawn = SampledWithoutReplacementDpEvent(clients, cohort, GaussianDpEvent(noise_multiplier))
    with _quiet():
        return float(accountant.compose(drawn, rounds).get_epsilon(delta))


def rounded_down_epsilon(
    segments: Mapping[SampledGaussian, int], *, delta: float, interval: float
) -> float:
    """Epsilon by dp-accounting's privacy buckets, rounded down: a valid lower end, off by up to interval / 2 a step."""
    parts = [
        pld.from_gaussian_mechanism(
            event.noise_multiplier,
            sampling_prob=event.sample_rate,
            value_discretization_interval=interval,
            pessimistic_estimate=False,
            use_connect_dots=False,
        ).self_compose(event.steps * count)
        for event, count in segments.items()
    ]
    return inverted(reduce(lambda one, other: one.compose(other), parts), delta).lower


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep dp-accounting from logging the Rényi orders that it leaves out: its answer is valid without them."""
    logger, level = logging.getLogger("absl"), logging.getLogger("absl").level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
