"""Canaries in DP-SGD: records known by their gradients alone, for an audit to find again."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from securefl.data.task import Examples, Task
from securefl.learning.dp_sgd import DpSgd, DpSgdTrainer
from securefl.learning.plan import DpPlan
from securefl.learning.protocol import Trained
from securefl.rng import Keystream
from securefl.scenario.assemble.parts import Parts
from securefl.scenario.assemble.trainers import build_model

MOST = 10_000  # canaries of one run
FEWEST = 1000  # coordinates of a model, below which too few canaries keep out of each other's way
LOUDNESS = 10.0  # norm of a canary's gradient over the clip, so that clipping is put to the test


class Canaries:
    """Gradients that do not touch each other: one coordinate each, with a random sign; some are in, the others out.

    Args:
        d: coordinates of the model, >= `FEWEST`.
        norm: of each gradient, before clipping.
        stream: draws the coordinates, the signs and, by fair coins, who is in.
        most: how many there are at most.

    Raises:
        ValueError: the model has too few coordinates.
    """

    def __init__(self, d: int, *, norm: float, stream: Keystream, most: int = MOST) -> None:
        if d < FEWEST:
            raise ValueError(
                f"canaries that do not touch each other need a model of {FEWEST} coordinates or more, got {d}: use "
                "model.name = 'mlp' with hidden units enough"
            )
        count = min(most, d)
        self.coordinates = torch.from_numpy(stream.permutation(d)[:count].copy())
        self.signs = torch.from_numpy(stream.bernoulli(count, probability=0.5)).double() * 2 - 1
        self.inside = torch.from_numpy(stream.bernoulli(count, probability=0.5))
        self.norm = norm
        self.others: list[
            Tensor
        ] = []  # a call of training each: what the other records did to the update (d,)

    def __len__(self) -> int:
        return len(self.coordinates)

    def gradients(self, places: Tensor, d: int) -> Tensor:
        """(k, d), the gradients of those at places (k,) among the ones inside."""
        members = self.inside.nonzero()[:, 0][places]
        rows = torch.zeros(len(places), d)
        rows[torch.arange(len(places)), self.coordinates[members]] = (
            self.norm * self.signs[members]
        ).float()
        return rows

    def machine(self, model: nn.Module, task: Task, *, lr: float) -> DpSgd:
        """Returns the DP-SGD that these records enter."""
        return CanaryDpSgd(model, task, lr=lr, canaries=self)

    def scores(self, increment: Tensor) -> Tensor:
        """(m,), how far an increment of the weights (d,) went against each canary's gradient, float64."""
        return -self.signs * increment[self.coordinates].double()


class CanaryDpSgd(DpSgd):
    """DP-SGD that draws, clips and sums the canaries that are inside as it does records.

    Args:
        model: as `DpSgd` takes it.
        task: gives the loss of real records.
        lr: learning rate, > 0.
        canaries: come after the records.
    """

    def __init__(self, model: nn.Module, task: Task, *, lr: float, canaries: Canaries) -> None:
        super().__init__(model, task, lr=lr)
        self._canaries, self._lr = canaries, lr
        self._clip, self._real = 1.0, torch.zeros(0)

    def run(
        self,
        weights: Tensor,
        examples: Examples,
        plan: DpPlan,
        *,
        sampling: Keystream,
        noise: Keystream,
    ) -> Trained:
        """As `DpSgd.run`; what the real records did to the update is noted at the canaries."""
        self._clip, self._real = plan.clip, torch.zeros(weights.shape, dtype=torch.float64)
        trained = super().run(weights, examples, plan, sampling=sampling, noise=noise)
        self._canaries.others.append(-self._lr / plan.normaliser * self._real)
        return trained

    def records(self, examples: Examples) -> int:
        """The real ones and the canaries inside."""
        return len(examples) + int(self._canaries.inside.sum())

    def per_example_gradients(self, examples: Examples, chosen: Tensor) -> None:
        """Those of the real records chosen, then those of the canaries."""
        super().per_example_gradients(examples, chosen[chosen < len(examples)])
        parameters: list[Any] = list(self.module.parameters())
        sizes = [p.numel() for p in parameters]
        real = torch.cat(
            [p.grad_sample.flatten(1) for p in parameters], dim=1
        ).double()  # (batch, d)
        self._real += (
            (real * (self._clip / real.norm(dim=1, keepdim=True)).clamp(max=1.0))
            .nan_to_num()
            .sum(dim=0)
        )
        rows = self._canaries.gradients(chosen[chosen >= len(examples)] - len(examples), sum(sizes))
        for p, part in zip(parameters, torch.split(rows, sizes, dim=1), strict=True):
            p.grad_sample = torch.cat([p.grad_sample, part.view(-1, *p.shape)])


def with_canaries(parts: Parts, canaries: Mapping[int, Canaries]) -> Parts:
    """Returns the same parts, with canaries among the records of some clients.

    Args:
        parts: of a scenario that trains with DP-SGD.
        canaries: client -> the canaries that enter its training.

    Raises:
        TypeError: a client trains in another way, which no canary can enter.
    """
    scenario, task = parts.scenario, parts.data.task
    trainers = dict(parts.trainers)
    for client, records in canaries.items():
        trainer = trainers[client]
        if not isinstance(trainer, DpSgdTrainer):
            raise TypeError(f"canaries enter DP-SGD only, client {client} trains in another way")
        model = build_model(scenario, task)
        trainers[client] = trainer.on(records.machine(model, task, lr=scenario.training.lr))
    return replace(parts, trainers=trainers)
