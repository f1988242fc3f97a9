"""Whether the model fits the records, and the server's step its hyper-parameters."""

from dataclasses import replace

import torch

from securefl.errors import ScenarioError
from securefl.learning.adapt import batch_norms, check_norms
from securefl.learning.models.scattering.head import POOLINGS
from securefl.learning.weights import check_weights
from securefl.scenario.automatic import AUTO
from securefl.scenario.checks.parameters import check_parameters, tried
from securefl.scenario.declaration import Declaration
from securefl.scenario.facts import Facts
from securefl.scenario.making.model import check_foreign, sketch_of
from securefl.scenario.making.rule import make_step


def check_model(declared: Declaration, facts: Facts) -> None:
    """Checks that the model takes these records, and that its initial weights are known.

    Raises:
        ScenarioError: one sentence that says what to change.
    """
    _check_grid(facts)
    place = "model"
    if declared.model.name == AUTO:
        place = f"model (auto chose {facts.architecture.name})"
    check_parameters(place, facts.architecture)
    check_foreign(facts.architecture, facts.task, facts.adaptation)
    tried("model", lambda: facts.model)
    if facts.trainer.private:
        check_norms(facts.model, facts.architecture.name)
    else:
        _check_batches(declared, facts)
    if declared.protects_clients:
        _check_statistics(declared, facts)
    _check_weights(declared, facts)


def _check_grid(facts: Facts) -> None:
    """Checks the grid of fixed features, which `auto` has replaced by a number before."""
    pooling = facts.architecture.parameters.get("pooling", POOLINGS[0])
    if facts.architecture.entry.grids is None or pooling in POOLINGS:
        return
    takes = ", ".join(map(str, POOLINGS))
    raise ScenarioError(
        f"model: pooling of {facts.architecture.name} takes {takes} or {AUTO!r}, got {pooling!r}"
    )


def _check_statistics(declared: Declaration, facts: Facts) -> None:
    """Checks that no statistics of records are part of updates that are clipped as a whole."""
    for layer in batch_norms(facts.model):
        raise ScenarioError(
            f"model: {declared.model.name} has a batch norm, {layer!r}, and its running "
            "statistics are no part of updates that are clipped as a whole (privacy.unit = "
            "'client'): set model.batch_norm = \"group\""
        )


def _check_batches(declared: Declaration, facts: Facts) -> None:
    """Checks that batch norm gets more than one record at a time."""
    training = declared.training
    for key, size in (("batch", training.batch), ("physical_batch", training.physical_batch)):
        if size == 1 and batch_norms(facts.model):
            raise ScenarioError(
                f"training.{key} = 1 leaves batch norm no other record to compare with; use 2 or "
                'more, or set model.batch_norm = "group"'
            )


def _check_weights(declared: Declaration, facts: Facts) -> None:
    """Checks the file of initial weights, and that it is public where DP is claimed."""
    chosen = declared.model
    if chosen.weights is None:
        for key in ("public_weights", "weights_sha256"):
            if getattr(chosen, key) is not None:
                raise ScenarioError(f"model.{key} has no effect without model.weights")
        return
    if declared.claims_dp and not chosen.public_weights:
        raise ScenarioError(
            f"model.weights = {chosen.weights!r}: under a DP claim, weights that records of this "
            "federation shaped would release them; set model.public_weights = true if none did, "
            "or continue from a run with init_from, whose ledgers count"
        )
    # With noise buffers leave the state of the model, which its author's file holds.
    whole = sketch_of(facts.architecture, facts.task, replace(facts.adaptation, private=False))
    check_weights(whole, declared.home / chosen.weights)
    if chosen.weights_sha256 not in (None, facts.weights_digest):
        raise ScenarioError(
            f"model.weights: {chosen.weights} has the SHA-256 {facts.weights_digest}, the scenario "
            f"names {chosen.weights_sha256}: put the file back"
        )


def check_step(facts: Facts) -> None:
    """Checks that the server's step takes its hyper-parameters. Raises ScenarioError."""
    check_parameters("server", facts.step)
    step = make_step(facts.step)
    tried("server", lambda: step(torch.zeros(1), torch.zeros(1), {}))
