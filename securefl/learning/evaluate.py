"""Quality of a model on test records, next to the score of a constant answer.

Accuracy and AUC are MedMNIST's: AUC is the mean over classes of one against the rest. Records with
several labels score as one task a label, at a threshold of one half, and the scores are averaged.
Labels that nobody looked for judge nothing, and neither do records with coarse labels.
Real targets have errors instead, see `securefl.learning.regression`.

Source: Yang et al., "MedMNIST v2", Scientific Data 2023; its `Evaluator` is the tests' oracle.
"""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from securefl.data.task import Examples, Task
from securefl.learning.device import device_of, full_precision
from securefl.learning.models.scattering.remembered import prepared
from securefl.learning.protocol import Metrics
from securefl.learning.regression import measure_targets

Labels = NDArray[np.int64]  # (n,) classes, or (n, classes) of 0, 1 and -1 for "nobody looked"
Scores = NDArray[np.float64]  # (n, classes) probabilities

RECORDS_AT_A_TIME = 256  # bounds the memory that the activations of a deep network take


def predict(model: nn.Module, task: Task, features: Tensor) -> Tensor:
    """Returns (n, classes) probabilities, or (n, targets) in their own units, in float64.

    The model stays where it is, in evaluation mode, without dropout; the answers are on the CPU.
    """
    model.eval()
    read = task.values if task.regression else task.probabilities
    device = device_of(model)
    with torch.no_grad(), full_precision(device):
        answers = []
        for part in torch.split(prepared(model, task, features), RECORDS_AT_A_TIME):
            outputs = model(task.inputs(part.to(device)))
            answers.append(read(outputs.cpu()))
        return torch.cat(answers)


def measure(probabilities: Tensor, labels: Tensor) -> Metrics:
    """Returns accuracy, balanced accuracy, AUC and the share of the largest class.

    Args:
        probabilities: (n, classes); not finite where a finite but absurdly large model overflowed.
        labels: (n,) classes, or (n, classes) of 0 and 1 where a record may have several, and of -1
            where nobody looked. A coarse label is the number of classes, or more.

    Returns:
        The metrics, with None for each that cannot be measured. Without records that is all of
        them. If a probability is not finite, only the majority is measured. AUC and balanced
        accuracy need every class to occur; of several labels, each must be present in some record
        and absent in another.
    """
    if labels.ndim == 1:
        is_fine = labels < probabilities.shape[1]
        if not bool(is_fine.all()):
            fine = measure(probabilities[is_fine], labels[is_fine])
            return replace(fine, coarse=int((~is_fine).sum()))
    if labels.ndim == 2:
        # A record of which nobody looked for any label judges nothing.
        judges = (labels >= 0).any(dim=1)
        if not bool(judges.all()):
            return measure(probabilities[judges], labels[judges])
    truth = labels.numpy()
    if len(truth) == 0:
        return Metrics(0, None, None, None, None)
    counts = _counts(truth, classes=probabilities.shape[1])
    majority = _majority(counts)
    if not bool(torch.isfinite(probabilities).all()):
        return Metrics(len(truth), None, None, None, majority)
    scores = probabilities.numpy()
    answers = _answers(scores, several=truth.ndim == 2)
    accuracy = _accuracy(truth, answers)
    if not (counts > 0).all():
        return Metrics(len(truth), accuracy, None, None, majority)
    return Metrics(
        len(truth),
        accuracy,
        _balanced_accuracy(truth, answers),
        _auc(truth, scores),
        majority,
    )


def evaluate(model: nn.Module, task: Task, examples: Examples) -> Metrics:
    """Returns the metrics of a model on examples."""
    answers = predict(model, task, examples.features)
    if task.regression:
        return measure_targets(answers, task.values(examples.labels))
    return measure(answers, examples.labels)


def _counts(truth: Labels, *, classes: int) -> Labels:
    """Returns (classes,) records of each class, or (2, classes) without and with each label."""
    if truth.ndim == 2:
        without = (truth == 0).sum(axis=0)  # (classes,)
        having = (truth == 1).sum(axis=0)  # (classes,)
        return np.stack([without, having])
    return np.bincount(truth, minlength=classes)


def _majority(counts: Labels) -> float | None:
    """Returns the accuracy of a constant answer; of several labels, the mean of theirs."""
    totals = np.atleast_1d(counts.sum(axis=0))
    if not totals.any():
        return None
    # A label that nobody looked for has no largest share.
    largest = np.atleast_1d(counts.max(axis=0))[totals > 0]
    return float((largest / totals[totals > 0]).mean())


def _answers(scores: Scores, *, several: bool) -> Labels:
    """Returns the model's answers in the form of the labels."""
    if several:
        return (scores > 0.5).astype(np.int64)
    answers: Labels = scores.argmax(axis=1)
    return answers


def _accuracy(truth: Labels, answers: Labels) -> float:
    """Returns the share of right answers; of several labels, the mean of theirs."""
    right = answers == truth
    if (truth >= 0).all():
        return float(right.mean())
    # As for the majority: a label that few sites looked for counts as much as any other.
    columns = zip(right.T, truth.T, strict=True)
    shares = [own[given >= 0].mean() for own, given in columns if (given >= 0).any()]
    return float(np.mean(shares))


def _balanced_accuracy(truth: Labels, answers: Labels) -> float:
    """Returns the balanced accuracy; of several labels, the mean of theirs."""
    if truth.ndim == 1:
        return _mean_recall(truth, answers)
    columns = zip(truth.T, answers.T, strict=True)
    recalls = [_mean_recall(own[own >= 0], given[own >= 0]) for own, given in columns]
    return float(np.mean(recalls))


def _mean_recall(truth: Labels, answers: Labels) -> float:
    """Returns the mean over classes of the share of right answers; every class is in truth."""
    # scikit-learn's function gives the same bits, but takes as long as a small round of training.
    counts = np.bincount(truth)
    right = np.bincount(truth[answers == truth], minlength=len(counts))
    recalls = right / counts
    return float(np.mean(recalls))


def _auc(truth: Labels, scores: Scores) -> float:
    """Returns the mean over classes of the AUC of one class against the rest."""
    # Of two classes both have the same AUC; scikit-learn, too, takes it from one column.
    if truth.ndim == 1 and scores.shape[1] == 2:
        return _area(truth == 1, scores[:, 1])
    if truth.ndim == 2:
        columns = zip(truth.T, scores.T, strict=True)
        areas = [_area(own[own >= 0] == 1, column[own >= 0]) for own, column in columns]
    else:
        members = truth[:, None] == np.arange(scores.shape[1])
        areas = [_area(*column) for column in zip(members.T, scores.T, strict=True)]
    return float(np.mean(areas))


def _area(members: NDArray[np.bool_], scores: Scores) -> float:
    """Returns the area under the ROC curve of (n,) scores; some records are members, some not."""
    # scikit-learn's function gives the same bits, but its import takes over a second.
    order = np.argsort(-scores, kind="stable")
    # Records with the same score are one corner of the curve.
    corners = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    hits = np.cumsum(members[order])[corners]
    false_alarms = corners + 1 - hits
    if len(corners) > 2:
        # Points between two corners on one line add nothing but rounding.
        bends = np.logical_or(np.diff(hits, 2), np.diff(false_alarms, 2))
        kept = np.concatenate([[True], bends, [True]])
        hits = hits[kept]
        false_alarms = false_alarms[kept]
    heights = np.append(0.0, hits / hits[-1])
    widths = np.diff(np.append(0.0, false_alarms / false_alarms[-1]))
    trapezoids = widths * (heights[1:] + heights[:-1]) / 2.0
    return float(np.sum(trapezoids))
