"""How a client trains on its records, played by the attacker: differentiable in the records."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

# Logits (n, outputs) and labels -> the mean loss over records.
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class LocalSteps:
    """How a client trains: epochs of SGD over its records, in their order, batch by batch.

    Args:
        lr: learning rate, > 0.
        batch: records per step, >= 1; None for all of them.
        epochs: >= 1.
    """

    lr: float
    batch: int | None = None
    epochs: int = 1

    def __post_init__(self) -> None:
        if not self.lr > 0:
            raise ValueError(f"lr must be > 0, got {self.lr}")
        if (self.batch is not None and self.batch < 1) or self.epochs < 1:
            raise ValueError(f"batch and epochs must be >= 1, got {self.batch} and {self.epochs}")

    def count(self, records: int) -> int:
        """Returns the number of steps on this many records."""
        batch = self.batch or records
        return self.epochs * -(-records // batch)  # the last batch of an epoch may be smaller


ONE_STEP = LocalSteps(lr=1.0)  # its update is minus the gradient


def local_update(
    model: nn.Module,
    loss: Loss,
    records: Tensor,
    labels: Tensor,
    *,
    local: LocalSteps,
) -> Tensor:
    """Returns the update that local steps on the records make, differentiable in the records.

    Args:
        model: the global model; it is not changed.
        loss: mean over a batch, of logits and labels.
        records: (n, ...), as the model reads them.
        labels: (n,).
        local: how the client trains.

    Returns:
        (d,), the change of the model's trainable parameters.
    """
    start = {
        name: parameter.detach().requires_grad_()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    weights = start
    batch = local.batch or len(records)
    record_batches = torch.split(records, batch)
    label_batches = torch.split(labels, batch)
    for _ in range(local.epochs):
        for batch_records, batch_labels in zip(record_batches, label_batches, strict=True):
            value = loss(functional_call(model, weights, (batch_records,)), batch_labels)
            gradients = torch.autograd.grad(value, list(weights.values()), create_graph=True)
            # New tensors, not steps in place: the search differentiates through all of them.
            weights = {
                name: weight - local.lr * gradient
                for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
            }
    changes = [weights[name] - start[name] for name in start]
    return torch.cat([change.reshape(-1) for change in changes])
