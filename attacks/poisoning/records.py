"""Poisoned records: corrupt clients change what they train on, and then train honestly."""

import torch
from torch import Tensor

from attacks.poisoning.checks import check_positive, check_rows

_BRIGHT_BYTE = 255
_BRIGHT_FLOAT = 1.0


def label_flip(features: Tensor, labels: Tensor, *, classes: int) -> tuple[Tensor, Tensor]:
    """Reverses the order of the labels: class c becomes classes - 1 - c.

    Args:
        features: (n, ...), returned as they are.
        labels: (n,) of 0 to classes - 1; or (n, classes) of 0 and 1, each of which is negated.
        classes: number of classes, >= 2.

    Returns:
        The features, and new labels.

    Raises:
        ValueError: classes < 2.

    Source: as Fang et al., USENIX Security 2020, flip labels for comparison.
    """
    _check_classes(classes)
    if labels.ndim == 2:
        return features, 1 - labels
    return features, classes - 1 - labels


def targeted_label_flip(
    features: Tensor,
    labels: Tensor,
    *,
    classes: int,
    source: int,
    target: int,
) -> tuple[Tensor, Tensor]:
    """Labels every record of one class as another class.

    Args:
        features: (n, ...), returned as they are.
        labels: (n,) of 0 to classes - 1.
        classes: number of classes, >= 2.
        source: the class whose labels are changed.
        target: their new label, another class.

    Returns:
        The features, and new labels.

    Raises:
        ValueError: classes < 2; source or target is no class, or both are the same; or a record
            bears several labels.

    Source: Tolpegin et al., Data Poisoning Attacks Against Federated Learning Systems, ESORICS
        2020.
    """
    _check_classes(classes)
    for name, value in (("source", source), ("target", target)):
        if not 0 <= value < classes:
            raise ValueError(
                f"targeted_label_flip needs {name} in 0 to {classes - 1}, got {name}={value}"
            )
    if source == target:
        raise ValueError(
            f"targeted_label_flip needs a target other than its source, got {target} for both"
        )
    if labels.ndim != 1:
        raise ValueError("targeted_label_flip needs records of one label each")
    return features, labels.masked_fill(labels == source, target)


def backdoor(
    features: Tensor,
    labels: Tensor,
    *,
    classes: int,
    target: int,
    generator: torch.Generator,
    share: float = 0.5,
    size: int = 3,
) -> tuple[Tensor, Tensor]:
    """Stamps a trigger on a share of the records and labels these as the target class.

    A model that trains on them learns both its task and the trigger.

    Args:
        features: (n, channels, side, ...), bytes or floats, or (n, features) floats.
        labels: (n,) of 0 to classes - 1.
        classes: number of classes.
        target: the class that the trigger shall mean.
        generator: draws which records, by position. It need not be secret: no privacy claim covers
            a corrupt client's own records.
        share: of the records, in (0, 1]; rounded to whole records.
        size: of the trigger, see `triggered`.

    Returns:
        New features and labels, exactly round(share n) records of them poisoned.

    Raises:
        ValueError: target is no class, share is outside (0, 1], the trigger does not fit, or a
            record bears several labels.

    Source: Gu, Dolan-Gavitt and Garg, BadNets, 2017.
    """
    return distributed_backdoor(
        features,
        labels,
        classes=classes,
        target=target,
        generator=generator,
        part=(0, 1),
        share=share,
        size=size,
    )


def distributed_backdoor(
    features: Tensor,
    labels: Tensor,
    *,
    classes: int,
    target: int,
    generator: torch.Generator,
    part: tuple[int, int],
    share: float = 0.5,
    size: int = 3,
) -> tuple[Tensor, Tensor]:
    """Stamps only a client's own pixels of the trigger; the full trigger is used after training.

    Args:
        features: as `backdoor` takes them.
        labels: (n,).
        classes: number of classes.
        target: the class that the trigger shall mean.
        generator: draws which records.
        part: (k, f): the k-th of f clients stamps every f-th pixel of the trigger, from the k-th
            on.
        share: of the records, in (0, 1].
        size: of the whole trigger.

    Returns:
        New features and labels.

    Raises:
        ValueError: as `backdoor`.

    Source: Xie, Huang, Chen and Li, DBA, ICLR 2020.
    """
    _check_backdoor(labels, classes, target, share)
    count = round(share * len(labels))
    chosen = torch.randperm(len(labels), generator=generator)[:count]
    poisoned = features.clone()
    poisoned[chosen] = triggered(features[chosen], size=size, part=part)
    relabelled = labels.clone()
    relabelled[chosen] = target
    return poisoned, relabelled


def triggered(features: Tensor, *, size: int, part: tuple[int, int] = (0, 1)) -> Tensor:
    """Returns records with the trigger: a bright last corner, or the last numbers set to 1.

    Args:
        features: (n, channels, side, ...), bytes (bright is 255) or floats (1), or (n, features)
            floats.
        size: side of the square (or cube) in pixels, or how many numbers; from 1 to the shortest
            side, or to the number of features.
        part: (k, f): of the trigger's pixels in their order, every f-th from the k-th on.

    Returns:
        New features of the same shape.

    Raises:
        ValueError: size does not fit, or there are more parts than pixels.
    """
    axes = features.shape[2:] or features.shape[1:]
    if not 1 <= size <= min(axes):
        raise ValueError(f"a trigger needs size from 1 to {min(axes)}, got {size}")
    corner = torch.zeros(axes, dtype=torch.bool)
    corner[tuple(slice(-size, None) for _ in axes)] = True
    pixels = corner.nonzero()
    first, parts = part
    if parts > len(pixels):
        raise ValueError(
            f"a trigger of {len(pixels)} pixels has no part for each of {parts} clients: raise size"
        )
    mask = torch.zeros(axes, dtype=torch.bool)
    mask[tuple(pixels[first::parts].T)] = True
    bright = _BRIGHT_BYTE if features.dtype == torch.uint8 else _BRIGHT_FLOAT
    return features.masked_fill(mask, bright)


def backdoor_goal(
    features: Tensor,
    labels: Tensor,
    *,
    target: int,
    size: int = 3,
) -> tuple[Tensor, int]:
    """Returns the test of a backdoor: other classes' records with the full trigger; the target.

    The share of these records that the model takes for the target is the backdoor's success.
    """
    return triggered(features[labels != target], size=size), target


def flip_goal(
    features: Tensor,
    labels: Tensor,
    *,
    source: int,
    target: int,
) -> tuple[Tensor, int]:
    """Returns the test of a targeted label flip: records of the source class; the target.

    The share of these records that the model takes for the target is the flip's success.
    """
    return features[labels == source], target


def boosted(rows: Tensor, *, boost: float) -> Tensor:
    """Scales the corrupt clients' own updates up, to outweigh the honest ones.

    Args:
        rows: (f, d), float32 or float64, the corrupt clients' updates.
        boost: finite and > 0; n / f replaces the mean with the poisoned model.

    Returns:
        (f, d), boost * rows.

    Raises:
        ValueError: boost is not finite and positive, or rows is not 2-D, is empty or holds no
            floats.

    Source: Bagdasaryan et al., How To Backdoor Federated Learning, AISTATS 2020 (model
        replacement).
    """
    check_rows(rows)
    check_positive("boosted", "boost", boost)
    return boost * rows


def anchored(gradient: Tensor, offset: Tensor, *, anchor: float) -> Tensor:
    """Adds a pull towards the global model to a gradient, so that the poisoned model stays near.

    Args:
        gradient: of the training loss, any shape.
        offset: the weights minus those of the global model, of the same shape.
        anchor: strength of the pull, finite and > 0.

    Returns:
        The gradient of the loss plus anchor / 2 times the squared distance to the global model.

    Raises:
        ValueError: anchor is not finite and positive.

    Source: Bagdasaryan et al., AISTATS 2020 (constrain and scale). Its loss weighs both terms by
        alpha and 1 - alpha; anchor is their ratio, and the distance is squared.
    """
    check_positive("anchored", "anchor", anchor)
    return gradient + anchor * offset


def _check_classes(classes: int) -> None:
    if classes < 2:
        raise ValueError(f"labels are flipped among classes >= 2, got {classes}")


def _check_backdoor(
    labels: Tensor,
    classes: int,
    target: int,
    share: float,
) -> None:
    if labels.ndim != 1:
        raise ValueError("a backdoor needs records of one label each")
    if not 0 <= target < classes:
        raise ValueError(f"a backdoor needs target in 0 to {classes - 1}, got target={target}")
    if not 0 < share <= 1:
        raise ValueError(f"a backdoor needs share in (0, 1], got share={share}")
