"""Gradients of single records, computed in another way than training takes."""

import copy
import warnings
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
        for layer in copied.modules():
            if hasattr(layer, "inplace"):  # Opacus' hooks refuse what is changed in place
                layer.inplace = False
        self._module = GradSampleModule(copied, loss_reduction="mean")
        self._loss = loss

    def rows(self, weights: Tensor, features: Tensor, labels: Tensor) -> Tensor:
        """Returns (k, d), the gradients at weights (d,); random layers draw nothing that lasts."""
        trained: list[Any] = [p for p in self._module.parameters() if p.requires_grad]
        if len(labels) == 0:
            return weights.new_zeros(0, sum(p.numel() for p in trained))
        vector.load_vector(self._module, weights)
        training_mode(self._module)
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            # A model that makes words of its inputs has none that need a gradient.
            warnings.filterwarnings("ignore", message="Full backward hook is firing")
            inputs = features.detach().contiguous().requires_grad_()
            self._loss(self._module(inputs), labels).backward()  # type: ignore[no-untyped-call]
        self._forget_padding()
        rows = torch.cat([p.grad_sample.flatten(1) for p in trained], dim=1)
        for p in trained:
            p.grad, p.grad_sample = None, None
        # A record whose gradient is not finite counts as zero.
        return rows.masked_fill(~rows.isfinite().all(dim=1, keepdim=True), 0.0)

    def _forget_padding(self) -> None:
        """Zeroes the gradients of embeddings' padding, which is not trained: Opacus has some."""
        for layer in self._module.modules():
            if isinstance(layer, nn.Embedding) and layer.padding_idx is not None:
                table: Any = layer.weight
                if table.requires_grad:
                    table.grad_sample[:, layer.padding_idx] = 0.0
