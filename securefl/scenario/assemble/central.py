"""Noise of a whole sum: how much all clients need, and the mean of an opened one with its noise.

No message of a client changes by how much an honest record moves the mean, nor how it is rounded:

    each row is projected to the length of the longest honest update
    their weighted mean, and the noise, are summed up in float64
    the result is rounded to float32, once, with the noise in it

An opened sum arrives as one row, a mean that its channel rounded to float32. That moves it by a
share of its length, and so, projected, by no more than this share of the longest honest one.
"""

import math

import torch
from torch import Tensor

from securefl.channels.protocol import View
from securefl.federation.values import NoisyMean
from securefl.privacy.noise.gaussian import hardened_normal
from securefl.privacy.past import NO_PAST
from securefl.privacy.remember import Remember
from securefl.rng import StreamFor
from securefl.scenario.assemble.ledgers import Origin
from securefl.scenario.release import common_noise
from securefl.scenario.scenario import Scenario

# A rounding moves a vector by at most this share of its length, in float32 and in float64. Two
# neighbouring ones move apart by twice as much.
_FLOAT32 = 2.0**-24
_FLOAT64 = 2.0**-53
SERVER = 0  # in the place of a client, in the name of the stream


def noise_of_sums(scenario: Scenario, origin: Origin | None, remember: Remember) -> float:
    """Returns the noise multiplier of sums; 0 where each client adds its own noise.

    Args:
        scenario: declares the claim.
        origin: the run that this one goes on from: its clients may have spent different amounts,
            and the noise of the sum has to be enough for each of them.
        remember: caches calibrated noise.

    Raises:
        ScenarioError: no noise meets the claim.
    """
    pasts = [NO_PAST]
    if origin is not None:
        pasts = [origin.before(client) for client in range(scenario.clients)]
    facts = scenario.facts
    return common_noise(scenario, facts.release, facts.trainings, pasts, remember)


def rounded_sensitivity(scenario: Scenario) -> float:
    """Returns the L2 distance that one unit can move an opened sum, all roundings included.

    An update is rounded to float32 where it leaves. A channel that opens sums rounds them to its
    grid, and their mean to float32. All else is float64.
    """
    facts = scenario.facts
    sensitivity, length, _ = facts.in_sum
    d, n = facts.coordinates, facts.invited
    means = 0 if facts.channel.shows_every_update else n
    # The lengths of rows of d numbers, and a mean of n rows.
    roundings = n * (d + n + 4)
    in_floats = 2 * (_FLOAT32 * (1 + means) + _FLOAT64 * roundings) * length
    return sensitivity + in_floats + _on_grid(scenario)


def _on_grid(scenario: Scenario) -> float:
    """Returns how much further apart a channel's own numbers move two neighbouring sums."""
    facts = scenario.facts
    # In float64, four roundings see the coordinates of a sum before it is projected.
    largest = facts.channel_options.get("clip", 0.0) * facts.invited
    coordinate = facts.channel.grid(facts.terms) + 2 * _FLOAT64 * 4 * largest
    return float(coordinate * math.sqrt(facts.coordinates))


def noisy_mean(scenario: Scenario, multiplier: float, stream_for: StreamFor) -> NoisyMean | None:
    """Returns the mean with noise, of whoever opens the sum; None where others add the noise.

    Args:
        scenario: says who adds the noise.
        multiplier: standard deviation of the noise in the sum, over its sensitivity.
        stream_for: gives the noise of a round.
    """
    facts = scenario.facts
    if not facts.has_central_noise or not multiplier:
        return None
    scale = multiplier * rounded_sensitivity(scenario) * facts.max_weight
    longest = facts.longest_update

    def noisy(view: View, round: int) -> Tensor:
        """Returns (d,), the mean with noise. Raises ValueError: no row is finite."""
        total, weight = weighted_sum(view, longest)
        noise = hardened_normal(len(total), stream_for("central", SERVER, round))
        total += scale * torch.from_numpy(noise)
        return (total / weight).to(view.rows.dtype)

    return noisy


def weighted_sum(view: View, longest: float) -> tuple[Tensor, float]:
    """Returns the weighted sum of rows (d,) in float64, and the sum of their weights.

    Args:
        view: rows that are not finite count as nothing, nor do their weights.
        longest: a longer row, or mean of rows, is shortened to this L2 norm.

    Raises:
        ValueError: no row is finite.
    """
    total = torch.zeros(view.rows.shape[1], dtype=torch.float64)
    weight = 0.0
    for row, share in zip(view.rows, view.weights.tolist(), strict=True):
        norm = float(torch.linalg.vector_norm(row, dtype=torch.float64))
        if not math.isfinite(norm):
            continue
        total.add_(row, alpha=share * longest / max(norm, longest))
        weight += share
    if not weight:
        raise ValueError(f"mean needs a finite row, all n={len(view.rows)} were set aside")
    return total, weight
