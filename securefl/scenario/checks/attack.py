"""The corrupt clients exist, some client is honest, and the attack takes what it is given."""

from functools import partial

import torch
from torch import Tensor

from securefl.data.task import Examples
from securefl.errors import ScenarioError
from securefl.scenario import catalog
from securefl.scenario.checks.parameters import parameters, tried
from securefl.scenario.declaration import Declaration
from securefl.scenario.facts import Facts
from securefl.scenario.making.adversary import adversary_of, bend_of
from securefl.scenario.making.attack import make_poison
from securefl.scenario.making.rule import make_weights
from securefl.scenario.tables import Attack


def check_attack(declared: Declaration, facts: Facts) -> None:
    """The corrupt clients exist, some client is honest, and the attack takes what it is given. Raises ScenarioError."""
    if declared.attack is None:
        return
    _check_clients(declared.attack, facts)
    _check_rows(declared, declared.attack, facts)
    _check_records(declared, declared.attack, facts)
    _check_gradients(declared, declared.attack)


def _check_clients(attack: Attack, facts: Facts) -> None:
    if len(set(attack.clients)) < len(attack.clients):
        raise ScenarioError(f"attack.clients: each client once, got {list(attack.clients)}")
    if max(attack.clients) >= facts.clients:
        raise ScenarioError(
            f"attack.clients: there is no client {max(attack.clients)} among {facts.clients}"
        )
    expected = facts.channel_options.get("corrupt", len(attack.clients))
    if len(attack.clients) > expected:
        raise ScenarioError(
            f"attack.clients: {len(attack.clients)} clients are corrupt, channel.corrupt declares {expected}; raise it"
        )
    if len(attack.clients) == facts.clients:
        raise ScenarioError(
            f"attack.clients: all {facts.clients} clients are corrupt, leave at least one honest"
        )


def _check_rows(declared: Declaration, attack: Attack, facts: Facts) -> None:
    """The attack takes its parameters, and the rows of a whole round and of one corrupt client."""
    entry = catalog.ATTACKS[attack.name]
    parameters("attack", attack.name, attack.parameters, *entry.functions)
    if entry.omniscient and attack.knows != "omniscient":
        raise ScenarioError(
            f'attack: {attack.name} needs what the others send: set attack.knows = "omniscient"'
        )
    if entry.several and attack.knows == "own" and len(attack.clients) == 1:
        raise ScenarioError(
            f"attack: {attack.name} by one client that knows its own row only would send it as it is: set "
            'attack.knows = "omniscient", or name more clients'
        )
    for present in {1, min(len(attack.clients), facts.cohort_size)}:
        rows, others = torch.zeros(present, 1), torch.zeros(facts.cohort_size - present, 1)
        seen = others if attack.knows == "omniscient" and len(others) else rows
        tried("attack", partial(_send, declared, facts, rows, seen))


def _check_records(declared: Declaration, attack: Attack, facts: Facts) -> None:
    """The attack takes a record of this data set."""
    task, clients = facts.task, tuple(attack.clients)
    label = torch.zeros(1, task.classes) if task.multilabel else torch.zeros(1).long()
    record = Examples(torch.zeros(1, *(task.image or (task.features,))), label)
    poison = make_poison(
        attack.name, attack.parameters, seed=declared.seed, classes=task.classes, corrupt=clients
    )
    tried("attack", lambda: poison(clients[0], *record))


def _check_gradients(declared: Declaration, attack: Attack) -> None:
    """An attack that changes gradients has a trainer that lets it, and does not overshoot."""
    bends = bend_of(declared, attack.clients[0])
    if bends is not None and declared.training.kind != "sgd":
        raise ScenarioError(
            f"attack: {attack.name} trains in its own way: use training.kind = 'sgd'"
        )
    tried("attack", lambda: bends and bends(torch.zeros(1), torch.zeros(1)))
    if (
        bends is not None
        and float(bends(torch.zeros(1), torch.ones(1))) * declared.training.lr >= 1
    ):
        raise ScenarioError(
            f"attack: {attack.name} would overshoot the global model, to which it pulls back, at every step: lower "
            "training.lr or anchor until their product is below 1"
        )


def _send(declared: Declaration, facts: Facts, rows: Tensor, seen: Tensor) -> None:
    """Let the attack have a round of these rows against a mean."""
    rule, before = declared.defense.rule, declared.defense.prefilters
    has = make_weights(rule.name, rule.parameters, [(one.name, one.parameters) for one in before])
    weigh = None if has is None else lambda rows: torch.ones(len(rows))
    adversary_of(declared, facts, lambda rows, weights: rows.mean(dim=0), weigh).attack(
        rows, seen, 0
    )
