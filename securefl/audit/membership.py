"""Membership attacks as an adversary runs them: knowledge in, a score for each record out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

import attacks
from securefl import vector
from securefl.audit.knowledge import Knowledge
from securefl.audit.repertoire import (
    GLOBAL_TRAJECTORY,
    LABEL_ONLY,
    LIRA,
    LOCAL_TRAJECTORY,
    LOSS_THRESHOLD,
    OFFLINE_LIRA,
    RMIA,
    SUM_ALIGNMENT,
    UPDATE_ALIGNMENT,
)
from securefl.data.task import Examples, Task
from securefl.learning.evaluate import predict

RECORDS_PER_CHUNK = 64  # whose gradients are held at once, which bounds the memory
LABEL_ONLY_NOISE = (0.05, 0.1, 0.2, 0.4)  # in standard deviations of the features
LABEL_ONLY_COPIES = 8  # noisy copies of a record at each of these
RMIA_GAMMA = 2.0
MIN_PROBABILITY = 1e-300  # keeps a logarithm finite


@dataclass(frozen=True)
class Shadows:
    """Final models of rehearsals.

    Attributes:
        weights: (k, d).
        inside: (k, n) bool, the records of the pool that each trained with.
    """

    weights: Tensor
    inside: Tensor


@dataclass(frozen=True)
class Question:
    """The question which of some records the target trained on.

    Args:
        examples: the n records.
        population: records that are known to have no part in it, for RMIA.
        model: a workspace of the federation's model.
        task: gives losses and probabilities.
        shadows: that the adversary trained itself, knowing how others of this kind are trained;
            None without.
    """

    examples: Examples
    population: Examples
    model: nn.Module
    task: Task
    shadows: Shadows | None

    def losses(self, weights: Tensor) -> Tensor:
        """Returns (n,) float64 losses on each record of the model with these weights (d,)."""
        probabilities = self.true_probabilities(weights, self.examples)
        return -probabilities.clamp_min(MIN_PROBABILITY).log()

    def probabilities(self, weights: Tensor, examples: Examples) -> Tensor:
        """Returns (n, classes) of the model with these weights (d,)."""
        vector.load_vector(self.model, weights)
        return predict(self.model, self.task, examples.features)

    def true_probabilities(self, weights: Tensor, examples: Examples) -> Tensor:
        """Returns (n,) probabilities of each record's own label."""
        return self.probabilities(weights, examples).gather(1, examples.labels[:, None])[:, 0]

    def confidences(self, weights: Tensor) -> Tensor:
        """Returns (n,) log-odds of each record's own label."""
        return attacks.confidence(self.probabilities(weights, self.examples), self.examples.labels)


def membership_scores(
    question: Question, knowledge: Knowledge, generator: torch.Generator
) -> dict[str, Tensor]:
    """Returns the scores of all attacks that the adversary's knowledge allows.

    Args:
        question: about which records.
        knowledge: of the adversary.
        generator: draws the noise of the label-only attack.

    Returns:
        Attack -> (n,), higher = more like a record that was trained on.
    """
    scores: dict[str, Tensor] = {}
    if knowledge.asked is not None:
        scores |= of_answers(question, knowledge.asked, generator)
    return scores | of_rounds(question, knowledge)


def of_rounds(question: Question, knowledge: Knowledge) -> dict[str, Tensor]:
    """Returns the scores of attacks on everything that was seen while the federation trained."""
    scores: dict[str, Tensor] = {}
    models = [sight.model for sight in knowledge.sights if sight.model is not None]
    if models:
        # The final model is one more point of the trajectory, after the last round.
        if knowledge.final is not None:
            models.append(knowledge.final)
        scores[GLOBAL_TRAJECTORY] = _trajectory(question, models)
    moves = []
    local_models = []
    for sight in knowledge.moves:
        if sight.model is None or sight.moved is None:
            continue
        moves.append((sight.model, sight.moved))
        if sight.alone:
            local_models.append(sight.model + sight.moved)
    if local_models:
        scores[LOCAL_TRAJECTORY] = _trajectory(question, local_models)
    if moves:
        alone = len(local_models) == len(moves)
        name = UPDATE_ALIGNMENT if alone else SUM_ALIGNMENT
        scores[name] = _alignment(question, moves)
    return scores


def of_answers(
    question: Question, weights: Tensor, generator: torch.Generator
) -> dict[str, Tensor]:
    """Returns the scores of attacks on the final model by its answers alone.

    Args:
        question: about which records; attacks that compare with shadows need some.
        weights: (d,) of the final model.
        generator: draws the noise of the label-only attack.
    """
    shadows = question.shadows
    scores = {
        LOSS_THRESHOLD: attacks.loss_threshold(question.losses(weights)),
        LABEL_ONLY: _label_only(question, weights, generator),
    }
    if shadows is None:
        return scores
    target = question.confidences(weights)
    theirs = torch.stack([question.confidences(shadow) for shadow in shadows.weights])  # (k, n)
    scores[LIRA] = attacks.lira_online(target, theirs, shadows.inside, pooled=None)
    scores[OFFLINE_LIRA] = attacks.lira_offline(target, theirs, shadows.inside, pooled=None)
    if len(question.population):
        scores[RMIA] = _rmia(question, weights, shadows)
    return scores


def _rmia(question: Question, weights: Tensor, shadows: Shadows) -> Tensor:
    """(n,) share of the population that each record exceeds in likelihood ratio."""

    def of_shadows(examples: Examples) -> Tensor:
        rows = [question.true_probabilities(shadow, examples) for shadow in shadows.weights]
        return torch.stack(rows)

    return attacks.rmia(
        question.true_probabilities(weights, question.examples),
        question.true_probabilities(weights, question.population),
        of_shadows(question.examples),
        of_shadows(question.population),
        shadows.inside,
        gamma=RMIA_GAMMA,
    )


def _label_only(question: Question, weights: Tensor, generator: torch.Generator) -> Tensor:
    """(n,) by how often noisy copies of a record keep its label."""
    vector.load_vector(question.model, weights)
    features = question.task.inputs(question.examples.features)
    # Constant features have no spread: any noise then serves.
    spread = float(features.std()) or 1.0

    def classes(features: Tensor) -> Tensor:
        return predict(question.model, question.task, features).argmax(dim=1)

    return attacks.label_only(
        features,
        question.examples.labels,
        predict=classes,
        noise=[spread * level for level in LABEL_ONLY_NOISE],
        copies=LABEL_ONLY_COPIES,
        generator=generator,
    )


def _trajectory(question: Question, models: Sequence[Tensor]) -> Tensor:
    """(n,) by the mean loss over models that were seen one after the other."""
    losses = torch.stack([question.losses(weights) for weights in models])
    return attacks.trajectory(losses, None, None)


def _alignment(question: Question, moves: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """(n,) how well each record's gradient explains where the updates went, mean over rounds."""
    examples = question.examples
    total = torch.zeros(len(examples), dtype=torch.float64)
    parameters = vector.statistics(question.model).start
    for model, moved in moves:
        for start in range(0, len(total), RECORDS_PER_CHUNK):
            chunk = slice(start, start + RECORDS_PER_CHUNK)
            features, labels = examples.features[chunk], examples.labels[chunk]
            records = Examples(features, labels)
            # At the model that the round started from: there the update began to move.
            rows = gradients(question.model, question.task, records, model)
            total[chunk] += attacks.update_alignment(moved[:parameters], rows)
    return total / len(moves)


def gradients(model: nn.Module, task: Task, examples: Examples, weights: Tensor) -> Tensor:
    """Returns the gradient of each record's loss.

    Args:
        model: a workspace, left with these weights.
        task: gives the loss.
        examples: k records.
        weights: (d,).

    Returns:
        (k, d).
    """
    vector.load_vector(model, weights)
    # Batch norm and dropout have no gradient of one record by itself in training mode.
    model.eval()
    parameters = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}

    # A function of one record: vmap makes it a batch, and each row stays that record's own.
    def loss(at: Mapping[str, Tensor], features: Tensor, label: Tensor) -> Tensor:
        logits: Tensor = functional_call(model, dict(at), (features[None],))
        return task.loss(logits, label[None])

    features = task.inputs(examples.features).contiguous()
    by_name = vmap(grad(loss), in_dims=(None, 0, 0))(parameters, features, examples.labels)
    return torch.cat([by_name[name].flatten(1) for name in parameters], dim=1)
