"""How large the noise of a claim is, so that places can be compared, and how to check it."""

import math
from collections.abc import Iterator

from securefl.privacy.events import DiscreteGaussianSum, SampledGaussian
from securefl.scenario.assemble.client_release import client_release
from securefl.scenario.assemble.trainers import plan_for
from securefl.scenario.scenario import Scenario


def noise_words(scenario: Scenario) -> Iterator[str]:
    """Yields the noise that clients add by themselves, or the command that checks shared noise.

    Nothing is said of DP-SGD, whose clients have noise of different sizes, and where a model or a
    fit was paid for before: the accountant's command knows of no earlier releases.
    """
    if scenario.init_from is not None or scenario.data.fit is not None:
        return
    if scenario.facts.has_common_noise:
        yield from _command(scenario)
    elif scenario.protects_clients:
        cost = client_release(scenario).cost
        if isinstance(cost, SampledGaussian):
            yield f"noise: multiplier {cost.noise_multiplier:.6g} of each client's own update"
    elif scenario.facts.trainer.one_sum:
        noise = plan_for(scenario, 0).noise_multiplier
        yield f"noise: multiplier {noise:.6g} of each client's own sum{_together(scenario, noise)}"


def _together(scenario: Scenario, noise: float) -> str:
    """Returns the multiplier of the whole sum, where each update weighs as many as its records."""
    if scenario.weights != "declared":
        return ""
    clients = scenario.cohort_size
    return f", which is {noise * math.sqrt(clients):.6g} of the sum of {clients} clients"


def _command(scenario: Scenario) -> Iterator[str]:
    """Yields the command that computes the epsilon of noise in shares."""
    facts, privacy = scenario.facts, scenario.privacy
    event = facts.release(facts.common_noise)
    if privacy is None or not isinstance(event, DiscreteGaussianSum):
        return
    rate = "" if event.sample_rate == 1 else f" --sample-rate {event.sample_rate:g}"
    yield (
        "to check it: securefl privacy epsilon --place distributed"
        f" --noise-multiplier {event.noise_multiplier:.6g} --shares {event.shares}"
        f" --granularity {event.granularity / event.sensitivity:.6g}"
        f" --dimension {event.dimension}{rate}"
        f" --steps {facts.trainings} --delta {privacy.delta:g}"
    )
