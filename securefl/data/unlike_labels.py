"""Losses for labels that are coarse, or that not every site looked for.

A site may write "infarct" where others tell two kinds of it apart: its label is coarse. A site that
never looked for a label knows neither that a record has it nor that it has not.
"""

from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from securefl.data.task import Task

UNOBSERVED = -1


def check_groups(task: "Task") -> None:
    """Raises ValueError unless every group of a task is a part of three classes or more."""
    if task.classes < 3 or task.multilabel:
        raise ValueError("coarse labels need one class a record, of three classes or more")
    for group in task.groups:
        is_part = bool(group) and set(group) < set(range(task.classes))
        if not is_part or list(group) != sorted(set(group)):
            raise ValueError(
                f"a group names some of the classes 0 to {task.classes - 1}, in order and each"
                f" once, got {list(group)}"
            )
    if len(set(task.groups)) < len(task.groups):
        raise ValueError("two groups have the same classes")


def coarse_loss(logits: Tensor, labels: Tensor, groups: tuple[tuple[int, ...], ...]) -> Tensor:
    """Returns the mean over records of -log of the probability of their label.

    The probability of a coarse label is the sum of those of its classes. A group of a single class
    has the cross-entropy of that class. The loss of a record depends on no other.

    Args:
        logits: (n, classes).
        labels: (n,), a class, or classes + g for a label that stands for group g.
        groups: the classes of each.
    """
    members = _members(groups, logits.shape[1], logits.device)[labels]  # (n, classes)
    inside = logits.masked_fill(~members, -torch.inf)
    losses = logits.logsumexp(dim=1) - inside.logsumexp(dim=1)  # (n,)
    return losses.mean()


def partial_loss(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Returns the mean over records of the mean over their observed labels of the cross-entropy.

    Which labels a site looked for is declared, so that the divisor of a record is public. A record
    without any counts as 0.

    Args:
        logits: (n, classes).
        labels: (n, classes) of 0, 1, and -1 for a label that nobody looked for.
        weights: (classes,), of the part of the loss that rewards naming the class; None for 1.
    """
    observed = labels != UNOBSERVED
    truth = labels.clamp(min=0).to(logits.dtype)
    losses = functional.binary_cross_entropy_with_logits(
        logits, truth, reduction="none", pos_weight=weights
    )
    # Chosen, not multiplied: 0 times an infinite loss would be NaN.
    sums = torch.where(observed, losses, 0).sum(dim=1)  # (n,)
    return (sums / observed.sum(dim=1).clamp(min=1)).mean()


@lru_cache(maxsize=16)
def _members(groups: tuple[tuple[int, ...], ...], classes: int, device: torch.device) -> Tensor:
    """Returns (classes + groups, classes) bool, the classes of each label; nobody changes it."""
    table = torch.zeros(classes + len(groups), classes, dtype=torch.bool)
    table[:classes] = torch.eye(classes, dtype=torch.bool)
    for number, group in enumerate(groups):
        table[classes + number, list(group)] = True
    return table.to(device)
