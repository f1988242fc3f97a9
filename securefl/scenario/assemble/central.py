"""Noise of a whole sum: how much all clients need, and what is added to an opened one."""

import math

import torch
from torch import Tensor

from securefl.channels.protocol import View
from securefl.federation.values import AddNoise, unnoised
from securefl.privacy.noise.gaussian import hardened_normal
from securefl.privacy.past import NO_PAST
from securefl.privacy.remember import Remember
from securefl.rng import StreamFor
from securefl.scenario.assemble.ledgers import Origin
from securefl.scenario.release import common_noise
from securefl.scenario.scenario import Scenario

# A rounding to float32 moves a vector by at most this share of its length. Two neighbouring ones
# move apart by twice as much.
_FLOAT32 = 2.0**-24
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

    Updates are rounded to float32 where they leave, their sum to the grid of the channel, and the
    mean to float32 again. The noise comes after that.
    """
    facts = scenario.facts
    sensitivity, length, _ = facts.in_sum
    on_grid = facts.channel.grid(facts.terms) * math.sqrt(facts.coordinates)
    in_floats = 2 * _FLOAT32 * (1 + facts.invited) * length
    return sensitivity + on_grid + in_floats


def central_noise(scenario: Scenario, multiplier: float, stream_for: StreamFor) -> AddNoise:
    """Returns what whoever opens a sum adds to the estimate; nothing where others add the noise.

    Args:
        scenario: says who adds the noise.
        multiplier: standard deviation of the noise in the sum, over its sensitivity.
        stream_for: gives the noise of a round.
    """
    privacy = scenario.privacy
    if privacy is None or privacy.place != "central" or not multiplier:
        return unnoised
    facts = scenario.facts
    scale = multiplier * rounded_sensitivity(scenario) * facts.max_weight

    def noisy(view: View, estimate: Tensor, round: int) -> Tensor:
        """Returns the mean with the noise of the sum, over the weight that the mean divides by."""
        # The mean leaves out rows that are not finite: their weight must not shrink the noise.
        is_counted = view.rows.isfinite().all(dim=1)
        total = float(view.weights[is_counted].double().sum())
        normals = hardened_normal(len(estimate), stream_for("central", SERVER, round))
        noise = torch.from_numpy(normals) * (scale / total)
        return (estimate.double() + noise).to(estimate.dtype)

    return noisy
