"""How each client releases an update that is protected as a whole, with its noise."""

from collections.abc import Mapping

from securefl.learning.release import Release
from securefl.privacy.ledger import Ledger
from securefl.privacy.past import NO_PAST, Past
from securefl.privacy.remember import Remember, fresh
from securefl.scenario.assemble.trainers import calibrated, stream_for
from securefl.scenario.release import multiplier_of
from securefl.scenario.scenario import Scenario


def client_releases(
    scenario: Scenario, ledgers: Mapping[int, Ledger], common_noise: float, remember: Remember
) -> dict[int, Release]:
    """Returns client -> how its update leaves; empty where single records are protected.

    Args:
        scenario: says what is protected.
        ledgers: client -> its ledger, which says what local noise has to make up for.
        common_noise: noise multiplier of sums; 0 where each client adds its own noise.
        remember: caches calibrated noise.

    Raises:
        ScenarioError: no noise meets the claim.
    """
    if not scenario.protects_clients:
        return {}
    pasts = {
        client: ledgers[client].before if client in ledgers else NO_PAST
        for client in range(scenario.clients)
    }
    # Clients with the same past need the same noise, which takes a while to find.
    made = {
        past: client_release(scenario, common_noise, remember, past) for past in set(pasts.values())
    }
    return {client: made[past] for client, past in pasts.items()}


def client_release(
    scenario: Scenario,
    common_noise: float = 0.0,
    remember: Remember = fresh,
    before: Past = NO_PAST,
) -> Release:
    """Returns the release of one client's update; the arguments are as above.

    Args:
        scenario: protects clients.
        common_noise: noise multiplier of sums; 0 where each client adds its own noise.
        remember: caches calibrated noise.
        before: what the client has spent before.
    """
    facts = scenario.facts
    part = facts.in_sum
    streams = stream_for(scenario)
    if facts.has_common_noise:
        return Release(facts.release(common_noise), 0.0, part.sample_rate, streams)
    multiplier = _own_multiplier(scenario, remember, before)
    # The heaviest client has a whole unit of the sum, so that this is what its update may change.
    std = multiplier * part.sensitivity
    return Release(facts.release(multiplier), std, part.sample_rate, streams)


def _own_multiplier(scenario: Scenario, remember: Remember, before: Past) -> float:
    """Returns the multiplier of the noise that a client adds to its own update."""
    return multiplier_of(
        scenario,
        lambda privacy: calibrated(
            privacy.epsilon,
            scenario.facts.in_sum.sample_rate,
            scenario.facts.trainings,
            privacy.delta,
            before=before,
            remember=remember,
        ),
    )
