"""Whether the corrupt clients exist, and the attack can be made."""

from functools import partial

import torch
from torch import Tensor

from securefl.data.task import Examples, Task
from securefl.errors import ScenarioError
from securefl.scenario import catalog
from securefl.scenario.checks.parameters import check_parameters, tried
from securefl.scenario.chosen import Chosen
from securefl.scenario.declaration import Declaration
from securefl.scenario.entries import AttackEntry
from securefl.scenario.facts import Facts
from securefl.scenario.making.adversary import adversary_of, bend_of
from securefl.scenario.making.attack import make_poison
from securefl.scenario.making.rule import corrupt_rows, weights_of
from securefl.scenario.regions import regions_of
from securefl.scenario.tables import Attack


def check_attack(declared: Declaration, attack: Attack, facts: Facts) -> None:
    """Checks the table [attack].

    Raises:
        ScenarioError: one sentence that says what to change.
    """
    # The corrupt clients of a region meet the others of theirs, and a channel of their own.
    meetings = tuple(regions_of(declared, facts).values()) or (facts,)
    _check_clients(attack, facts, meetings)
    if facts.attack is None:
        raise ValueError("facts without the attack that the declaration has")
    _check_classes(declared.data.name, facts.attack, facts.task)
    together = max(len(_corrupt(attack, meeting)) for meeting in meetings)
    _check_knowledge(attack, facts.attack, together)
    for meeting in meetings:
        _check_rows(declared, attack, meeting)
    _check_records(declared, attack, facts.attack, facts.task)
    _check_gradients(declared, attack, facts)


def _corrupt(attack: Attack, meeting: Facts) -> set[int]:
    """Returns the corrupt clients that meet in a federation or a region."""
    return {client for client in attack.clients if client in meeting.members}


def _check_clients(attack: Attack, facts: Facts, meetings: tuple[Facts, ...]) -> None:
    corrupt = len(attack.clients)
    if len(set(attack.clients)) < corrupt:
        raise ScenarioError(f"attack.clients: each client once, got {list(attack.clients)}")
    if max(attack.clients) >= facts.clients:
        raise ScenarioError(
            f"attack.clients: there is no client {max(attack.clients)} among {facts.clients}"
        )
    # A channel that hides updates from so many corrupt clients hides them from no more.
    together = max(len(_corrupt(attack, meeting)) for meeting in meetings)
    expected = facts.channel_options.get("corrupt", together)
    # Liars that a rule withstands need not work with the server.
    goes_by_rule = facts.selects or facts.channel_options.get("groups") is not None
    f = corrupt_rows(facts.rule) if goes_by_rule else 0
    if together > max(expected, f):
        way_out = f", and f of defense.rule is {f}; raise one of them" if f else "; raise it"
        raise ScenarioError(
            f"attack.clients: {together} clients are corrupt, "
            f"channel.corrupt declares {expected}{way_out}"
        )
    if corrupt == facts.clients:
        raise ScenarioError(
            f"attack.clients: all {facts.clients} clients are corrupt, leave at least one honest"
        )


def _check_classes(data: str, chosen: Chosen[AttackEntry], task: Task) -> None:
    """Checks that records have classes where the attack goes by them."""
    if (task.groups or task.partial) and chosen.entry.records is not None:
        able = [name for name, entry in catalog.ATTACKS.items() if entry.records is None]
        unsure = "coarse" if task.groups else "not looked for"
        raise ScenarioError(
            f"attack: {chosen.name} goes by the label of every record, and some labels of {data} "
            f"are {unsure}; use one of {', '.join(able)}"
        )
    if task.regression and chosen.entry.needs_classes:
        able = [name for name, entry in catalog.ATTACKS.items() if not entry.needs_classes]
        raise ScenarioError(
            f"attack: {chosen.name} goes by the classes of records, "
            f"those of {data} bear real targets; use one of {', '.join(able)}"
        )


def _check_knowledge(attack: Attack, chosen: Chosen[AttackEntry], together: int) -> None:
    """Checks the attack's parameters, and that the adversary knows the rows it needs.

    Args:
        attack: the table.
        chosen: its entry.
        together: most corrupt clients under one rule.
    """
    entry = chosen.entry
    check_parameters("attack", chosen)
    if entry.omniscient and attack.knows != "omniscient":
        raise ScenarioError(
            f'attack: {attack.name} needs what the others send: set attack.knows = "omniscient"'
        )
    if entry.several and attack.knows == "own" and together == 1:
        raise ScenarioError(
            f'attack: with a single client and knows = "own", {attack.name} would send that '
            'client\'s update unchanged; use knows = "omniscient" or list more clients'
        )


def _check_rows(declared: Declaration, attack: Attack, facts: Facts) -> None:
    """Lets the attack have the rows of a whole round, and those of one corrupt client."""
    corrupt = len(_corrupt(attack, facts))
    for present in {min(1, corrupt), min(corrupt, facts.cohort_size)} - {0}:
        try_rows(declared, attack, facts, present)


def try_rows(declared: Declaration, attack: Attack, facts: Facts, present: int) -> None:
    """Lets the attack have a round with so many corrupt rows. Raises ScenarioError."""
    rows = torch.zeros(present, 1)
    honest = torch.zeros(facts.cohort_size - present, 1)
    sees_honest = attack.knows == "omniscient" and len(honest) > 0
    known_rows = honest if sees_honest else rows
    tried("attack", partial(_send, declared, facts, rows, known_rows))


def _send(declared: Declaration, facts: Facts, rows: Tensor, known_rows: Tensor) -> None:
    """Lets the attack have a round of these rows against a mean."""
    weigh = weights_of(facts)
    if weigh is not None:
        weigh = _equal_weights  # the rule itself was checked on rows of its own
    adversary = adversary_of(declared, facts, lambda rows, weights: rows.mean(dim=0), weigh)
    adversary.attack(rows, known_rows, 0)


def _equal_weights(rows: Tensor) -> Tensor:
    return torch.ones(len(rows))


def _check_records(
    declared: Declaration, attack: Attack, chosen: Chosen[AttackEntry], task: Task
) -> None:
    """Lets the attack have a record of this data set."""
    clients = tuple(attack.clients)
    one_class = not (task.multilabel or task.regression)
    label = torch.zeros(1).long() if one_class else torch.zeros(1, task.outputs)
    record = Examples(torch.zeros(1, *(task.image or (task.features,))), label)
    poison = make_poison(chosen, seed=declared.seed, classes=task.classes, corrupt=clients)
    tried("attack", lambda: poison(clients[0], *record))


def _check_gradients(declared: Declaration, attack: Attack, facts: Facts) -> None:
    """Checks that the trainer allows bent gradients, and that none overshoots."""
    bend = bend_of(declared, facts, attack.clients[0])
    if bend is None:
        return
    if not facts.trainer.bends:
        kinds = [repr(kind) for kind, entry in catalog.TRAINERS.items() if entry.bends]
        raise ScenarioError(
            f"attack: {attack.name} trains in its own way: use training.kind = {' or '.join(kinds)}"
        )
    tried("attack", lambda: bend(torch.zeros(1), torch.zeros(1)))
    pull = float(bend(torch.zeros(1), torch.ones(1)))
    if pull * declared.training.lr >= 1:
        raise ScenarioError(
            f"attack: {attack.name} would overshoot the global model, to which it pulls back, "
            "at every step: lower training.lr or anchor until their product is below 1"
        )
