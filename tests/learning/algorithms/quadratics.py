"""Clients that minimise (w - target)^2 / 2 by a number of steps, and rounds of them by hand."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from securefl.learning.algorithms.corrections import CorrectedTrainer, Corrections
from securefl.learning.algorithms.protocol import Algorithm, Place, SettledTrainer, Terms
from securefl.learning.descent import Steps
from securefl.learning.options import sgd
from securefl.learning.protocol import Trained, Trainer
from securefl.learning.steps import fedavg

LR = 0.5


@dataclass(frozen=True)
class Quadratic:
    """Takes steps towards a target (d,); algorithms change its optimizer."""

    target: Tensor
    steps: int
    changed: Callable[[Steps], Steps]
    cost: None = None

    def fit(self, weights: Tensor, *, round: int) -> Trained:
        w = nn.Parameter(weights.clone())
        optimizer = self.changed(sgd([w], LR))
        for _ in range(self.steps):
            optimizer.zero_grad()
            (0.5 * (w - self.target).square()).sum().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return Trained(w.detach() - weights, None)


def terms(
    steps: Sequence[int], *, d: int = 1, weights: Sequence[int] = (), public: bool = True
) -> Terms:
    return Terms(
        d=d,
        parameters=d,
        steps=dict(enumerate(steps)) if public else None,
        usual_steps=3,
        most_steps=10,
        weights=dict(enumerate(weights or [1] * len(steps))),
        lr=lambda round: LR,
    )


class Rounds:
    """Plays rounds of an algorithm without channel, engine or scenario."""

    def __init__(
        self,
        algorithm: Algorithm,
        terms: Terms,
        targets: Sequence[Tensor],
        steps: Sequence[int],
        changed: Callable[[Steps, Corrections], Steps],
        folder: Path | None = None,
    ) -> None:
        self.algorithm = algorithm
        self._terms = terms
        corrections = Corrections(tuple(range(len(targets))), terms.parameters)
        self.clients: dict[int, Trainer] = {}
        for client, (target, count) in enumerate(zip(targets, steps, strict=True)):
            trainer = Quadratic(target, count, lambda optimizer: changed(optimizer, corrections))
            corrected = CorrectedTrainer(trainer, client, corrections)
            file = None if folder is None else folder / str(client)
            place = Place(client, count, corrections, file, torch.zeros(terms.d))
            self.clients[client] = algorithm.at_client(corrected, place)
        self.weights = torch.zeros(terms.d)
        self.state: Mapping[str, Tensor] = {}
        self.round = 0

    def play(self, cohort: Sequence[int], *, lost: Sequence[int] = ()) -> None:
        """Plays a round in which the updates of some clients do not arrive."""
        sent = self.algorithm.sent(self.weights, self.state)
        updates = {client: self.clients[client].fit(sent, round=self.round) for client in cohort}
        survivors = [client for client in cohort if client not in lost]
        weights = self._terms.weights or {}
        rows = torch.stack([updates[client].delta for client in survivors])
        counts = torch.tensor([float(weights[client]) for client in survivors])
        estimate = (rows * counts[:, None]).sum(0) / counts.sum()
        self.weights, self.state = self.algorithm.move(
            fedavg,
            self.weights,
            estimate,
            self.state,
            round=self.round,
            share=len(survivors) / len(self.clients),
        )
        for client in survivors:
            trainer = self.clients[client]
            if isinstance(trainer, SettledTrainer):
                trainer.settle(self.round)
        self.round += 1
