"""Errors of predicted real numbers, in the units of the targets.

Several targets are measured one by one, and their errors averaged. scikit-learn's metrics, which
the tests compare with, do the same by default.
"""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from securefl.learning.protocol import Metrics

Values = NDArray[np.float64]  # (n, targets)


def measure_targets(predicted: Tensor, true: Tensor) -> Metrics:
    """Returns the mean absolute error, the root mean squared error and R2.

    Args:
        predicted: (n, targets); not finite where a finite but absurdly large model overflowed.
        true: (n, targets).

    Returns:
        The metrics, with None for each that cannot be measured: all of them without records or
        where a prediction is not finite, and R2 where a target is the same in all records.
    """
    answers = predicted.double().numpy()
    truth = true.double().numpy()
    if len(truth) == 0 or not np.isfinite(answers).all():
        return Metrics(len(truth), None, None, None, None)
    errors = answers - truth  # (n, targets)
    squares = (errors**2).mean(axis=0)  # (targets,)
    return Metrics(
        len(truth),
        accuracy=None,
        balanced_accuracy=None,
        auc=None,
        majority=None,
        mae=float(np.abs(errors).mean()),
        rmse=float(np.sqrt(squares).mean()),
        r2=_r2(squares, truth),
    )


def _r2(squares: Values, truth: Values) -> float | None:
    """Returns the mean over targets of 1 minus the squared error over the variance."""
    # Compared, not subtracted: rounding gives equal numbers a variance above zero.
    if (truth.max(axis=0) == truth.min(axis=0)).any():
        return None
    return float((1 - squares / truth.var(axis=0)).mean())
