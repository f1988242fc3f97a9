"""Membership inference from a federation: from a client's update, or from the global models."""

import torch
from torch import Tensor

from attacks.checks import check_finite
from attacks.inference.shadows import check_inside, check_shadows, spread

# Of losses. In a round in which all shadows are the same model, only rounding makes them differ.
LEAST_DEVIATION = 1e-6

_ROWS_AT_A_TIME = 64  # gradients converted to float64 together


def update_alignment(update: Tensor, gradients: Tensor) -> Tensor:
    """Returns the cosine between a client's update and each record's descent step.

    A record that the client trained on tends to have pulled the update its own way.

    Args:
        update: (d,) floats, local weights minus global ones.
        gradients: (n, d) floats, of each record's loss at the global weights.

    Returns:
        (n,) float64 in [-1, 1], the cosine of update and -gradient; 0 if either is zero.

    Raises:
        ValueError: shapes that do not fit, no floats, or values that are not finite.

    Guarantees:
        - Uses O(d) memory on top of its arguments, because it takes 64 rows at a time.
        - No square overflows or underflows.

    Source: Li, Rezaei and Liu, Effective passive membership inference attacks in federated
        learning against overparameterized models, ICLR 2023 (cosine). The passive server is by
        Nasr, Shokri and Houmansadr, IEEE S&P 2019. Convention: one round, and the server's own
        gradient on the record, at the weights that it sent.
    """
    check_finite("update", update, (-1,))
    check_finite("gradients", gradients, (-1, len(update)))
    direction = _unit_rows(update[None])[0]
    parts = torch.split(gradients, _ROWS_AT_A_TIME)
    cosines = [-(_unit_rows(part) @ direction) for part in parts]
    return torch.cat(cosines).clamp(-1.0, 1.0)


def trajectory(losses: Tensor, shadows: Tensor | None, inside: Tensor | None) -> Tensor:
    """Returns how low each record's loss is over the global models that a client receives.

    Args:
        losses: (rounds, n) floats, of every global model on every record.
        shadows: (k, rounds, n), the same losses in shadow federations; None without shadows.
        inside: (k, n) bool, whether the shadow federation trained with the record; None without
            shadows.

    Returns:
        (n,) float64. Without shadows: minus the mean loss over rounds. With shadows: minus the
        mean over rounds of the loss, in deviations above shadows that trained without the record.

    Raises:
        ValueError: only one of `shadows` and `inside`; a record that all shadows trained with; no
            record with two shadows without it; or tensors not as above.

    Guarantees:
        - With shadows, a record that is hard for every model does not look like a non-member.

    Source: Zari, Xu and Neglia, Efficient passive membership inference attack in federated
        learning, 2021; Liu et al., Membership Inference Attacks by Exploiting Loss Trajectory,
        CCS 2022. Convention, ours: they train an attack model on trajectories, this is their
        mean. Each round is standardised by every record's own mean and by one standard deviation
        for all records, about those means, by degrees of freedom, at least 1e-6.
    """
    check_finite("losses", losses, (-1, -1))
    if (shadows is None) != (inside is None):
        given = "shadows" if inside is None else "inside"
        raise ValueError(f"trajectory needs shadows and inside, or neither, got {given} alone")
    rounds = losses.double()
    if shadows is None or inside is None:
        return -rounds.mean(dim=0)
    check_finite("shadows", shadows, (-1, *losses.shape))
    check_inside(inside, (len(shadows), losses.shape[1]))
    check_shadows("trajectory", ~inside, least=1, trained="without")
    # One shadow for every record leaves no degree of freedom for the deviation.
    if int((~inside).sum()) == inside.shape[1]:
        raise ValueError(
            "trajectory needs a record with >= 2 shadows that trained without it, "
            "got 1 for every record"
        )
    deviations = []
    for place, loss in enumerate(rounds):
        of_shadows = shadows[:, place].double()  # (k, n)
        deviations.append(_standardised(loss, of_shadows, ~inside))
    return -torch.stack(deviations).mean(dim=0)


def _standardised(loss: Tensor, shadows: Tensor, outside: Tensor) -> Tensor:
    """Returns one round's losses (n,) as deviations above the shadows selected by `outside`."""
    without = spread(shadows, outside)
    variance = without.squares.sum() / (without.counts - 1).sum()
    return (loss - without.mean) / variance.sqrt().clamp_min(LEAST_DEVIATION)


def _unit_rows(rows: Tensor) -> Tensor:
    """Returns the rows (k, d) at length 1, in float64; a row of zeros stays zero."""
    exact = rows.double()
    # Dividing by the largest entry first keeps squares in range.
    largest = exact.abs().amax(dim=1, keepdim=True)
    scaled = exact / _one_for_zero(largest)
    lengths = scaled.square().sum(dim=1, keepdim=True).sqrt()
    return scaled / _one_for_zero(lengths)


def _one_for_zero(sizes: Tensor) -> Tensor:
    """Returns the sizes with 1 in place of 0, so that dividing by them leaves zeros alone."""
    return torch.where(sizes == 0, 1.0, sizes)
