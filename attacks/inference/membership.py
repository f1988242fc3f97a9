"""Membership inference: one score per record, higher if it looks more like a training record."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from attacks.checks import check_finite, check_probabilities, whole_numbers
from attacks.inference.shadows import Spread, check_inside, check_shadows, spread

MIN_SHADOWS_PER_RECORD_VARIANCE = 64  # with fewer, one variance for all records
LARGEST_CONFIDENCE = 1e100  # so that no square overflows

# Of confidences: a thousandth in log-odds, far less than a second training run changes.
LEAST_VARIANCE = 1e-6


def confidence(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Returns the log-odds of the true label, which are about Gaussian over models.

    Args:
        probabilities: (n, classes) floats in [0, 1], classes >= 2; rows sum to 1 within 0.001.
        labels: (n,) whole numbers, 0 to classes - 1.

    Returns:
        (n,) float64, log p_y - log(sum of the other probabilities).

    Raises:
        ValueError: probabilities or labels are not as above.

    Guarantees:
        - Finite: no further from 0 than -log(smallest normal number of the dtype), which is 87.3
          for float32 and 708.4 for float64.
        - The other probabilities are summed, never taken as 1 - p_y. Records whose p_y rounds to
          1 are therefore still ordered, and lie at the upper end if the others are all zero.

    Source: Carlini et al., Membership Inference Attacks From First Principles, IEEE S&P 2022,
        section IV (logit scaling).
    """
    check_probabilities("probabilities", probabilities, (-1, -1))
    n, classes = probabilities.shape
    if classes < 2:
        raise ValueError(f"confidence needs classes >= 2, got classes={classes}")
    places = _class_numbers(labels, n, classes)[:, None]
    exact = probabilities.double()
    excess = float((exact.sum(dim=1) - 1).abs().max())
    if excess > 1e-3:
        raise ValueError(f"probabilities must sum to 1, got a row {excess:g} off")
    least = torch.finfo(probabilities.dtype).tiny
    own = exact.gather(1, places)[:, 0]
    rest = exact.scatter(1, places, 0.0).sum(dim=1)
    odds = own.clamp_min(least).log() - rest.clamp_min(least).log()
    return odds.clamp(math.log(least), -math.log(least))


def loss_threshold(losses: Tensor) -> Tensor:
    """Returns minus the loss of every record.

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


def lira_online(
    target: Tensor,
    shadows: Tensor,
    inside: Tensor,
    *,
    pooled: bool | None,
) -> Tensor:
    """Returns the log-likelihood ratio of each confidence: model with the record, or without it.

    Args:
        target: (n,) confidences of the attacked model.
        shadows: (k, n) confidences of shadow models, of size 1e100 or less.
        inside: (k, n) bool, whether the shadow trained with the record.
        pooled: one variance for all records, of models with them and of models without them;
            None: if k < 64.

    Returns:
        (n,) float64, log N(target; with) - log N(target; without).

    Raises:
        ValueError: a record with fewer than two shadows on a side (one, if pooled), or tensors
            not as above.

    Guarantees:
        - Finite: no variance is below 1e-6.

    Source: Carlini et al., Membership Inference Attacks From First Principles, IEEE S&P 2022,
        algorithm 1 and section VI ("global variance" with fewer than 64 shadows). Conventions:
        means and sample variances, where the source's program takes medians and divides by the
        count. The pooled variance is about each record's own mean, by degrees of freedom. A side
        with one shadow for every record takes the other side's variance, or 1e-6 if that side
        has no more either.
    """
    pooled = _check_lira("lira_online", target, shadows, inside, pooled)
    check_shadows("lira_online", inside, least=1 if pooled else 2, trained="with")
    exact = shadows.double()
    members = spread(exact, inside)
    nonmembers = spread(exact, ~inside)
    member_variance = _variance(members, pooled)
    nonmember_variance = _variance(nonmembers, pooled)
    if member_variance is None:
        member_variance = nonmember_variance
    if nonmember_variance is None:
        nonmember_variance = member_variance
    confidences = target.double()
    log_with = _log_density(confidences, members.mean, member_variance)
    log_without = _log_density(confidences, nonmembers.mean, nonmember_variance)
    return log_with - log_without


def lira_offline(
    target: Tensor,
    shadows: Tensor,
    inside: Tensor,
    *,
    pooled: bool | None,
) -> Tensor:
    """Returns minus the log of each confidence's p-value under shadows without the record.

    Args:
        target: (n,) confidences of the attacked model.
        shadows: (k, n) confidences of shadow models, of size 1e100 or less.
        inside: (k, n) bool, whether the shadow trained with the record; such shadows are ignored.
        pooled: one variance for all records; None: if k < 64.

    Returns:
        (n,) float64, >= 0: -log(1 - Phi(z)), z the deviations of the target above the mean.

    Raises:
        ValueError: a record with fewer than two shadows without it (one, if pooled), or tensors
            not as above.

    Guarantees:
        - Finite: no variance is below 1e-6.
        - Rises with z without bound, whereas log Phi(z) is 0 for all z above 38. Only records
          below z = -38 tie, at 0.

    Source: Carlini et al., Membership Inference Attacks From First Principles, IEEE S&P 2022,
        section IV (offline). Conventions: as lira_online, and the log of the p-value in place of
        the p-value.
    """
    pooled = _check_lira("lira_offline", target, shadows, inside, pooled)
    nonmembers = spread(shadows.double(), ~inside)
    deviation = _at_least_minimum(_variance(nonmembers, pooled)).sqrt()
    z = (target.double() - nonmembers.mean) / deviation
    from scipy.special import log_ndtr  # SciPy takes long to import

    log_p = log_ndtr(-z.numpy(force=True))
    return torch.as_tensor(-log_p).to(z)


def label_only(
    features: Tensor,
    labels: Tensor,
    *,
    predict: Callable[[Tensor], Tensor],
    noise: Sequence[float],
    copies: int,
    generator: torch.Generator,
) -> Tensor:
    """Returns how many noisy copies of a record still get its label, as a share.

    A model tends to be more robust around its training records. The attacker sees predicted
    classes only. The record itself counts as one of its copies.

    Args:
        features: (n, ...) floats.
        labels: (n,) whole numbers.
        predict: classes (n,), whole numbers, from features (n, ...).
        noise: standard deviations of the Gaussian noise, each > 0; if empty, only the record
            itself is tried.
        copies: noisy copies of a record for each deviation, >= 1.
        generator: draws the noise.

    Returns:
        (n,) float64 in [0, 1], multiples of 1 / (1 + len(noise) * copies).

    Raises:
        ValueError: arguments not as above, or `predict` returns anything else.

    Guarantees:
        - One copy of the records is held at a time.

    Source: Choquette-Choo et al., Label-Only Membership Inference Attacks, ICML 2021, section 3.
        Convention: the share over fixed deviations, where the source tunes one on shadow models
        and fits a model to the copies' labels.
    """
    check_finite("features", features, (-1, *features.shape[1:]))
    usable = all(math.isfinite(deviation) and deviation > 0 for deviation in noise)
    if copies < 1 or not usable:
        raise ValueError(
            "label_only needs copies >= 1 and noise finite and > 0, "
            f"got copies={copies}, noise={noise}"
        )
    n = len(features)
    truth = whole_numbers("labels", labels, n)

    def correct(records: Tensor) -> Tensor:
        return whole_numbers("predict's classes", predict(records), n) == truth

    hits = correct(features).double()
    for deviation in noise:
        for _ in range(copies):
            # Drawn where the generator lives, so that results do not depend on the device.
            normals = torch.randn(
                features.shape, generator=generator, device=generator.device, dtype=features.dtype
            )
            hits += correct(features + deviation * normals.to(features.device))
    return hits / (1 + len(noise) * copies)


def _check_lira(
    attack: str,
    target: Tensor,
    shadows: Tensor,
    inside: Tensor,
    pooled: bool | None,
) -> bool:
    """Returns whether variances are pooled.

    Raises:
        ValueError: the tensors do not fit, or a record lacks shadows that trained without it.
    """
    check_finite("target", target, (-1,))
    check_finite("shadows", shadows, (-1, len(target)))
    check_inside(inside, tuple(shadows.shape))
    largest_target = float(target.abs().max())
    largest_shadow = float(shadows.abs().max())
    largest = max(largest_target, largest_shadow)
    if largest > LARGEST_CONFIDENCE:
        raise ValueError(
            f"{attack} needs confidences of size <= {LARGEST_CONFIDENCE:g}, got {largest:g}"
        )
    if pooled is None:
        pooled = len(shadows) < MIN_SHADOWS_PER_RECORD_VARIANCE
    check_shadows(attack, ~inside, least=1 if pooled else 2, trained="without")
    return pooled


def _variance(side: Spread, pooled: bool) -> Tensor | None:
    """Returns variances (n,), or (1,) if pooled; None if no record has two shadows."""
    if not pooled:
        return side.squares / (side.counts - 1)
    degrees_of_freedom = int((side.counts - 1).sum())
    if degrees_of_freedom == 0:
        return None
    return side.squares.sum(dim=0, keepdim=True) / degrees_of_freedom


def _at_least_minimum(variance: Tensor | None) -> Tensor:
    """Returns the variance raised to the least one; the least one itself for None."""
    if variance is None:
        return torch.tensor([LEAST_VARIANCE]).double()
    return variance.clamp_min(LEAST_VARIANCE)


def _log_density(values: Tensor, mean: Tensor, variance: Tensor | None) -> Tensor:
    """Returns the log density (n,) of a Gaussian, without its constant, which cancels."""
    positive = _at_least_minimum(variance).to(values)
    return -(positive.log() + (values - mean).square() / positive) / 2


def _class_numbers(labels: Tensor, n: int, classes: int) -> Tensor:
    """Returns the labels as int64; raises ValueError unless they are n classes."""
    numbers = whole_numbers("labels", labels, n)
    least = int(numbers.min())
    largest = int(numbers.max())
    if least < 0 or largest >= classes:
        raise ValueError(f"labels must lie in 0 to {classes - 1}, got {least} to {largest}")
    return numbers
