"""The contract of an attack."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor

from securefl.data.task import Task
from securefl.federation.adversary import Attack
from securefl.learning.synthetic import synthetic
from securefl.scenario.catalog import RULES
from securefl.scenario.chosen import Chosen
from securefl.scenario.entries import AttackEntry, Sees
from securefl.scenario.making.attack import make_attack, make_bend, make_goal, make_poison
from securefl.scenario.plugins.find import Group
from securefl.testing.trial import chosen, contract, rows_of, same, untouched

IMAGES = Task(features=64, classes=3, image=(1, 8, 8))
RECORDS = 40
ROUND = 1


def check_attack(
    attack: AttackEntry | Callable[..., Tensor],
    *,
    clients: int = 9,
    f: int = 2,
    task: Task = IMAGES,
    parameters: Mapping[str, Any] | None = None,
) -> None:
    """Checks that an attack keeps what runs take for granted.

    Guarantees, for an attack that passes:
        - On rows: a row for each corrupt client, of the same length; under a seed the same ones.
        - Unless its entry says that it is omniscient, the rows of its own clients are enough.
        - An attack that sees its own clients only sends the same whatever the others send.
        - On records: features and labels of the same form, and labels that are classes.
        - It changes nothing that it is given.

    Args:
        attack: the entry, or a bare function from rows to rows.
        clients: of a round.
        f: how many of them are corrupt.
        task: of the records, for an attack on records.
        parameters: its hyper-parameters.

    Raises:
        AssertionError: one sentence that says what it does not keep.
    """
    choice = chosen(Group.ATTACKS, "attack", attack, None, parameters)
    if choice.entry.rows is not None:
        _check_rows(choice, clients, f)
    if choice.entry.records is not None:
        _check_records(choice, task)
    _check_gradients(choice)
    _check_goal(choice, task)


def _check_rows(choice: Chosen[AttackEntry], clients: int, f: int) -> None:
    own, others = rows_of(f), rows_of(clients - f, seed=1)
    with contract():
        attack = _attack(choice, clients)
    sent = _sent(choice, attack, own, others)
    if not same(sent, _sent(choice, attack, own, others)):
        raise AssertionError(
            f"{choice.name} sends other rows when it is run again; draw from the parameter "
            "generator, which follows from the scenario's seed"
        )
    if choice.entry.omniscient:
        return
    try:
        alone = _sent(choice, attack, own, own)
    except AssertionError as reason:
        raise AssertionError(
            f"{choice.name} cannot do with the rows of its own {f} clients, and its entry does not "
            f"say omniscient: {reason}"
        ) from reason
    if choice.entry.sees is Sees.OWN and not same(alone, sent):
        raise AssertionError(f"{choice.name} sends other rows when other clients do")


def _attack(choice: Chosen[AttackEntry], clients: int) -> Attack:
    median, weigh = RULES["median"].function, RULES["geometric_median"].weigh
    return make_attack(
        choice,
        seed=0,
        clients=clients,
        rule=lambda rows, weights: median(rows),
        weigh=weigh,
        krum_f=None,
    )


def _sent(choice: Chosen[AttackEntry], attack: Attack, own: Tensor, known: Tensor) -> Tensor:
    with contract():
        sent: Tensor = untouched(choice.name, [own, known], lambda: attack(own, known, ROUND))
        if sent.shape != own.shape:
            raise ValueError(
                f"{choice.name} sends rows of shape {tuple(sent.shape)} for {len(own)} clients"
            )
    return sent


def _check_records(choice: Chosen[AttackEntry], task: Task) -> None:
    features, labels = synthetic(task, RECORDS, seed=0)
    with contract():
        poison = make_poison(choice, seed=0, classes=task.classes, corrupt=[0, 1])
        attack = partial(poison, 0, features, labels)
        changed = untouched(choice.name, [features, labels], attack)
        again = attack()
    if not all(same(one, other) for one, other in zip(changed, again, strict=True)):
        raise AssertionError(
            f"{choice.name} changes records in another way when it is run again; draw from the "
            "parameter generator"
        )
    labels = changed[1]
    if not task.regression and not bool(((labels >= 0) & (labels < task.classes)).all()):
        raise AssertionError(f"{choice.name} gives labels that are none of {task.classes} classes")


def _check_gradients(choice: Chosen[AttackEntry]) -> None:
    gradient, offset = rows_of(2)
    bend = make_bend(choice)
    if bend is not None:
        with contract():
            untouched(choice.name, [gradient, offset], lambda: bend(gradient, offset))


def _check_goal(choice: Chosen[AttackEntry], task: Task) -> None:
    goal = make_goal(choice)
    if goal is None:
        return
    features, labels = synthetic(task, RECORDS, seed=2)
    with contract():
        _, target = untouched(choice.name, [features, labels], lambda: goal(features, labels))
    if not 0 <= target < task.classes:
        raise AssertionError(f"{choice.name} wants class {target} of {task.classes} classes")
