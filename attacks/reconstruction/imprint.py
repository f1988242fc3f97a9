"""What the gradient of a linear layer gives away of its records, in closed form; and a layer made to give them away."""

import torch
from torch import Tensor, nn

from attacks.records import check_finite

TOLERANCE = 1e-3  # of the largest bias gradient of a bin; float32 and a ring of 32 bits leave under 1e-4 in empty ones
FAINT = 1e-3  # about what an imprint adds to a number of an input


def linear_inputs(weight_gradient: Tensor, bias_gradient: Tensor) -> Tensor:
    """What a linear layer read, as its rows tell: each row's weight gradient over its bias gradient.

    Args:
        weight_gradient: (o, i) floats, of a loss by the layer's weight.
        bias_gradient: (o,) floats, by its bias.

    Returns:
        (k, i) float64, k <= o, in the order of the layer's rows; without those whose bias gradient is zero, or which
        hold or give a number that is not finite.

    Raises:
        ValueError: the gradients are no floats, or not of these shapes.

    Guarantees:
        - Of a single record every row is the record, up to the rounding of the gradients.
        - Of several, a row is their mean under weights that sum to 1, each record's own gradient of this output over
          the sum of them; some can be below 0, and no row need be like any record.
        - The scale of the gradients does not matter, nor its sign: one step of SGD, a sum or a mean does as well.

    Source: Phong et al., Privacy-Preserving Deep Learning via Additively Homomorphic Encryption, IEEE TIFS 2018,
        section III; Geiping et al., Inverting Gradients, NeurIPS 2020, proposition 3.1.
    """
    _check_floats("weight_gradient", weight_gradient, (-1, -1))
    _check_floats("bias_gradient", bias_gradient, (len(weight_gradient),))
    known, told = weight_gradient.double(), bias_gradient.double()
    rows = known / told[:, None]
    return rows[told.isfinite() & rows.isfinite().all(dim=1)]  # a quotient by zero is not finite


class Imprint(nn.Module):
    """The input and, on all its numbers alike, a faint shift through one ReLU a bin; put in front of a model.

    One linear layer takes the same measurement of a record in every row and compares it with another cut in each; the
    next weighs all rows alike, so that all which are active get the same gradient: neighbours differ by the records
    between their cuts.

    Args:
        measure: (d,) floats, the row that measures a record of d numbers.
        cuts: (bins,) ascending: a row is active for records that measure more.
        gain: what the next layer multiplies each row with.

    Source: Fowl et al., Robbing the Fed, ICLR 2022, section 4. Conventions: a connection past the layers, so that the
        model behind them works as before; and the layer back leads to one number, added to all of the input, in place
        of a matrix with the same number everywhere.
    """

    def __init__(self, measure: Tensor, cuts: Tensor, *, gain: float) -> None:
        super().__init__()
        self.front = nn.Linear(len(measure), len(cuts))
        self.back = nn.Linear(len(cuts), 1, bias=False)
        with torch.no_grad():
            self.front.weight.copy_(measure.expand(len(cuts), -1))
            self.front.bias.copy_(-cuts)
            self.back.weight.fill_(gain)

    def forward(self, x: Tensor) -> Tensor:
        """(n, ...) from (n, ...) of d numbers a record."""
        shift: Tensor = self.back(self.front(x.flatten(1)).relu())
        return x + shift.view(-1, *(1 for _ in x.shape[1:]))


def imprint(auxiliary: Tensor, direction: Tensor, *, bins: int, gain: float = 1.0) -> Imprint:
    """A module that keeps shapes, and whose gradient holds the records of a batch apart in up to bins bins.

    A record is told apart if no other of the batch is in its bin: n of them, all bins equally likely, are for the share
    (1 - 1 / bins)^(n - 1) of them.

    Args:
        auxiliary: (m, ...) floats like the records to come, m >= 2; cuts are the quantiles of their measurements.
        direction: (d,) floats, d the numbers a record has: a record's measurement is its scalar product with it.
        bins: >= 2.
        gain: > 0, what the gradients of the bins are multiplied with; the outputs do not depend on it. The smaller, the
            less a step moves the cuts, and the more the rounding of updates counts.

    Returns:
        An Imprint of torch's default floats; its first layer, `front`, has the gradients that `imprinted` reads.

    Raises:
        ValueError: arguments not as above, or auxiliary records that all measure the same.

    Guarantees:
        - Bin j, from 0, is from the quantile j / bins to the next; the first begins one range below the least
          measurement, the last has no end.
        - A record is shifted by a thousandth of how far it measures above a cut, 0 if below, on average over cuts and
          in standard deviations: 0.0004 in the middle of a Gaussian, 0.002 two deviations above; bins and gain do not
          matter.

    Source: Fowl et al., Robbing the Fed, ICLR 2022, section 4. Convention: quantiles of records, where the source takes
        those of a Gaussian fitted to them.
    """
    check_finite("auxiliary", auxiliary, (-1, *auxiliary.shape[1:]))
    known = auxiliary.double().flatten(1)
    check_finite("direction", direction, (known.shape[1],))
    if bins < 2 or not 0 < gain < float("inf"):
        raise ValueError(
            f"imprint needs bins >= 2 and gain finite and > 0, got bins={bins}, gain={gain:g}"
        )
    values = known @ direction.double()
    low, high = float(values.min()), float(values.max())
    if not low < high:
        raise ValueError(
            f"imprint needs records that differ along direction, all {len(values)} measure {low:g}"
        )
    cuts = torch.quantile(
        values, torch.arange(bins, dtype=torch.float64, device=values.device) / bins
    )
    cuts[0] = 2 * low - high
    scale = FAINT / (float(values.std()) * bins * gain)
    return Imprint(direction.double() * scale, cuts * scale, gain=gain)


def imprinted(
    weight_gradient: Tensor, bias_gradient: Tensor, *, tolerance: float = TOLERANCE
) -> Tensor:
    """The records that gradients of an Imprint's first layer hold apart.

    Args:
        weight_gradient: (bins, d) floats, of the loss by `front.weight`: of a batch, a sum over clients' batches, or
            the change that one full-batch step of SGD made to it.
        bias_gradient: (bins,) floats, by `front.bias`, on the same scale.
        tolerance: in [0, 1): bins whose bias gradient is not above that share of the largest count as empty.

    Returns:
        (k, d) float64, k <= bins, a row a bin that is not empty, by ascending measurement.

    Raises:
        ValueError: the gradients are not finite floats of these shapes, or tolerance is outside [0, 1).

    Guarantees:
        - A record alone in its bin is given back up to the rounding of the gradients, which counts relative to its own
          share of them; a bin of several gives their mean under weights that sum to 1, of which some can be below 0.
        - Neither scale nor sign of the gradients matters, nor how records are ordered or spread over clients.
        - Differences are taken in float64. After more than one step the cuts have moved, and nothing is promised.

    Source: Fowl et al., Robbing the Fed, ICLR 2022, section 4.
    """
    check_finite("weight_gradient", weight_gradient, (-1, -1))
    check_finite("bias_gradient", bias_gradient, (len(weight_gradient),))
    if not 0 <= tolerance < 1:
        raise ValueError(f"imprinted needs tolerance in [0, 1), got {tolerance:g}")
    rows, told = _between(weight_gradient.double()), _between(bias_gradient.double())
    full = told.abs() > tolerance * told.abs().max()
    return linear_inputs(rows[full], told[full]) if bool(full.any()) else rows[:0]


def _between(gradient: Tensor) -> Tensor:
    """What each row has beyond the next; the last as it is."""
    return torch.cat([gradient[:-1] - gradient[1:], gradient[-1:]])


def _check_floats(name: str, values: Tensor, shape: tuple[int, ...]) -> None:
    """As check_finite, of values that need not be finite."""
    check_finite(name, values.nan_to_num() if values.is_floating_point() else values, shape)
