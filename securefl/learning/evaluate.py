"""Quality of a model on test records, with what a constant answer would score beside it.

Accuracy and AUC are MedMNIST's: macro one-against-rest AUC; for records with several labels the mean over labels of
what each would score as a task of its own, at a threshold of one half.

Source: Yang et al., "MedMNIST v2", Scientific Data 2023; its `Evaluator` is the tests' oracle.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from securefl.data.task import Examples, Task
from securefl.learning.protocol import Metrics

_BATCH = 256  # records judged at a time; a network of many layers holds only theirs


def predict(model: nn.Module, task: Task, features: Tensor) -> Tensor:
    """(n, classes) probabilities in float64; the model is left in evaluation mode, without dropout."""
    model.eval()
    with torch.no_grad():
        return torch.cat(
            [task.probabilities(model(task.inputs(part))) for part in torch.split(features, _BATCH)]
        )


def measure(probabilities: Tensor, labels: Tensor) -> Metrics:
    """Accuracy, balanced accuracy, AUC and the share of the largest class.

    Args:
        probabilities: (n, classes); not finite where a finite but absurdly large model overflowed.
        labels: (n,), or (n, classes) of 0 and 1 where a record may bear several.

    Returns:
        None for what cannot be measured: everything without records, all but the majority where a probability is
        not finite, AUC and balanced accuracy unless every class occurs (of several labels: bears and does not).
    """
    truth = labels.numpy()
    several = truth.ndim == 2
    if len(truth) == 0:
        return Metrics(0, None, None, None, None)
    classes = probabilities.shape[1]
    counts = (
        np.stack([(truth == 0).sum(axis=0), (truth == 1).sum(axis=0)])
        if several
        else _counts(truth, classes)
    )
    majority = float((counts.max(axis=0) / len(truth)).mean())
    if not bool(torch.isfinite(probabilities).all()):
        return Metrics(len(truth), None, None, None, majority)
    scores = probabilities.numpy()
    guesses = (scores > 0.5).astype(np.int64) if several else scores.argmax(axis=1)
    auc = balanced = None
    if (counts > 0).all():
        auc = _auc(truth, scores)
        columns = zip(truth.T, guesses.T, strict=True) if several else [(truth, guesses)]
        balanced = float(np.mean([_mean_recall(real, guessed) for real, guessed in columns]))
    return Metrics(len(truth), float((guesses == truth).mean()), balanced, auc, majority)


def evaluate(model: nn.Module, task: Task, examples: Examples) -> Metrics:
    """The metrics of model on examples."""
    return measure(predict(model, task, examples.features), examples.labels)


def _counts(truth: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    return np.bincount(truth, minlength=classes)


def _mean_recall(truth: NDArray[np.int64], guesses: NDArray[np.int64]) -> float:
    """Balanced accuracy where every class occurs in truth.

    scikit-learn's function gives the same bits, but takes as long as a small round of training.
    """
    right = np.bincount(truth[guesses == truth], minlength=int(truth.max()) + 1)
    return float(np.mean(right / np.bincount(truth)))


def _auc(truth: NDArray[np.int64], scores: NDArray[np.float64]) -> float:
    """The mean over classes of the AUC of bearing it against not bearing it."""
    if truth.ndim == 1 and scores.shape[1] == 2:
        return float(roc_auc_score(truth, scores[:, 1]))
    borne = truth if truth.ndim == 2 else truth[:, None] == np.arange(scores.shape[1])
    return float(
        np.mean([roc_auc_score(real, score) for real, score in zip(borne.T, scores.T, strict=True)])
    )
