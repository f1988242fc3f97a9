"""Membership by comparison with a population: the robust membership inference attack."""

import math

import torch
from torch import Tensor

from attacks.records import check_inside, check_probabilities, check_shadows, spread

LEAST_PROBABILITY = 1e-45  # smaller ones count as this: below what float32 holds
HALF_WIDTH = 104.0  # more than |log ratio| can be: -log(1e-45) = 103.6


def rmia(
    target: Tensor,
    population: Tensor,
    shadows: Tensor,
    shadow_population: Tensor,
    inside: Tensor,
    *,
    gamma: float,
) -> Tensor:
    """The share of a population than which a record's probability has risen more, with ties broken.

    All probabilities are those that a model gives to the true label.

    Args:
        target: (n,) in [0, 1], the attacked model's on the records.
        population: (z,) the attacked model's on records that no model has trained with.
        shadows: (k, n) shadow models' on the records.
        shadow_population: (k, z) shadow models' on the population.
        inside: (k, n) bool, whether the shadow trained with the record.
        gamma: how many times more it must have risen, finite and > 0 (the source: 1 to 2).

    Returns:
        (n,) float64 in [0, 1 + 1 / z): the share of z with (target / Pr(x)) / (population / Pr(z)) >= gamma, and less
        than 1 / z more by the record's own ratio. Pr(x) is halfway between the means of the shadows with and without
        the record, Pr(z) the mean of all.

    Raises:
        ValueError: a record that no shadow trained with, or without; gamma not finite or <= 0; arrays not as above.

    Guarantees:
        - Never falls as the ratio target / Pr(x) rises: records of other ratios may tie (closer than a part in 10^9,
          with 10^4 of the population), but are not turned round.
        - Memory O(k (n + z)): the table (n, z) is not built.

    Source: Zarifzadeh, Liu and Shokri, Low-Cost High-Power Membership Inference Attacks, ICML 2024, section 3, online.
        Conventions: what breaks ties is ours, linear in the log ratio; probabilities below 1e-45 count as that.
    """
    if not (math.isfinite(gamma) and gamma > 0):
        raise ValueError(f"rmia needs gamma finite and > 0, got gamma={gamma}")
    _check(target, population, shadows, shadow_population, inside)
    known = shadows.double()
    of_records = (spread(known, inside).mean + spread(known, ~inside).mean) / 2
    ratios = _ratio(target, of_records)
    beaten = _ratio(population, shadow_population.double().mean(dim=0)).sort().values * gamma
    counts = torch.searchsorted(
        beaten, ratios, right=True
    )  # (n,) of the population, equals among them
    return (counts + (ratios.log() + HALF_WIDTH) / (2 * HALF_WIDTH)) / len(population)


def rmia_population(false_positive_rate: float) -> int:
    """The fewest population records with which a false-positive rate makes sense: ten over it.

    Args:
        false_positive_rate: the lowest that is reported, above 0, up to 1.

    Returns:
        10 / false_positive_rate, rounded up, so that ten steps of the share lie beyond it.

    Raises:
        ValueError: a rate outside of (0, 1].
    """
    if not 0 < false_positive_rate <= 1:
        raise ValueError(
            f"rmia_population needs 0 < rate <= 1, got false_positive_rate={false_positive_rate}"
        )
    return math.ceil(
        10 / false_positive_rate * (1 - 1e-12)
    )  # what a decimal's last bit adds is not rounded up


def _check(
    target: Tensor, population: Tensor, shadows: Tensor, shadow_population: Tensor, inside: Tensor
) -> None:
    """Raise ValueError unless the arrays fit and every record has shadows of both kinds."""
    check_probabilities("target", target, (-1,))
    check_probabilities("population", population, (-1,))
    check_probabilities("shadows", shadows, (-1, len(target)))
    check_probabilities("shadow_population", shadow_population, (len(shadows), len(population)))
    check_inside(inside, tuple(shadows.shape))
    check_shadows("rmia", inside, least=1, trained="with")
    check_shadows("rmia", ~inside, least=1, trained="without")


def _ratio(probability: Tensor, reference: Tensor) -> Tensor:
    """How many times the reference a probability is, both kept off zero, in float64."""
    return probability.double().clamp_min(LEAST_PROBABILITY) / reference.clamp_min(
        LEAST_PROBABILITY
    )
