"""Membership by comparison with a population: the robust membership inference attack (RMIA)."""

import math

import torch
from torch import Tensor

from attacks.checks import check_probabilities
from attacks.inference.shadows import check_inside, check_shadows, spread

LEAST_PROBABILITY = 1e-45  # smaller ones count as this: below the smallest float32
HALF_WIDTH = 104.0  # above the largest |log ratio|: -log(1e-45) = 103.6


def rmia(
    target: Tensor,
    population: Tensor,
    shadows: Tensor,
    shadow_population: Tensor,
    inside: Tensor,
    *,
    gamma: float,
) -> Tensor:
    """Returns the share of a population that each record beats, with ties broken.

    A record beats a population record if training raised its probability by more. All
    probabilities are of the true label.

    Args:
        target: (n,) in [0, 1], by the attacked model, of the records.
        population: (z,) by the attacked model, of records that no model has trained with.
        shadows: (k, n) by shadow models, of the records.
        shadow_population: (k, z) by shadow models, of the population.
        inside: (k, n) bool, whether the shadow trained with the record.
        gamma: how many times more it must have risen, finite and > 0 (the source: 1 to 2).

    Returns:
        (n,) float64 in [0, 1 + 1 / z): the share of z with
        (target / Pr(x)) / (population / Pr(z)) >= gamma, plus less than 1 / z that grows with
        the record's own ratio. Pr(x) is halfway between the mean of the shadows with the record
        and the mean of those without it; Pr(z) is the mean of all shadows.

    Raises:
        ValueError: a record that no shadow trained with, or none without; gamma not finite or
            <= 0; tensors not as above.

    Guarantees:
        - Never falls as the ratio target / Pr(x) rises. Records of different ratios may tie
          (closer than a part in 10^9, with a population of 10^4), but never swap places.
        - Uses O(k (n + z)) memory: the (n, z) table is not built.

    Source: Zarifzadeh, Liu and Shokri, Low-Cost High-Power Membership Inference Attacks, ICML
        2024, section 3, online. Conventions: the tie-breaking is ours, linear in the log ratio;
        probabilities below 1e-45 count as 1e-45.
    """
    if not (math.isfinite(gamma) and gamma > 0):
        raise ValueError(f"rmia needs gamma finite and > 0, got gamma={gamma}")
    _check(target, population, shadows, shadow_population, inside)
    exact = shadows.double()
    with_record = spread(exact, inside).mean
    without_record = spread(exact, ~inside).mean
    reference = (with_record + without_record) / 2  # Pr(x)
    ratios = _ratio(target, reference)
    population_ratios = _ratio(population, shadow_population.double().mean(dim=0))
    thresholds = population_ratios.sort().values * gamma
    # A record beats the population records that it equals, too: hence the right side.
    wins = torch.searchsorted(thresholds, ratios, right=True)  # (n,)
    tie_break = (ratios.log() + HALF_WIDTH) / (2 * HALF_WIDTH)
    return (wins + tie_break) / len(population)


def rmia_population(false_positive_rate: float) -> int:
    """Returns the fewest population records for which a false-positive rate makes sense.

    Args:
        false_positive_rate: the lowest rate to be reported, above 0, up to 1.

    Returns:
        10 / false_positive_rate, rounded up, so that ten steps of the share lie beyond the rate.

    Raises:
        ValueError: a rate outside of (0, 1].
    """
    if not 0 < false_positive_rate <= 1:
        raise ValueError(
            f"rmia_population needs 0 < rate <= 1, got false_positive_rate={false_positive_rate}"
        )
    # 10 / 0.001 may exceed 10,000 by a rounding error, which must not be rounded up.
    return math.ceil(10 / false_positive_rate * (1 - 1e-12))


def _check(
    target: Tensor,
    population: Tensor,
    shadows: Tensor,
    shadow_population: Tensor,
    inside: Tensor,
) -> None:
    """Raises ValueError unless the tensors fit and every record has shadows of both kinds."""
    check_probabilities("target", target, (-1,))
    check_probabilities("population", population, (-1,))
    check_probabilities("shadows", shadows, (-1, len(target)))
    check_probabilities("shadow_population", shadow_population, (len(shadows), len(population)))
    check_inside(inside, tuple(shadows.shape))
    check_shadows("rmia", inside, least=1, trained="with")
    check_shadows("rmia", ~inside, least=1, trained="without")


def _ratio(probability: Tensor, reference: Tensor) -> Tensor:
    """Returns probability / reference in float64, both raised to the least probability."""
    numerator = probability.double().clamp_min(LEAST_PROBABILITY)
    return numerator / reference.clamp_min(LEAST_PROBABILITY)
