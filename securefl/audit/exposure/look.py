"""A look at the first rounds: the updates that an adversary sees, and what it knows already."""

from collections.abc import Iterable, Mapping, Sequence
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

MAX_ROUNDS = 5  # that are looked at
MAX_OWN_RECORDS = 1000  # of the attacker


class Update(NamedTuple):
    """The target's update, or a sum or step that contains it.

    Attributes:
        round: in which it was seen.
        model: (d,), the global model that the clients started from.
        moved: (d,), the update, sum or step.
        alone: whether it is the target's own update.
        counts: client -> how much its update counts in moved; None where these are unknown.
    """

    round: int
    model: Tensor
    moved: Tensor
    alone: bool
    counts: Mapping[int, float] | None


@dataclass(frozen=True)
class Look:
    """The first rounds as an adversary sees them.

    Attributes:
        inquiry: who looks at whom.
        data: the records that clients trained on, those of corrupt clients included.
        model: a workspace.
        own_records: of the attacker, which no client trained on.
        local: everything that the trainers were made from.
        knowledge: client -> what the adversary learned of it, for all clients not on its side.
    """

    inquiry: Inquiry
    data: FederatedData
    model: nn.Module
    own_records: Examples
    local: LocalTraining
    knowledge: Mapping[int, Knowledge]

    @property
    def task(self) -> Task:
        """The task of the federation."""
        return self.data.task

    @property
    def update(self) -> Update | None:
        """The first update that is seen along with the model it started from; None without one."""
        for sight in self.knowledge[self.inquiry.target].moves:
            if sight.model is not None and sight.moved is not None:
                return Update(sight.round, sight.model, sight.moved, sight.alone, sight.counts)
        return None

    def behind(self, clients: Iterable[int]) -> Examples:
        """Returns the records that these clients trained on."""
        return concatenate([self.data.sites[client].train for client in clients])

    @property
    def why_not_plain(self) -> str:
        """Why an attack that takes updates for sums of gradients is not tried; "" where it is."""
        if self.local.options.plain:
            return ""
        return "not tried: it is made for plain SGD on the task's own loss"

    def lr(self, round: int) -> float:
        """Returns the learning rate of a round."""
        return self.local.lr * self.local.options.schedule(round)

    def steps(self, client: int) -> int:
        """Returns the number of local steps that a client takes in a round."""
        training, plan = self.inquiry.scenario.training, self.local.plans.get(client)
        if plan is not None:
            return plan.steps
        local = attacks.LocalSteps(training.lr, training.batch, training.epochs)
        return local.count(len(self.data.sites[client].train))


def look_at(inquiry: Inquiry, *, on_round: OnRound, remember: Remember = fresh) -> Look:
    """Plays the first rounds for one adversary; see `looks_at`."""
    (look,) = looks_at([inquiry], on_round=on_round, remember=remember)
    return look


def looks_at(
    inquiries: Sequence[Inquiry], *, on_round: OnRound, remember: Remember = fresh
) -> list[Look]:
    """Plays the first rounds of the scenario itself, once for all adversaries.

    Each watches every client that is not on its side: sources are told apart among them.

    Args:
        inquiries: adversaries that see updates, of one scenario, target and seed.
        on_round: called with the record of each round.
        remember: caches expensive results.

    Returns:
        One look an adversary, in the same order.
    """
    inquiry = inquiries[0]
    scenario = inquiry.scenario
    data = load_data(scenario)
    watched = [_watched(inquiry) for inquiry in inquiries]
    played = replay(
        scenario,
        [
            inquiry.watcher(data, client)
            for inquiry, clients in zip(inquiries, watched, strict=True)
            for client in clients
        ],
        on_round=lambda record: on_round("updates", record),
        remember=remember,
        rounds=min(MAX_ROUNDS, scenario.rounds),
    )
    # Test records stand for the attacker's own: like the clients', and never trained on.
    order = inquiry.stream("known").permutation(len(data.test))
    chosen = torch.from_numpy(order)[:MAX_OWN_RECORDS]
    own_records = Examples(data.test.features[chosen], data.test.labels[chosen])
    trained_on = poisoned(scenario, scenario.facts, data)
    learned = iter(played.knowledge)
    return [
        Look(
            inquiry,
            trained_on,
            played.assembled.model,
            own_records,
            played.local,
            {client: next(learned) for client in clients},
        )
        for inquiry, clients in zip(inquiries, watched, strict=True)
    ]


def _watched(inquiry: Inquiry) -> list[int]:
    """The clients not on the adversary's side, the target first, whose ledger a replay returns."""
    clients = [
        client for client in range(inquiry.scenario.clients) if client not in inquiry.coalition
    ]
    return sorted(clients, key=lambda client: client != inquiry.target)
