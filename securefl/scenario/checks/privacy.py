"""Whether a claim has noise, public constants, and a delta that is small."""

import math

from securefl.errors import ScenarioError
from securefl.scenario.checks.unit import MIN_CLIENTS
from securefl.scenario.declaration import Declaration
from securefl.scenario.facts import Facts
from securefl.scenario.tables import Practice, Privacy

# Key of [practice] -> the mistake that another value may be, in securefl/privacy/lint/mistakes.py.
_MISTAKES = {
    "sampling": "shuffled-as-poisson",
    "normaliser": "private-normaliser",
    "batches": "batches-dropped",
    "statistics": "private-statistics",
    "layers": "batch-norm",
}


def check_privacy(declared: Declaration, facts: Facts) -> None:
    """Checks the tables [privacy] and [practice], and weights under a claim.

    Raises:
        ScenarioError: one sentence that says what to change.
    """
    if declared.privacy is not None:
        _check_claim(declared, declared.privacy, facts)
    if declared.practice is not None:
        _check_practice(declared, declared.practice, facts)
    if declared.weights == "reported" and declared.claims_dp:
        raise ScenarioError(
            "weights = 'reported' would reveal the real record counts next to a DP claim; "
            "use 'declared' or 'equal'"
        )
    if declared.weights == "declared":
        _ = facts.site_records  # raises where no size is public


def _check_claim(declared: Declaration, privacy: Privacy, facts: Facts) -> None:
    if not (0.01 <= privacy.epsilon <= 100 or privacy.epsilon == math.inf):
        raise ScenarioError(
            f"privacy.epsilon must be from 0.01 to 100, got {privacy.epsilon:g}; "
            "inf runs without a claim"
        )
    if not declared.has_noise:
        _check_no_noise(declared, privacy)
    if privacy.records is not None and len(privacy.records) != facts.clients:
        raise ScenarioError(
            f"privacy.records has one entry a client: {facts.clients} clients, "
            f"got {len(privacy.records)} entries"
        )
    if facts.trainer.private:
        _check_records(declared, privacy, facts)


def _check_no_noise(declared: Declaration, privacy: Privacy) -> None:
    """Checks that nothing is promised, and nothing set, that only noise could keep."""
    kind = declared.training.kind
    if declared.claims_dp:
        raise ScenarioError(
            f"privacy.epsilon = {privacy.epsilon:g} has no noise behind it with "
            f"training.kind = {kind!r}; use {_noisy(privacy)}, or remove the privacy table"
        )
    if privacy.noise_multiplier is not None:
        raise ScenarioError(
            f"privacy.noise_multiplier has no effect with training.kind = {kind!r}; use "
            f"{_noisy(privacy)}"
        )


def _noisy(privacy: Privacy) -> str:
    """Returns what has noise at the place that is chosen, as the end of a sentence."""
    if privacy.place == "local":
        return "'dp_sgd'"
    return f"'clipped_gradient', or privacy.unit = 'client' with {MIN_CLIENTS} clients or more"


def _check_records(declared: Declaration, privacy: Privacy, facts: Facts) -> None:
    """Checks that record counts are public, and that no record lets another in."""
    most = declared.data.most
    if most is not None and declared.claims_dp:
        raise ScenarioError(
            "data.most keeps an exact number of records: without one of them another would come "
            "in, two would change, and epsilon is for one; set data.share, which keeps each by a "
            "coin of its own, or privacy.epsilon = inf"
        )
    if most is not None and privacy.records is not None and max(privacy.records) > most:
        raise ScenarioError(
            f"privacy.records declares {max(privacy.records)} for a client, "
            f"of which data.most keeps {most} at the most"
        )
    largest = max(facts.site_records)
    # A delta of 1/n allows publishing one record at random, in full.
    if declared.claims_dp and privacy.delta >= 1 / largest:
        raise ScenarioError(
            f"privacy.delta must be below 1/n = {1 / largest:g} for {largest} records, "
            f"got {privacy.delta:g}; 1e-5 is a usual choice"
        )


def _check_practice(declared: Declaration, practice: Practice, facts: Facts) -> None:
    """Checks that the records are treated as stated; the code decides, not the table."""
    ours = facts.practice
    for key, value in practice.model_dump(mode="json", exclude_none=True).items():
        if value == ours[key]:
            continue
        refused = f"practice.{key}: {declared.training.kind} has {ours[key]!r}, got {value!r}"
        if not declared.claims_dp:
            raise ScenarioError(refused)
        from securefl.privacy.lint.mistakes import MISTAKES  # only for this message

        name = _MISTAKES[key]
        raise ScenarioError(
            f"{refused}; with a DP claim that may be the mistake {name}: {MISTAKES[name].why}"
        )
