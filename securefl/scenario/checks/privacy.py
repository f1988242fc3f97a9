"""A finite epsilon has noise behind it, public counts, and a delta below 1/n."""

import math

from securefl.errors import ScenarioError
from securefl.scenario.declaration import Declaration
from securefl.scenario.facts import Facts


def check_privacy(declared: Declaration, facts: Facts) -> None:
    """A finite epsilon has noise behind it, public counts, and a delta below 1/n."""
    privacy = declared.privacy
    if privacy is None:
        return
    if not (0.01 <= privacy.epsilon <= 100 or privacy.epsilon == math.inf):
        raise ScenarioError(
            f"privacy.epsilon must be from 0.01 to 100, got {privacy.epsilon:g}; inf runs without a claim"
        )
    if declared.training.kind == "sgd" and math.isfinite(privacy.epsilon):
        raise ScenarioError(
            f"privacy.epsilon = {privacy.epsilon:g} has no noise behind it with training.kind = 'sgd'; "
            "use 'dp_sgd', or remove the privacy table"
        )
    if declared.training.kind == "sgd" and privacy.noise_multiplier is not None:
        raise ScenarioError(
            "privacy.noise_multiplier has no effect with training.kind = 'sgd'; use 'dp_sgd'"
        )
    if privacy.records is not None and len(privacy.records) != facts.clients:
        raise ScenarioError(
            f"privacy.records has one entry a client: {facts.clients} clients, got {len(privacy.records)} entries"
        )
    if declared.training.kind == "sgd":
        return
    most = declared.data.most
    if most is not None and declared.claims_dp:
        raise ScenarioError(
            "data.most keeps an exact number of records: without one of them another would come in, "
            "two would change, and epsilon is for one; set data.share, which keeps each by a coin of "
            "its own, or privacy.epsilon = inf"
        )
    if most is not None and privacy.records is not None and max(privacy.records) > most:
        raise ScenarioError(
            f"privacy.records declares {max(privacy.records)} for a client, of which data.most keeps {most} at the most"
        )
    largest = max(facts.site_records)
    if declared.claims_dp and privacy.delta >= 1 / largest:
        raise ScenarioError(
            f"privacy.delta must be below 1/n = {1 / largest:g} for {largest} records, got {privacy.delta:g}; "
            "1e-5 is a usual choice"
        )


def check_weights(declared: Declaration, facts: Facts) -> None:
    """What clients report about themselves is never part of a DP run."""
    if declared.weights == "reported" and declared.claims_dp:
        raise ScenarioError(
            "weights = 'reported' would tell the real record counts beside a DP claim; use 'declared' or 'equal'"
        )
    if declared.weights == "declared":
        _ = facts.site_records  # raises where neither is there
