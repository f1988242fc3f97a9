"""Records from the gradient of a linear layer, and a layer built to give its records away."""

import torch
from torch import Tensor, nn

from attacks.checks import check_finite

# Of the largest bias gradient of a bin. Rounding, in float32 and in a ring of 32 bits, leaves less
# than 1e-4 in empty bins.
TOLERANCE = 1e-3
FAINT = 1e-3  # about how much an imprint adds to each number of an input


def linear_inputs(weight_gradient: Tensor, bias_gradient: Tensor) -> Tensor:
    """Recovers a linear layer's inputs: each row's weight gradient over its bias gradient.

    Args:
        weight_gradient: (o, i) floats, of a loss by the layer's weight.
        bias_gradient: (o,) floats, by its bias.

    Returns:
        (k, i) float64, k <= o, in the order of the layer's rows. Rows with a bias gradient of zero
        are left out, as are rows that hold or give a number that is not finite.

    Raises:
        ValueError: the gradients are no floats, or not of these shapes.

    Guarantees:
        - For a single record, every row is that record, up to the rounding of the gradients.
        - For several records, a row is their mean under weights that sum to 1: each record's
          gradient of this output, divided by the sum of these. Weights can be negative, and no row
          need resemble a record.
        - Neither scale nor sign of the gradients matters: one step of SGD, a sum or a mean works.

    Source: Phong et al., Privacy-Preserving Deep Learning via Additively Homomorphic Encryption,
        IEEE TIFS 2018, section III; Geiping et al., Inverting Gradients, NeurIPS 2020, proposition
        3.1.
    """
    _check_floats("weight_gradient", weight_gradient, (-1, -1))
    _check_floats("bias_gradient", bias_gradient, (len(weight_gradient),))
    divisors = bias_gradient.double()
    rows = weight_gradient.double() / divisors[:, None]
    # Dividing by zero gives infinity or NaN, so that this drops rows without a bias gradient, too.
    finite = divisors.isfinite() & rows.isfinite().all(dim=1)
    return rows[finite]


class Imprint(nn.Module):
    """A module in front of a model whose gradient gives records away, one ReLU per bin.

    It returns its input, with one faint number added to all entries. Every row of its first layer
    takes the same measurement of a record and compares it with a cut of its own. The second layer
    weighs all rows alike, so that all active rows get the same gradient. The gradients of
    neighbouring rows then differ by the records between their cuts.

    Args:
        measure: (d,) floats, the row that measures a record of d numbers.
        cuts: (bins,) ascending: a row is active for records that measure more.
        gain: factor of each row in the second layer.

    Source: Fowl et al., Robbing the Fed, ICLR 2022, section 4. Conventions: a connection past the
        layers, so that the model behind them works as before. The second layer has one output,
        added to all of the input, in place of a matrix with the same number everywhere.
    """

    def __init__(
        self,
        measure: Tensor,
        cuts: Tensor,
        *,
        gain: float,
    ) -> None:
        super().__init__()
        bins = len(cuts)
        self.front = nn.Linear(len(measure), bins)
        self.back = nn.Linear(bins, 1, bias=False)
        with torch.no_grad():
            self.front.weight.copy_(measure.expand(bins, -1))
            self.front.bias.copy_(-cuts)
            self.back.weight.fill_(gain)

    def forward(self, x: Tensor) -> Tensor:
        """Returns (n, ...) from (n, ...) with d numbers per record."""
        active = self.front(x.flatten(1)).relu()  # (n, bins)
        shift: Tensor = self.back(active)  # (n, 1)
        single = [1] * (x.ndim - 1)
        return x + shift.view(-1, *single)


def imprint(
    auxiliary: Tensor,
    direction: Tensor,
    *,
    bins: int,
    gain: float = 1.0,
) -> Imprint:
    """Returns a module that keeps shapes, and whose gradient separates records into bins.

    A record is recovered if no other one of the batch is in its bin. If all bins are equally
    likely, this holds for a share (1 - 1 / bins)^(n - 1) of n records.

    Args:
        auxiliary: (m, ...) floats like the records to come, m >= 2; cuts are quantiles of their
            measurements.
        direction: (d,) floats for records of d numbers: a record's measurement is its scalar
            product with it.
        bins: >= 2.
        gain: > 0, factor of the bins' gradients; it does not change outputs. A smaller gain moves
            the cuts less in a step, but makes the rounding of updates matter more.

    Returns:
        An Imprint of torch's default float; its first layer, `front`, has the gradients that
        `imprinted` reads.

    Raises:
        ValueError: arguments not as above, or all auxiliary records measure the same.

    Guarantees:
        - Bin j, from 0, reaches from the quantile j / bins to the next. The first starts one range
          below the least measurement, the last has no end.
        - A record is shifted by a thousandth of its mean excess: how far it measures above a cut,
          0 if below, on average over cuts and in standard deviations. That is 0.0004 in the middle
          of a Gaussian, 0.002 two deviations above it. Bins and gain do not matter.

    Source: Fowl et al., Robbing the Fed, ICLR 2022, section 4. Convention: quantiles of records,
        where the source takes those of a fitted Gaussian.
    """
    check_finite("auxiliary", auxiliary, (-1, *auxiliary.shape[1:]))
    records = auxiliary.double().flatten(1)
    check_finite("direction", direction, (records.shape[1],))
    gain_is_usable = 0 < gain < float("inf")
    if bins < 2 or not gain_is_usable:
        raise ValueError(
            f"imprint needs bins >= 2 and gain finite and > 0, got bins={bins}, gain={gain:g}"
        )
    values = records @ direction.double()
    low = float(values.min())
    high = float(values.max())
    if not low < high:
        raise ValueError(
            f"imprint needs records that differ along direction, all {len(values)} measure {low:g}"
        )
    shares = torch.arange(bins, dtype=torch.float64, device=values.device) / bins
    cuts = torch.quantile(values, shares)
    # Records to come may measure less than every auxiliary one.
    cuts[0] = 2 * low - high
    deviation = float(values.std())
    scale = FAINT / (deviation * bins * gain)
    return Imprint(direction.double() * scale, cuts * scale, gain=gain)


def imprinted(
    weight_gradient: Tensor, bias_gradient: Tensor, *, tolerance: float = TOLERANCE
) -> Tensor:
    """Recovers the records that the gradients of an Imprint's first layer separate.

    Args:
        weight_gradient: (bins, d) floats, of the loss by `front.weight`: of a batch, of a sum over
            clients' batches, or the change that one full-batch step of SGD made to the weight.
        bias_gradient: (bins,) floats, by `front.bias`, on the same scale.
        tolerance: in [0, 1): bins whose bias gradient is at most this share of the largest count as
            empty.

    Returns:
        (k, d) float64, k <= bins, one row per bin that is not empty, by ascending measurement.

    Raises:
        ValueError: the gradients are not finite floats of these shapes, or tolerance is outside
            [0, 1).

    Guarantees:
        - A record alone in its bin is recovered up to the rounding of the gradients, relative to
          its own share of them. A bin of several records gives their mean under weights that sum to
          1 and can be negative.
        - Neither scale nor sign of the gradients matters, nor the order of records, nor how they
          are spread over clients.
        - Differences are taken in float64. After more than one step the cuts have moved, and
          nothing is promised.

    Source: Fowl et al., Robbing the Fed, ICLR 2022, section 4.
    """
    check_finite("weight_gradient", weight_gradient, (-1, -1))
    check_finite("bias_gradient", bias_gradient, (len(weight_gradient),))
    if not 0 <= tolerance < 1:
        raise ValueError(f"imprinted needs tolerance in [0, 1), got {tolerance:g}")
    weights = _per_bin(weight_gradient.double())
    biases = _per_bin(bias_gradient.double())
    occupied = biases.abs() > tolerance * biases.abs().max()
    if not bool(occupied.any()):
        return weights[:0]
    return linear_inputs(weights[occupied], biases[occupied])


def _per_bin(gradient: Tensor) -> Tensor:
    """Returns each row minus the next, which is the gradient of the records in between."""
    differences = gradient[:-1] - gradient[1:]
    return torch.cat([differences, gradient[-1:]])


def _check_floats(name: str, values: Tensor, shape: tuple[int, ...]) -> None:
    """Checks like check_finite, but allows numbers that are not finite."""
    if values.is_floating_point():
        values = values.nan_to_num()
    check_finite(name, values, shape)
