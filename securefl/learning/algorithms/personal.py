"""FedBN and FedRep: a part of each model stays at its site, and never travels.

    server   sends the shared part of x
    client   trains it together with its own part; sends the change of the shared part
    server   steps by the mean change of the shared part

The server's own part keeps its initial values, so that the global model is none to judge: each site
is judged with its own part.

Under DP-SGD all parameters are clipped and noised together in each step, the personal ones as well.
So both parts are post-processing of the same noisy steps, and the claim covers both. A personal
part that was fitted without noise would break it: a record changes that part, which then changes
the gradients of all other records, and no clip bounds the sum of these changes.

Source: Li et al., ICLR 2021 (FedBN); Collins et al., ICML 2021 (FedRep).
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from securefl.learning.algorithms.averaging import FedAvg
from securefl.learning.algorithms.kept import Kept
from securefl.learning.algorithms.protocol import LAST, Place, Terms
from securefl.learning.protocol import ServerStep, StepResult, Trained, Trainer
from securefl.privacy.events import PrivacyEvent


class Personal(FedAvg):
    """Both halves, for any choice of the personal part.

    Args:
        terms: public constants, with the personal coordinates.

    Raises:
        ValueError: there is no personal part.
    """

    def __init__(self, terms: Terms) -> None:
        super().__init__(terms)
        if terms.personal is None:
            raise ValueError("the model has no personal part")
        self._personal = terms.personal
        self.sent_size = self.update_size = int((~terms.personal).sum())

    def sent(self, weights: Tensor, state: Mapping[str, Tensor]) -> Tensor:
        """Returns the shared weights."""
        return weights[~self._personal]

    def move(
        self,
        step: ServerStep,
        weights: Tensor,
        estimate: Tensor,
        state: Mapping[str, Tensor],
        *,
        round: int,
        share: float,
    ) -> StepResult:
        """Takes the server's step with the shared weights; the others have no estimate."""
        whole = torch.zeros_like(weights)
        whole[~self._personal] = estimate
        return step(weights, whole, state)

    def at_client(self, trainer: Trainer, place: Place) -> Trainer:
        """Returns the client's half."""
        return PersonalTrainer(trainer, place, self._personal)


class PersonalTrainer:
    """Trains the shared part of a model together with a client's own part.

    Args:
        trainer: of the whole model.
        place: of the client, with the initial weights.
        personal: (d,), whether a coordinate stays here.
    """

    def __init__(self, trainer: Trainer, place: Place, personal: Tensor) -> None:
        self._trainer = trainer
        self._personal = personal
        self._kept = Kept(place.start[personal], place.file)

    @property
    def cost(self) -> PrivacyEvent | None:
        """The event that one call of `fit` costs."""
        return self._trainer.cost

    def fit(self, weights: Tensor, *, round: int) -> Trained:
        """Returns the change of the shared weights, and its cost."""
        own = self._kept.before(round)
        delta, spent = self._trainer.fit(self._whole(weights, own), round=round)
        self._kept.propose(round, own + delta[self._personal])
        return Trained(delta[~self._personal], spent)

    def settle(self, round: int) -> None:
        """Keeps the personal part of a round whose update is part of the model."""
        self._kept.settle(round)

    def forget(self, round: int) -> None:
        """Goes back to the personal part before a round that a crash has undone at the server."""
        self._kept.forget(round)

    def own_model(self, weights: Tensor) -> Tensor:
        """Returns the weights (d,) of this client's model, of those of the global one."""
        return self._whole(weights[~self._personal], self._kept.before(LAST))

    def _whole(self, shared: Tensor, own: Tensor) -> Tensor:
        whole = torch.empty(len(self._personal))
        whole[~self._personal] = shared
        whole[self._personal] = own
        return whole
