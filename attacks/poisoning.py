"""Poisoned records: what corrupt clients train on, honestly from there on."""

from torch import Tensor


def label_flip(features: Tensor, labels: Tensor, *, classes: int) -> tuple[Tensor, Tensor]:
    """Every label turned round: class c becomes classes - 1 - c.

    Args:
        features: (n, ...), returned as they are.
        labels: (n,) of 0 to classes - 1, or (n, classes) of 0 and 1, each of which is turned.
        classes: how many there are, >= 2.

    Returns:
        The features, and new labels.

    Raises:
        ValueError: classes < 2.

    Source: Fang et al., USENIX Security 2020, section 5.1.
    """
    _check(classes)
    return features, 1 - labels if labels.ndim == 2 else classes - 1 - labels


def targeted_label_flip(
    features: Tensor, labels: Tensor, *, classes: int, source: int, target: int
) -> tuple[Tensor, Tensor]:
    """Every record of one class labelled as another.

    Args:
        features: (n, ...), returned as they are.
        labels: (n,) of 0 to classes - 1.
        classes: how many there are, >= 2.
        source: the class whose labels are changed.
        target: what they become, another class.

    Returns:
        The features, and new labels.

    Raises:
        ValueError: classes < 2, source or target is no class, they are the same, or a record bears several labels.

    Source: Tolpegin et al., Data Poisoning Attacks Against Federated Learning Systems, ESORICS 2020.
    """
    _check(classes)
    for name, value in (("source", source), ("target", target)):
        if not 0 <= value < classes:
            raise ValueError(f"targeted_label_flip needs {name} in 0 to {classes - 1}, got {name}={value}")
    if source == target:
        raise ValueError(f"targeted_label_flip needs a target other than its source, got {target} for both")
    if labels.ndim != 1:
        raise ValueError("targeted_label_flip needs records of one label each")
    return features, labels.masked_fill(labels == source, target)


def _check(classes: int) -> None:
    if classes < 2:
        raise ValueError(f"labels are flipped among classes >= 2, got {classes}")
