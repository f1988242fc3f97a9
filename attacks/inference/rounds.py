"""Membership from what a federation shows: a client's update to the server, every global model to a client."""

import torch
from torch import Tensor

from attacks.records import check_finite, check_inside, check_shadows, spread

LEAST_DEVIATION = (
    1e-6  # of losses: a round in which the shadows are one model counts what rounding leaves
)


_ROWS = 64  # gradients in float64 at a time


def update_alignment(update: Tensor, gradients: Tensor) -> Tensor:
    """The cosine between a client's update and the step that each record's loss would take.

    Args:
        update: (d,) floats, local weights minus global ones.
        gradients: (n, d) floats, of each record's loss at the global weights.

    Returns:
        (n,) float64 in [-1, 1], the cosine of update and -gradient; 0 if either is zero.

    Raises:
        ValueError: shapes that do not fit, no floats, or values that are not finite.

    Guarantees:
        - Memory O(d) beside the arguments (64 rows at a time), and no square over- or underflows.

    Source: Li, Rezaei and Liu, Effective passive membership inference attacks in federated learning against
        overparameterized models, ICLR 2023 (cosine); the passive server of Nasr, Shokri and Houmansadr, IEEE S&P 2019.
        Convention: one round, and the server's own gradient on the record at the weights that it sent.
    """
    check_finite("update", update, (-1,))
    check_finite("gradients", gradients, (-1, len(update)))
    along = _directions(update[None])[0]
    found = [-(_directions(part) @ along) for part in torch.split(gradients, _ROWS)]
    return torch.cat(found).clamp(-1.0, 1.0)


def trajectory(losses: Tensor, shadows: Tensor | None, inside: Tensor | None) -> Tensor:
    """How low a record's loss is over the global models that a client sees.

    Args:
        losses: (rounds, n) floats, of every global model on every record.
        shadows: (k, rounds, n), the same of shadow federations; None if there are none.
        inside: (k, n) bool, whether the shadow federation trained with the record; None if there are none.

    Returns:
        (n,) float64, minus the mean over rounds of the loss: as it is, or, with shadows, of its deviations above the
        shadows that did not train with the record.

    Raises:
        ValueError: only one of shadows and inside; a record that all shadows trained with, no record with two shadows
            without it; or arrays not as above.

    Guarantees:
        - With shadows, a record that is hard for every model is no more of an outsider for it.

    Source: Zari, Xu and Neglia, Efficient passive membership inference attack in federated learning, 2021; Liu et al.,
        Membership Inference Attacks by Exploiting Loss Trajectory, CCS 2022. Convention, ours: both train an attack
        model on trajectories, where this is their mean, every round standardised by the mean of each record and one
        standard deviation for all records of the round (about those means, by degrees of freedom, >= 1e-6).
    """
    check_finite("losses", losses, (-1, -1))
    if (shadows is None) != (inside is None):
        raise ValueError(
            f"trajectory needs shadows and inside, or neither, got {'shadows' if inside is None else 'inside'} alone"
        )
    known = losses.double()
    if shadows is None or inside is None:
        return -known.mean(dim=0)
    check_finite("shadows", shadows, (-1, *losses.shape))
    check_inside(inside, (len(shadows), losses.shape[1]))
    check_shadows("trajectory", ~inside, least=1, trained="without")
    if int((~inside).sum()) == inside.shape[1]:
        raise ValueError(
            "trajectory needs a record with >= 2 shadows that trained without it, got 1 for every record"
        )
    rounds = [
        _standardised(loss, shadows[:, at].double(), ~inside) for at, loss in enumerate(known)
    ]
    return -torch.stack(rounds).mean(dim=0)


def _standardised(loss: Tensor, shadows: Tensor, outside: Tensor) -> Tensor:
    """(n,) the losses of a round as deviations from the shadows (k, n) that outside marks."""
    without = spread(shadows, outside)
    variance = without.squares.sum() / (without.counts - 1).sum()
    return (loss - without.mean) / variance.sqrt().clamp_min(LEAST_DEVIATION)


def _directions(rows: Tensor) -> Tensor:
    """The rows (k, d) over their lengths, in float64; zero stays zero."""
    known = rows.double()
    scaled = known / _or_one(known.abs().amax(dim=1, keepdim=True))  # so that squares stay in range
    return scaled / _or_one(scaled.square().sum(dim=1, keepdim=True).sqrt())


def _or_one(sizes: Tensor) -> Tensor:
    return torch.where(sizes == 0, 1.0, sizes)
