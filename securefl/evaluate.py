"""Quality of a model on test records, with the majority class beside it."""

import numpy as np
import torch
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from torch import Tensor, nn

from securefl.data.task import Examples, Task
from securefl.types import Metrics


def predict(model: nn.Module, task: Task, features: Tensor) -> Tensor:
    """(n, classes) probabilities in float64."""
    with torch.no_grad():
        return task.probabilities(model(features))


def measure(probabilities: Tensor, labels: Tensor) -> Metrics:
    """Accuracy, balanced accuracy, AUC (macro one-against-rest) and the share of the largest class.

    Args:
        probabilities: (n, classes); not finite where a finite but absurdly large model overflowed.
        labels: (n,).

    Returns:
        None for what cannot be measured: everything without records, all but the majority where a probability is
        not finite, AUC and balanced accuracy unless every class occurs.
    """
    truth = labels.numpy()
    classes = probabilities.shape[1]
    if len(truth) == 0:
        return Metrics(0, None, None, None, None)
    counts = np.bincount(truth, minlength=classes)
    majority = float(counts.max() / len(truth))
    if not bool(torch.isfinite(probabilities).all()):
        return Metrics(len(truth), None, None, None, majority)
    guesses = probabilities.argmax(dim=1).numpy()
    auc = balanced = None
    if (counts > 0).all():
        scores = probabilities[:, 1].numpy() if classes == 2 else probabilities.numpy()
        auc = float(roc_auc_score(truth, scores, multi_class="ovr"))
        balanced = float(balanced_accuracy_score(truth, guesses))
    return Metrics(len(truth), float((guesses == truth).mean()), balanced, auc, majority)


def evaluate(model: nn.Module, task: Task, examples: Examples) -> Metrics:
    """The metrics of model on examples."""
    return measure(predict(model, task, examples.features), examples.labels)
