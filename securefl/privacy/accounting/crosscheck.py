"""Epsilons by other accountants, to be printed next to ours, never in its place."""

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

# Largest grid of Opacus' accountant: a few seconds.
MAX_PRV_CELLS = 2**22


def renyi_epsilon(segments: Mapping[SampledGaussian, int], *, delta: float) -> float:
    """Returns epsilon by Rényi DP (dp-accounting): a valid upper end, usually 7 to 19 % high."""
    accountant = RdpAccountant()
    with _quiet():
        for event, count in segments.items():
            gaussian = GaussianDpEvent(event.noise_multiplier)
            sampled = PoissonSampledDpEvent(event.sample_rate, gaussian)
            accountant.compose(sampled, event.steps * count)
        return float(accountant.get_epsilon(delta))


def prv_epsilon(segments: Mapping[SampledGaussian, int], *, delta: float) -> float | None:
    """Returns epsilon by Opacus' accountant of privacy random variables, usually .01 high.

    The value is the upper end of Opacus' interval. At a delta of 1e-12 and 20,000 steps it is too
    low: nothing allows for the rounding of its Fourier transforms.

    Returns:
        None where that accountant finds no number: its roundings exceed delta, or its grid would
        take more than `MAX_PRV_CELLS` cells.
    """
    # Opacus imports torch, which the other accountants do not need.
    from opacus.accountants import PRVAccountant

    accountant = PRVAccountant()
    for event, count in segments.items():
        entry = (event.noise_multiplier, event.sample_rate, event.steps * count)
        accountant.history.append(entry)
    accountant._get_domain = partial(_affordable, accountant._get_domain, delta)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            # It divides by zero where every record is in every step.
            warnings.simplefilter("ignore")
            epsilon = float(accountant.get_epsilon(delta))
    # One exception for each way to find no number.
    except (ValueError, RuntimeError, ArithmeticError, IndexError):
        return None
    return epsilon if math.isfinite(epsilon) else None


def _affordable(domain_of: Callable[..., Any], delta: float, **sizes: Any) -> Any:
    """Returns the grid that the accountant asks for.

    Raises:
        ValueError: the grid is too large, or too coarse for delta.
    """
    domain = domain_of(**sizes)
    rounding = domain.size * float(np.finfo(np.longdouble).eps)
    if domain.size > MAX_PRV_CELLS or rounding > delta:
        raise ValueError(f"a grid of {domain.size} cells is too large")
    return domain


def fixed_cohort_renyi(
    cohort: int,
    clients: int,
    noise_multiplier: float,
    rounds: int,
    delta: float,
) -> float:
    """Returns epsilon by Rényi DP for cohorts drawn without replacement (dp-accounting).

    Neighbours differ in a client replaced by another.
    """
    accountant = RdpAccountant(neighboring_relation=NeighboringRelation.REPLACE_ONE)
    gaussian = GaussianDpEvent(noise_multiplier)
    one_round = SampledWithoutReplacementDpEvent(clients, cohort, gaussian)
    with _quiet():
        return float(accountant.compose(one_round, rounds).get_epsilon(delta))


def rounded_down_epsilon(
    segments: Mapping[SampledGaussian, int],
    *,
    delta: float,
    interval: float,
) -> float:
    """Returns epsilon by dp-accounting's privacy buckets, rounded down.

    It is a valid lower end, off by up to interval / 2 a step.
    """
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
    total = reduce(lambda first, second: first.compose(second), parts)
    return inverted(total, delta).lower


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps dp-accounting from logging the Rényi orders that it leaves out.

    Its answer is valid without these orders.
    """
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
