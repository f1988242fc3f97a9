"""Whether a model was trained with a record: one score a record, higher if it looks more like a member."""

import math
from collections.abc import Callable, Sequence

import torch
from scipy.special import log_ndtr
from torch import Tensor

from attacks.records import (
    Spread,
    check_finite,
    check_inside,
    check_probabilities,
    check_shadows,
    spread,
)

FEW_SHADOWS = 64  # below that many, one variance for all records
LEAST_VARIANCE = (
    1e-6  # of confidences: a thousandth in log-odds, far below what a second training run changes
)
LARGEST_CONFIDENCE = 1e100  # so that no square overflows


def confidence(probabilities: Tensor, labels: Tensor) -> Tensor:
    """The log-odds of the true label, which are about Gaussian over models.

    Args:
        probabilities: (n, classes) floats in [0, 1], classes >= 2, every row of sum 1 (to a thousandth).
        labels: (n,) whole numbers, 0 to classes - 1.

    Returns:
        (n,) float64, log p_y - log(sum of the others).

    Raises:
        ValueError: probabilities or labels are not as above.

    Guarantees:
        - Finite: no further from 0 than -log(smallest normal number of the kind of probabilities): 87.3 of float32,
          708.4 of float64.
        - The others are added up and never taken from 1: a p_y that rounds to 1 is ordered by what is left to them,
          and lies at the upper end where that is nothing.

    Source: Carlini et al., Membership Inference Attacks From First Principles, IEEE S&P 2022, section IV (logit
        scaling).
    """
    check_probabilities("probabilities", probabilities, (-1, -1))
    n, classes = probabilities.shape
    if classes < 2:
        raise ValueError(f"confidence needs classes >= 2, got classes={classes}")
    known, places = probabilities.double(), _labels(labels, n, classes)[:, None]
    if float((known.sum(dim=1) - 1).abs().max()) > 1e-3:
        raise ValueError(
            f"probabilities must sum to 1, got a row {float((known.sum(dim=1) - 1).abs().max()):g} off"
        )
    least = torch.finfo(probabilities.dtype).tiny
    others = known.scatter(1, places, 0.0).sum(dim=1)
    odds = known.gather(1, places)[:, 0].clamp_min(least).log() - others.clamp_min(least).log()
    return odds.clamp(math.log(least), -math.log(least))


def loss_threshold(losses: Tensor) -> Tensor:
    """Minus the loss of every record.

    Args:
        losses: (n,) floats.

    Returns:
        (n,) float64.

    Raises:
        ValueError: losses are not 1-D, are empty, hold no floats or are not finite.

    Source: Yeom et al., Privacy Risk in Machine Learning, CSF 2018, section III.
    """
    check_finite("losses", losses, (-1,))
    return -losses.double()


def lira_online(target: Tensor, shadows: Tensor, inside: Tensor, *, pooled: bool | None) -> Tensor:
    """How much likelier confidences are under shadow models with the record than without it, in log.

    Args:
        target: (n,) confidences of the attacked model.
        shadows: (k, n) those of shadow models, none beyond 1e100.
        inside: (k, n) bool, whether the shadow trained with the record.
        pooled: one variance for all records, of the models with them and of those without; None: if k < 64.

    Returns:
        (n,) float64, log N(target; with) - log N(target; without).

    Raises:
        ValueError: a record with fewer than two shadows on a side (one, if pooled), or arrays not as above.

    Guarantees:
        - Finite: no variance is below 1e-6.

    Source: Carlini et al., Membership Inference Attacks From First Principles, IEEE S&P 2022, algorithm 1 and section
        VI ("global variance" with fewer than 64 shadows). Conventions: means and sample variances, where the source's
        program takes medians and divides by the count; pooled is the variance about each record's own mean, by degrees
        of freedom; a side whose records all have one shadow takes the other's, and 1e-6 if that has no more.
    """
    pooled = _check_lira("lira_online", target, shadows, inside, pooled)
    check_shadows("lira_online", inside, least=1 if pooled else 2, trained="with")
    known = shadows.double()
    with_it, without = spread(known, inside), spread(known, ~inside)
    of_in, of_out = _variance(with_it, pooled), _variance(without, pooled)
    of_in, of_out = (of_out if of_in is None else of_in), (of_in if of_out is None else of_out)
    return _log_density(target.double(), with_it.mean, of_in) - _log_density(
        target.double(), without.mean, of_out
    )


def lira_offline(target: Tensor, shadows: Tensor, inside: Tensor, *, pooled: bool | None) -> Tensor:
    """How far confidences lie above those of shadow models without the record: minus the log of the p-value.

    Args:
        target: (n,) confidences of the attacked model.
        shadows: (k, n) those of shadow models, none beyond 1e100.
        inside: (k, n) bool, whether the shadow trained with the record; those that did are not looked at.
        pooled: one variance for all records; None: if k < 64.

    Returns:
        (n,) float64, >= 0: -log(1 - Phi(z)), z the deviations of the target above the mean.

    Raises:
        ValueError: a record with fewer than two shadows without it (one, if pooled), or arrays not as above.

    Guarantees:
        - Finite: no variance is below 1e-6.
        - Rises with z without bound, where log Phi(z) ties all from z = 38 on; such ties, at 0, are below z = -38.

    Source: Carlini et al., Membership Inference Attacks From First Principles, IEEE S&P 2022, section IV (offline).
        Conventions: those of lira_online, and the log of the p-value for the p-value.
    """
    pooled = _check_lira("lira_offline", target, shadows, inside, pooled)
    without = spread(shadows.double(), ~inside)
    z = (target.double() - without.mean) / _or_least(_variance(without, pooled)).sqrt()
    return torch.as_tensor(-log_ndtr(-z.numpy(force=True))).to(z)


def label_only(
    features: Tensor,
    labels: Tensor,
    *,
    predict: Callable[[Tensor], Tensor],
    noise: Sequence[float],
    copies: int,
    generator: torch.Generator,
) -> Tensor:
    """The share of noisy copies of every record, itself among them, that are still given its label.

    Args:
        features: (n, ...) floats.
        labels: (n,) whole numbers.
        predict: classes (n,), whole numbers, from features (n, ...).
        noise: standard deviations of the Gaussian noise, each > 0; of none, the record itself is all there is.
        copies: noisy copies of a record for each of them, >= 1.
        generator: draws the noise.

    Returns:
        (n,) float64 in [0, 1], multiples of 1 / (1 + len(noise) * copies).

    Raises:
        ValueError: arguments not as above, or predict returns anything else.

    Guarantees:
        - One copy of the records is held at a time.

    Source: Choquette-Choo et al., Label-Only Membership Inference Attacks, ICML 2021, section 3. Convention: the share
        over fixed noises, where the source tunes one on shadow models, and fits a model to the copies' labels.
    """
    check_finite("features", features, (-1, *features.shape[1:]))
    if copies < 1 or not all(math.isfinite(deviation) and deviation > 0 for deviation in noise):
        raise ValueError(
            f"label_only needs copies >= 1 and noise finite and > 0, got copies={copies}, noise={noise}"
        )
    wanted = _whole("labels", labels, len(features))
    kept = (_whole("predict's classes", predict(features), len(features)) == wanted).double()
    for deviation in noise:
        for _ in range(copies):
            drawn = torch.randn(
                features.shape, generator=generator, device=generator.device, dtype=features.dtype
            )
            noisy = features + deviation * drawn.to(features.device)
            kept += _whole("predict's classes", predict(noisy), len(features)) == wanted
    return kept / (1 + len(noise) * copies)


def _check_lira(
    attack: str, target: Tensor, shadows: Tensor, inside: Tensor, pooled: bool | None
) -> bool:
    """Whether variances are pooled; ValueError unless the arrays fit and no record lacks a shadow without it."""
    check_finite("target", target, (-1,))
    check_finite("shadows", shadows, (-1, len(target)))
    check_inside(inside, tuple(shadows.shape))
    largest = max(float(target.abs().max()), float(shadows.abs().max()))
    if largest > LARGEST_CONFIDENCE:
        raise ValueError(
            f"{attack} needs confidences of size <= {LARGEST_CONFIDENCE:g}, got {largest:g}"
        )
    pooled = len(shadows) < FEW_SHADOWS if pooled is None else pooled
    check_shadows(attack, ~inside, least=1 if pooled else 2, trained="without")
    return pooled


def _variance(side: Spread, pooled: bool) -> Tensor | None:
    """(n,), or (1,) if pooled; None if no record has two shadows."""
    if not pooled:
        return side.squares / (side.counts - 1)
    degrees = int((side.counts - 1).sum())
    return side.squares.sum(dim=0, keepdim=True) / degrees if degrees else None


def _or_least(variance: Tensor | None) -> Tensor:
    """The variance, kept off zero."""
    return (
        torch.tensor([LEAST_VARIANCE]).double()
        if variance is None
        else variance.clamp_min(LEAST_VARIANCE)
    )


def _log_density(values: Tensor, mean: Tensor, variance: Tensor | None) -> Tensor:
    """(n,) the log of the Gaussian density, less its constant."""
    kept = _or_least(variance).to(values)
    return -(kept.log() + (values - mean).square() / kept) / 2


def _whole(name: str, values: Tensor, n: int) -> Tensor:
    """The values as int64; ValueError unless they are n whole numbers."""
    if (
        values.shape != (n,)
        or values.is_floating_point()
        or values.is_complex()
        or values.dtype == torch.bool
    ):
        raise ValueError(
            f"{name} must be {n} whole numbers, got {values.dtype} of shape {tuple(values.shape)}"
        )
    return values.long()


def _labels(labels: Tensor, n: int, classes: int) -> Tensor:
    """The labels as int64; ValueError unless they are n classes."""
    places = _whole("labels", labels, n)
    if int(places.min()) < 0 or int(places.max()) >= classes:
        raise ValueError(
            f"labels must lie in 0 to {classes - 1}, got {int(places.min())} to {int(places.max())}"
        )
    return places
