"""Gradients of single records, computed in another way than training takes."""

import copy
from typing import Any

import torch
from opacus import GradSampleModule
from torch import Tensor, nn

from securefl import vector
from securefl.learning.modes import training_mode
from securefl.learning.options import Loss


class Reference:
    """Gradients of single records as Opacus' hooks compute them, one by one.

    Training takes another way to the clipped sum, which is held against these.

    Args:
        model: is copied.
        loss: logits, labels -> the mean loss.
    """

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        layout = torch.contiguous_format  # see Recorder
        copied = copy.deepcopy(model).to(memory_format=layout)  # type: ignore[call-overload]
        self._module = GradSampleModule(copied, loss_reduction="mean")
        self._loss = loss

    def rows(self, weights: Tensor, features: Tensor, labels: Tensor) -> Tensor:
        """Returns (k, d), the gradients at weights (d,); random layers draw nothing that lasts."""
        trained: list[Any] = [p for p in self._module.parameters() if p.requires_grad]
        if len(labels) == 0:
            return weights.new_zeros(0, sum(p.numel() for p in trained))
        vector.load_vector(self._module, weights)
        training_mode(self._module)
        with torch.random.fork_rng(devices=[]):
            inputs = features.detach().contiguous().requires_grad_()
            self._loss(self._module(inputs), labels).backward()  # type: ignore[no-untyped-call]
        rows = torch.cat([p.grad_sample.flatten(1) for p in trained], dim=1)
        for p in trained:
            p.grad, p.grad_sample = None, None
        # A record whose gradient is not finite counts as zero.
        return rows.masked_fill(~rows.isfinite().all(dim=1, keepdim=True), 0.0)
