"""Least squares with a covariance that few shadows or records estimate."""

import torch
from torch import Tensor


def over_covariance(rows: Tensor, residuals: Tensor, degrees_of_freedom: int) -> Tensor:
    """Returns rows (m, d) times the inverse of the shrunk covariance of residuals (k, d).

    If all residuals are zero, it returns the rows as they are.
    """
    # Woodbury's identity: solve with the (k, k) Gram matrix, not with the (d, d) covariance.
    dual = residuals @ residuals.T  # (k, k)
    rank = min(degrees_of_freedom, residuals.shape[1])
    ridge = dual.trace() / rank  # the mean of the non-zero eigenvalues
    if ridge == 0:
        return rows
    dual.diagonal().add_(ridge)
    weights = torch.linalg.solve(dual, residuals @ rows.T)  # (k, m)
    explained: Tensor = weights.T @ residuals  # (m, d)
    return (rows - explained) * (degrees_of_freedom / ridge)


def scaled(*values: Tensor) -> tuple[Tensor, ...]:
    """Returns the tensors in float64, divided by their largest entry: squares stay in range."""
    largest = max(float(value.abs().max()) for value in values)
    if largest == 0:
        largest = 1.0
    return tuple(value.double() / largest for value in values)
