"""Membership attacks as an adversary can run them: its knowledge in, a score for every record out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

import attacks
from securefl import vector
from securefl.audit.knowledge import Knowledge
from securefl.data.task import Examples, Task
from securefl.learning.evaluate import predict

_CHUNK = 64  # records whose gradients are held at once
_NOISE = (0.05, 0.1, 0.2, 0.4)  # of the label-only attack, in deviations of the features
_COPIES = 8
_GAMMA = 2.0  # of RMIA
RMIA = "RMIA"


@dataclass(frozen=True)
class Shadows:
    """Final models of rehearsals: weights (k, d), and which records of the pool each trained with (k, n) bool."""

    weights: Tensor
    inside: Tensor


@dataclass(frozen=True)
class Question:
    """Which of these records did the target train on?

    Args:
        examples: (n,) records.
        population: records that are known to have no part in it, for RMIA.
        model: a workspace of the federation's model.
        task: gives losses and probabilities.
        shadows: what the adversary trained itself, knowing how others of this kind are trained; None without.
    """

    examples: Examples
    population: Examples
    model: nn.Module
    task: Task
    shadows: Shadows | None

    def losses(self, weights: Tensor) -> Tensor:
        """(n,) of the model of these weights on each record, float64."""
        return -self.true_probabilities(weights, self.examples).clamp_min(1e-300).log()

    def probabilities(self, weights: Tensor, examples: Examples) -> Tensor:
        """(n, classes) of the model of these weights."""
        vector.load_vector(self.model, weights)
        return predict(self.model, self.task, examples.features)

    def true_probabilities(self, weights: Tensor, examples: Examples) -> Tensor:
        """(n,) of each record's own label."""
        return self.probabilities(weights, examples).gather(1, examples.labels[:, None])[:, 0]

    def confidences(self, weights: Tensor) -> Tensor:
        """(n,) log-odds of each record's own label."""
        return attacks.confidence(self.probabilities(weights, self.examples), self.examples.labels)


def membership_scores(
    question: Question, knowledge: Knowledge, generator: torch.Generator
) -> dict[str, Tensor]:
    """Attack -> scores (n,), higher = more like a record that was trained on; those that the knowledge allows.

    Args:
        question: about which records.
        knowledge: of the adversary.
        generator: draws the noise of the label-only attack.
    """
    found = {} if knowledge.asked is None else of_answers(question, knowledge.asked, generator)
    return found | of_rounds(question, knowledge)


def of_rounds(question: Question, knowledge: Knowledge) -> dict[str, Tensor]:
    """Attacks on what was seen while the federation trained."""
    found: dict[str, Tensor] = {}
    rounds = [sight.model for sight in knowledge.sights if sight.model is not None]
    if rounds:
        models = rounds if knowledge.final is None else [*rounds, knowledge.final]
        found["trajectory of the global models"] = _trajectory(question, models)
    moves = [
        (s.model, s.moved, s.alone)
        for s in knowledge.moves
        if s.model is not None and s.moved is not None
    ]
    local = [model + moved for model, moved, alone in moves if alone]
    if local:
        found["trajectory of the local models"] = _trajectory(question, local)
    if moves:
        name = (
            "alignment with its updates"
            if len(local) == len(moves)
            else "alignment with sums or steps"
        )
        found[name] = _alignment(question, [(model, moved) for model, moved, _ in moves])
    return found


def of_answers(
    question: Question, weights: Tensor, generator: torch.Generator
) -> dict[str, Tensor]:
    """Attacks on the final model by its answers alone; those that compare it with shadows where there are some."""
    examples, shadows = question.examples, question.shadows
    found = {
        "loss threshold": attacks.loss_threshold(question.losses(weights)),
        "label only": _label_only(question, weights, generator),
    }
    if shadows is None:
        return found
    target = question.confidences(weights)
    theirs = torch.stack([question.confidences(shadow) for shadow in shadows.weights])
    found["LiRA"] = attacks.lira_online(target, theirs, shadows.inside, pooled=None)
    found["offline LiRA"] = attacks.lira_offline(target, theirs, shadows.inside, pooled=None)
    if len(question.population):
        found[RMIA] = attacks.rmia(
            question.true_probabilities(weights, examples),
            question.true_probabilities(weights, question.population),
            torch.stack(
                [question.true_probabilities(shadow, examples) for shadow in shadows.weights]
            ),
            torch.stack(
                [
                    question.true_probabilities(shadow, question.population)
                    for shadow in shadows.weights
                ]
            ),
            shadows.inside,
            gamma=_GAMMA,
        )
    return found


def _label_only(question: Question, weights: Tensor, generator: torch.Generator) -> Tensor:
    vector.load_vector(question.model, weights)
    features = question.task.inputs(question.examples.features)
    spread = float(features.std()) or 1.0

    def classes(features: Tensor) -> Tensor:
        return predict(question.model, question.task, features).argmax(dim=1)

    return attacks.label_only(
        features,
        question.examples.labels,
        predict=classes,
        noise=[spread * part for part in _NOISE],
        copies=_COPIES,
        generator=generator,
    )


def _trajectory(question: Question, models: Sequence[Tensor]) -> Tensor:
    """By the mean loss over models that were seen one after the other."""
    return attacks.trajectory(
        torch.stack([question.losses(weights) for weights in models]), None, None
    )


def _alignment(question: Question, moves: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """(n,) how well each record's gradient explains where the updates went, mean over the rounds."""
    total = torch.zeros(len(question.examples), dtype=torch.float64)
    for model, moved in moves:
        for start in range(0, len(total), _CHUNK):
            part = slice(start, start + _CHUNK)
            records = Examples(question.examples.features[part], question.examples.labels[part])
            total[part] += attacks.update_alignment(
                moved, gradients(question.model, question.task, records, model)
            )
    return total / len(moves)


def gradients(model: nn.Module, task: Task, examples: Examples, weights: Tensor) -> Tensor:
    """(k, d) of each record's loss at weights (d,), which model, a workspace, is left with."""
    vector.load_vector(model, weights)
    parameters = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}

    def loss(at: Mapping[str, Tensor], features: Tensor, label: Tensor) -> Tensor:
        logits: Tensor = functional_call(model, dict(at), (features[None],))
        return task.loss(logits, label[None])

    features = task.inputs(examples.features).contiguous()
    found = vmap(grad(loss), in_dims=(None, 0, 0))(parameters, features, examples.labels)
    return torch.cat([found[name].flatten(1) for name in parameters], dim=1)
