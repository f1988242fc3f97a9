"""The parts of a federation, made from a scenario and ready to be joined.

An ordinary run calls `assemble`. An audit replaces a part between the two steps:

    made = parts(scenario, run="audit", ledgers=folder)
    trainers = {**made.trainers, client: watched(made.trainers[client])}
    assembled = join(replace(made, trainers=trainers))
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from securefl import vector
from securefl.channels.protocol import Plan
from securefl.data.task import FederatedData
from securefl.federation.adversary import Adversary
from securefl.federation.values import Rule, Weigh
from securefl.learning.device import CPU
from securefl.learning.plan import LocalTraining, OnStep, unseen
from securefl.learning.protocol import ServerStep, Trainer
from securefl.learning.stacked.stack import Stack
from securefl.learning.steps import beside_statistics
from securefl.privacy.ledger import Ledger
from securefl.privacy.remember import Remember, fresh
from securefl.scenario.assemble.data import load_data
from securefl.scenario.assemble.ledgers import Origin, open_ledgers
from securefl.scenario.assemble.trainers import (
    build_model,
    local_training,
    make_stack,
    make_trainers,
    stream_for,
)
from securefl.scenario.making.adversary import adversary_of
from securefl.scenario.making.rule import make_step, rule_of, weights_of
from securefl.scenario.scenario import Scenario


@dataclass(frozen=True)
class Parts:
    """Everything that a federation is joined from.

    Attributes:
        scenario: the declaration.
        run: names this run in release ids and sessions.
        data: the records, before corrupt clients changed theirs.
        model: holds the weights that the run starts from; then a workspace.
        local: all that the trainers were made from.
        trainers: client -> its local training, one at a time.
        stack: trains several of them at once, where the scenario says so.
        ledgers: client -> its ledger, opened; empty where nothing is claimed.
        rule: pre-filters and rule.
        weigh: the weights that the rule gives to rows; None where it gives none.
        step: the server's step.
        adversary: changes the rows of corrupt clients.
    """

    scenario: Scenario
    run: str
    data: FederatedData
    model: nn.Module
    local: LocalTraining
    trainers: Mapping[int, Trainer]
    stack: Stack
    ledgers: Mapping[int, Ledger]
    rule: Rule
    weigh: Weigh | None
    step: ServerStep
    adversary: Adversary

    @property
    def session(self) -> bytes:
        """The 16 bytes that name the session in every message."""
        return hashlib.sha256(f"session/{self.run}".encode()).digest()[:16]

    @property
    def plan(self) -> Plan:
        """The public constants that both sides of the channel are built from."""
        resolved = json.dumps(self.scenario.resolved(), sort_keys=True)
        return self.scenario.facts.plan(
            session=self.session,
            d=vector.size(self.model),
            stream_for=stream_for(self.scenario),
            config=hashlib.sha256(resolved.encode()).digest(),
        )

    def on(self, model: nn.Module) -> "Parts":
        """Returns the same parts around another model, with trainers made for it."""
        local = replace(self.local, model=model)
        trainers = make_trainers(self.scenario, local)
        stack = make_stack(self.scenario, local, trainers)
        return replace(self, model=model, local=local, trainers=trainers, stack=stack)


def parts(
    scenario: Scenario,
    *,
    run: str,
    ledgers: Path,
    origin: Origin | None = None,
    remember: Remember = fresh,
    on_step: OnStep = unseen,
    device: torch.device = CPU,
) -> Parts:
    """Makes the parts of a scenario's federation.

    Args:
        scenario: checked by itself.
        run: names this run in release ids and sessions.
        ledgers: folder of the clients' ledgers; files that exist are read and continued.
        origin: the run that `init_from` names, as `runs/origin.py` reads it.
        remember: caches calibrated noise.
        on_step: called after every local step of a client.
        device: where models train and are evaluated. An audit plays every run on the CPU.

    Raises:
        DataError: a data file is damaged.
        LedgerError: a ledger is damaged or was kept under other terms.
        ScenarioError: the records cannot be dealt, or no noise meets the claim.
        ValueError: origin is missing, or the scenario names none.
    """
    data = load_data(scenario)
    model = build_model(scenario, data.task)
    if (origin is None) is not (scenario.init_from is None):
        raise ValueError(
            "an origin goes with a scenario that names one in init_from, and with no other"
        )
    if origin is not None:
        vector.load_vector(model, origin.weights)
    model.to(device)
    # Ledgers come before trainers: noise is calibrated on top of what they have spent.
    books = open_ledgers(scenario, ledgers, origin)
    for book in books.values():
        book.begin()
    local = local_training(scenario, data, model, books, remember, on_step)
    trainers = make_trainers(scenario, local)
    facts = scenario.facts
    rule = rule_of(facts)
    weigh = weights_of(facts)
    return Parts(
        scenario=scenario,
        run=run,
        data=data,
        model=model,
        local=local,
        trainers=trainers,
        stack=make_stack(scenario, local, trainers),
        ledgers=books,
        rule=rule,
        weigh=weigh,
        step=beside_statistics(make_step(facts.step), vector.statistics(model)),
        adversary=adversary_of(scenario, facts, rule, weigh),
    )
