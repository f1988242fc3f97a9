"""What updates show of the records behind them: who looks, at which update, and what was found beside guessing."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

import attacks
from securefl.audit.inquiry import Inquiry, OnRound
from securefl.audit.knowledge import Knowledge
from securefl.audit.replay import replay
from securefl.data.task import Examples, FederatedData, Task, concatenate
from securefl.learning.plan import LocalTraining
from securefl.privacy.remember import Remember, fresh
from securefl.scenario.assemble.data import load_data
from securefl.scenario.making.adversary import poisoned

ROUNDS = 5  # that are looked at
_KNOWN = 1000  # records of the attacker's own


@dataclass(frozen=True)
class Look:
    """The first rounds, seen by an adversary, with records of its own that nobody trained on.

    data: what clients trained on, corrupt ones too. model: a workspace. local: all that trainers were made
    from. knowledge: client -> what the adversary learned of it, of those that are not on its side.
    """

    inquiry: Inquiry
    data: FederatedData
    model: nn.Module
    known: Examples
    local: LocalTraining
    knowledge: Mapping[int, Knowledge]

    @property
    def task(self) -> Task:
        """What is predicted."""
        return self.data.task

    @property
    def update(self) -> "Update | None":
        """The first that is seen of the target with the global model it started from; None where nothing is."""
        for sight in self.knowledge[self.inquiry.target].moves:
            if sight.model is not None and sight.moved is not None:
                return Update(sight.round, sight.model, sight.moved, sight.alone, sight.counts)
        return None

    def behind(self, clients: Iterable[int]) -> Examples:
        """The records that these clients trained on."""
        return concatenate([self.data.sites[client].train for client in clients])

    def steps(self, client: int) -> int:
        """How many local steps a client takes in a round."""
        training, plan = self.inquiry.scenario.training, self.local.plans.get(client)
        records = len(self.data.sites[client].train)
        local = attacks.LocalSteps(training.lr, training.batch, training.epochs)
        return local.count(records) if plan is None else plan.steps


class Update(NamedTuple):
    """The target's update, or a sum or step that it is part of, as a Sight has it."""

    round: int
    model: Tensor
    moved: Tensor
    alone: bool
    counts: Mapping[int, float] | None


def look_at(inquiry: Inquiry, *, on_round: OnRound, remember: Remember = fresh) -> Look:
    """Play the first rounds of the scenario itself, every client that is not on the adversary's side watched."""
    scenario = inquiry.scenario
    clients = [client for client in range(scenario.clients) if client not in inquiry.coalition]
    clients.sort(key=lambda client: client != inquiry.target)
    data = load_data(scenario)
    played = replay(
        scenario,
        [inquiry.watcher(data, client) for client in clients],
        on_round=lambda record: on_round("updates", record),
        remember=remember,
        rounds=min(ROUNDS, scenario.rounds),
    )
    order = torch.from_numpy(inquiry.stream("known").permutation(len(data.test)))[:_KNOWN]
    return Look(
        inquiry,
        poisoned(scenario, data),
        played.assembled.model,
        Examples(data.test.features[order], data.test.labels[order]),
        played.local,
        dict(zip(clients, played.knowledge, strict=True)),
    )
