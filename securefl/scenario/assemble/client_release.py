"""How each client releases an update that is protected as a whole, with its noise."""

import math

from securefl.errors import ScenarioError
from securefl.learning.release import Release
from securefl.privacy.events import PrivacyEvent, SampledGaussian
from securefl.privacy.past import NO_PAST, Past
from securefl.privacy.remember import Remember, fresh
from securefl.scenario.assemble.trainers import calibrated, stream_for
from securefl.scenario.protected import in_sum
from securefl.scenario.scenario import Scenario


def client_release(
    scenario: Scenario, remember: Remember = fresh, before: Past = NO_PAST
) -> Release:
    """Returns the release of one client's update.

    Args:
        scenario: protects clients.
        remember: caches calibrated noise.
        before: releases that the claim covers as well, of the run that this one goes on from.

    Raises:
        ScenarioError: no noise meets the claim.
    """
    part = in_sum(scenario, scenario.facts)
    multiplier = _multiplier(scenario, remember, before)
    # A sum of one client is what a client sends: its noise is for its own update.
    std = multiplier * part.sensitivity
    cost = client_cost(scenario, multiplier)
    return Release(cost, std, part.sample_rate, stream_for(scenario))


def client_cost(scenario: Scenario, noise_multiplier: float) -> PrivacyEvent:
    """Returns the event of one update under a noise multiplier."""
    if scenario.privacy is None or scenario.privacy.place != "local":
        raise ScenarioError("privacy.place: not available yet; use 'local'")
    rate = in_sum(scenario, scenario.facts).sample_rate
    return SampledGaussian(rate, noise_multiplier, 1)


def _multiplier(scenario: Scenario, remember: Remember, before: Past) -> float:
    privacy = scenario.privacy
    if privacy is None:
        raise ScenarioError("privacy.unit needs a privacy table")
    if privacy.noise_multiplier is not None:
        return privacy.noise_multiplier
    if math.isinf(privacy.epsilon):
        return 0.0
    return calibrated(
        privacy.epsilon,
        in_sum(scenario, scenario.facts).sample_rate,
        scenario.facts.trainings,
        privacy.delta,
        before=before,
        remember=remember,
    )
