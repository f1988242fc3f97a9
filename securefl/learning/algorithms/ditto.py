"""Ditto: each site has a model of its own, which is pulled towards the global one.

    client   trains the global model x as under FedAvg; sends its change
             v <- v - lr (g(v) + lam (v - x)), for as many epochs; v stays here

The global model, what travels and what it costs are those of FedAvg, to the last bit. The personal
model is fitted without noise, and no claim covers it: it, its predictions and its figures must not
leave the site. What a simulation shows of it is outside the guarantee.

Source: Li et al., ICML 2021, algorithm 1. Convention: v starts at the initial global model, and
takes its steps with the same learning rate.
"""

import torch
from torch import Tensor

from securefl.learning.algorithms.averaging import FedAvg
from securefl.learning.algorithms.corrections import CorrectedTrainer, Corrections
from securefl.learning.algorithms.kept import Kept
from securefl.learning.algorithms.protocol import LAST, Place, Terms
from securefl.learning.protocol import EarlyTrainer, Trained, Trainer
from securefl.privacy.events import PrivacyEvent


class Ditto(FedAvg):
    """Both halves of Ditto.

    Args:
        terms: public constants.
        lam: strength of the pull, >= 0.
    """

    def __init__(self, terms: Terms, *, lam: float) -> None:
        super().__init__(terms)
        self._parameters = terms.parameters
        self._lam = lam

    def at_client(self, trainer: Trainer, place: Place) -> Trainer:
        """Returns the client's half."""
        return DittoTrainer(trainer, place, parameters=self._parameters, lam=self._lam)


class DittoTrainer:
    """Trains the global model, and next to it the client's own.

    Args:
        trainer: of the global model.
        place: of the client, with the trainer of its own model.
        parameters: coordinates that are parameters.
        lam: strength of the pull, >= 0.

    Raises:
        ValueError: the place has no trainer for the client's own model.
    """

    def __init__(self, trainer: Trainer, place: Place, *, parameters: int, lam: float) -> None:
        if place.personal is None:
            raise ValueError("ditto trains a second model, and needs its trainer")
        self._trainer = trainer
        self._early = trainer if isinstance(trainer, EarlyTrainer) else None
        self._personal = place.personal
        self._kept = Kept(place.start, place.file)
        self._parameters = parameters
        self._lam = lam
        self._silent = place.silent

    @property
    def cost(self) -> PrivacyEvent | None:
        """The event that one call of `fit` costs: that of the global model."""
        return self._trainer.cost

    def begin(self, weights: Tensor, *, round: int) -> None:
        """Starts what the next call of `fit` returns, where the trainer can."""
        if self._early is not None:
            self._early.begin(weights, round=round)

    def fit(self, weights: Tensor, *, round: int) -> Trained:
        """Returns the change of the global model (d,) and its cost; moves the own model, too."""
        trained = self._trainer.fit(weights, round=round)
        own = self._kept.before(round)
        # The steps add lam (w - v), with v where they start; lam (w - x) is that plus a constant.
        pull = self._lam * (own - weights)[: self._parameters]
        self._kept.propose(round, own + self._change(own, pull, round))
        return trained

    def _change(self, own: Tensor, pull: Tensor, round: int) -> Tensor:
        """Returns the change of the own model; none where its training fails and may not show."""
        try:
            return self._personal.fit(own, pull, round=round).delta
        except Exception:
            # Whether a model without noise can be trained depends on records.
            if not self._silent:
                raise
            return torch.zeros_like(own)

    def settle(self, round: int) -> None:
        """Keeps the own model of a round whose update is part of the global one."""
        self._kept.settle(round)

    def forget(self, round: int) -> None:
        """Goes back to the own model before a round that a crash has undone at the server."""
        self._kept.forget(round)

    def own_model(self, weights: Tensor) -> Tensor:
        """Returns the weights (d,) of this client's model."""
        return self._kept.before(LAST)


class PulledTrainer:
    """Trains a client's own model, under a pull that the caller gives.

    Args:
        trainer: its steps read the correction.
        client: its id.
        corrections: where the pull goes.
    """

    def __init__(self, trainer: Trainer, client: int, corrections: Corrections) -> None:
        self._trainer = CorrectedTrainer(trainer, client, corrections)
        self._row = corrections.rows[client]

    def fit(self, weights: Tensor, pull: Tensor, *, round: int) -> Trained:
        """Returns the change of weights (d,), with pull (parameters,) added to each gradient."""
        self._row.copy_(pull)
        return self._trainer.fit(weights, round=round)
