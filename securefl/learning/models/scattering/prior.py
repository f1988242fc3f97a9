"""A declared class prior: an offset that training has, and answers do not."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from securefl.data.task import Task

_ROUNDING = 1e-3  # that shares written with three digits may leave


class Prior(nn.Module):
    """Adds the logarithms of the declared shares of classes to logits, while a model trains.

    So the layers before it learn what speaks for a class beyond its being frequent. In evaluation
    mode nothing is added: every class is as likely as the others until a record speaks.

    Args:
        offsets: one an output.

    Source: logit adjustment, Menon et al., ICLR 2021, section 5.2.
    """

    def __init__(self, offsets: Sequence[float]) -> None:
        super().__init__()
        # No buffer: those are running statistics, which travel with the model.
        self.offsets = tuple(offsets)

    def forward(self, logits: Tensor) -> Tensor:
        """Returns logits (n, outputs), with the offsets in training mode."""
        return logits + torch.tensor(self.offsets).to(logits) if self.training else logits

    def extra_repr(self) -> str:
        """Returns the offsets in words, for whoever prints the model."""
        return ", ".join(f"{offset:.3g}" for offset in self.offsets)


def prior_of(task: Task, shares: Sequence[float]) -> Prior:
    """Returns the offsets of a task's outputs.

    Args:
        task: gives the classes.
        shares: of the classes, in their order; declared, and never counted from records.

    Raises:
        ValueError: the task has no classes that exclude each other, or these are no shares of them.
    """
    if task.regression or task.multilabel or task.groups:
        raise ValueError("a prior needs classes that exclude each other, without coarse labels")
    if len(shares) != task.classes:
        raise ValueError(f"prior has one share a class: {task.classes}, got {len(shares)}")
    if not all(0 < share < 1 for share in shares) or abs(math.fsum(shares) - 1) > _ROUNDING:
        raise ValueError(f"prior needs shares above 0 that add up to 1, got {list(shares)}")
    logarithms = [math.log(share) for share in shares]
    return Prior([logarithms[1] - logarithms[0]] if task.outputs == 1 else logarithms)
