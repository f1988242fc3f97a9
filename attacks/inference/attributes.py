"""Inference of a property of a client's records, and of the client that a record belongs to."""

import torch
from torch import Tensor

from attacks.checks import check_finite
from attacks.inference.covariance import over_covariance, scaled

# Differences that rounding leaves between equal shadows, relative to the largest entry.
_ROUNDING = 1e-12


def property_inference(update: Tensor, shadows: Tensor, has: Tensor) -> float:
    """Returns the log-likelihood ratio of an update: records with a property, or without it.

    Args:
        update: (d,) floats, of the client. For a sum over clients: minus the attacker's guess at
            the other clients' updates.
        shadows: (k, d) floats, updates that the attacker trained from the same global model on
            its own records.
        has: (k,) bool, whether the shadow's records had the property.

    Returns:
        The score: above 0 if the update looks like one of records with the property.

    Raises:
        ValueError: no shadow with the property or none without it, shadows that all equal the
            mean of their side, or tensors not as above.

    Guarantees:
        - Unchanged if the shadows are permuted, or if all updates are multiplied by one positive
          number, moved by one vector or have their coordinates permuted.
        - Changes sign if `has` is negated.
        - Uses O(k (k + d)) memory, never d squared; label_counts does the same.

    Source: Melis et al., Exploiting Unintended Feature Leakage in Collaborative Learning, IEEE
        S&P 2019, section 4; Ganju et al., Property Inference Attacks on Fully Connected Neural
        Networks, CCS 2018 (shadows). Convention, ours: they train networks or forests. This is
        the linear discriminant of two Gaussians with one covariance, to whose eigenvalues the
        mean of the non-zero ones is added. Both sides are equally likely beforehand.
    """
    check_finite("update", update, (-1,))
    check_finite("shadows", shadows, (-1, len(update)))
    _check_property(has, len(shadows))
    target, rows = scaled(update, shadows)
    mean_with = rows[has].mean(dim=0)
    mean_without = rows[~has].mean(dim=0)
    residuals = rows - torch.where(has[:, None], mean_with, mean_without)
    if not bool((residuals.abs() > _ROUNDING).any()):
        raise ValueError(
            "property_inference needs shadows of a side that differ, "
            f"got {len(has)} without a difference"
        )
    gap = (mean_with - mean_without)[None]
    degrees_of_freedom = max(len(rows) - 2, 1)
    discriminant = over_covariance(gap, residuals, degrees_of_freedom)[0]
    middle = (mean_with + mean_without) / 2
    return float(discriminant @ (target - middle))


def source_inference(losses: Tensor) -> Tensor:
    """Returns the client that each record most likely belongs to.

    That is the client whose local models have the lowest loss on the record.

    Args:
        losses: (rounds, clients, n) floats, of every client's local model of every round on every
            record; rounds >= 1.

    Returns:
        (n,) int64, 0 to clients - 1; the first client of equals.

    Raises:
        ValueError: fewer than two clients, or losses that are no floats, not finite or of another
            shape.

    Source: Hu et al., Source Inference Attacks in Federated Learning, ICDM 2021, section III.
        Convention, ours: the mean over rounds, which is right more often than the last round.
        Losses are not centred: subtracting each client's mean loss on other records was right no
        more often where sites are alike, and less often where they differ.
    """
    check_finite("losses", losses, (-1, -1, -1))
    if losses.shape[1] < 2:
        raise ValueError(f"source_inference needs clients >= 2, got clients={losses.shape[1]}")
    return losses.double().mean(dim=0).argmin(dim=0)


def _check_property(has: Tensor, k: int) -> None:
    """Raises ValueError unless `has` is k truth values, and both occur."""
    if has.dtype != torch.bool or has.shape != (k,):
        raise ValueError(
            f"has must be {k} truth values, got {has.dtype} of shape {tuple(has.shape)}"
        )
    if not 0 < int(has.sum()) < k:
        raise ValueError(
            "property_inference needs shadows with and without the property, "
            f"got {int(has.sum())} of {k}"
        )
