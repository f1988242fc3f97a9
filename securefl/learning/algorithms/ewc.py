"""Elastic weight consolidation: later training holds on to what mattered for an earlier version.

    before    F_i = mean over the client's earlier records of (gradient of the loss at w*)^2
    client    w <- w - lr (g(w) + strength x F_i x (w - w*))

w* is the earlier version's model, from which training starts. No earlier record is in any batch.
F_i stays at its client, yet every update follows from it: under a DP claim it is noisy and paid for
before it is used. The penalty comes after clipping and noise, and costs nothing more.

Source: Kirkpatrick et al., PNAS 2017, equation 3. Conventions: F is the diagonal of the empirical
Fisher information, by the records' own labels. Where the earlier version was itself trained so, its
F is added (Schwarz et al., ICML 2018, section 4, gamma = 1).
"""

import torch
from torch import Tensor, nn

from securefl.data.task import Examples, Task
from securefl.learning.algorithms.averaging import FedAvg
from securefl.learning.algorithms.protocol import Place, Terms
from securefl.learning.protocol import Trainer
from securefl.privacy.noise.gaussian import hardened_normal
from securefl.rng import Keystream


class Ewc(FedAvg):
    """Both halves of EWC: the client's steps read its weights, and FedAvg does the rest.

    Args:
        terms: public constants.
    """

    def __init__(self, terms: Terms) -> None:
        super().__init__(terms)
        self._parameters = terms.parameters

    def at_client(self, trainer: Trainer, place: Place) -> Trainer:
        """Puts the client's Fisher information and the earlier model where its steps read them.

        Raises:
            ValueError: one of them is missing.
        """
        corrections, fisher = place.corrections, place.fisher
        if corrections is None or corrections.anchor is None or fisher is None:
            raise ValueError("ewc needs the Fisher information of an earlier version")
        corrections.rows[place.client].copy_(fisher)
        corrections.anchor.copy_(place.start[: self._parameters])
        return trainer


def fisher_sum(
    model: nn.Module, task: Task, examples: Examples, *, clip: float | None = None
) -> Tensor:
    """Returns (parameters,), the sum over records of the squared gradient of each record's loss.

    Args:
        model: with the weights to measure at; measured in evaluation mode.
        task: gives the loss.
        examples: the records, one after another.
        clip: bound on a record's gradient norm; None for no bound.

    Guarantees:
        - With a clip, adding or removing one record moves the sum by clip^2 at most in L2 norm:
          |g x g| <= |g|^2 <= clip^2. A gradient that is not finite counts as zero.
    """
    model.eval()
    trained = [p for p in model.parameters() if p.requires_grad]
    total = torch.zeros(sum(p.numel() for p in trained), dtype=torch.float64)
    for index in range(len(examples)):
        record = slice(index, index + 1)
        outputs = model(task.inputs(examples.features[record]))
        loss = task.loss(outputs, examples.labels[record])
        gradients = torch.autograd.grad(loss, trained, allow_unused=True, materialize_grads=True)
        gradient = torch.cat([part.flatten() for part in gradients]).double()
        if not bool(torch.isfinite(gradient).all()):
            continue
        if clip is not None:
            gradient = gradient * min(1.0, clip / max(float(gradient.norm()), 1e-300))
        total += gradient.square()
    return total


def noisy_fisher(
    total: Tensor, *, records: int, clip: float, noise_multiplier: float, stream: Keystream
) -> Tensor:
    """Returns (parameters,) float32, the noisy mean of squared gradients, not below zero.

    Args:
        total: of `fisher_sum` with the same clip.
        records: their declared number.
        clip: bound on a record's gradient norm.
        noise_multiplier: standard deviation of the noise over clip^2, the sum's sensitivity.
        stream: gives the noise.
    """
    noise = torch.from_numpy(hardened_normal(len(total), stream))
    noisy = total + noise_multiplier * clip**2 * noise
    # The sum is rounded only once the noise is in it. A negative weight would push away.
    return (noisy / records).clamp_min(0.0).float()
