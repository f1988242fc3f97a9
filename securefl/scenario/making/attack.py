"""An attack as callables: on rows, records and gradients, and its goal."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from securefl.federation.adversary import Attack, Goal, Poison
from securefl.federation.values import Rule, Weigh
from securefl.learning.protocol import Bend
from securefl.rng import seeded_keystream
from securefl.scenario.catalog import RULES
from securefl.scenario.chosen import Chosen
from securefl.scenario.entries import AttackEntry, Sees
from securefl.scenario.making.selection import Chain, Guess

Parameters = Mapping[str, Any]


def make_attack(
    chosen: Chosen[AttackEntry],
    *,
    seed: int,
    clients: int,
    rule: Rule,
    weigh: Weigh | None,
    krum_f: int | None,
    guess: Guess | None = None,
) -> Attack:
    """Returns own rows (f, d), known rows (h, d), round -> attacked rows (f, d).

    Args:
        chosen: the attack with its hyper-parameters.
        seed: of the scenario; an attack that draws does so from it, round by round.
        clients: number of clients of a round.
        rule: of the federation, for attacks that search for the rows that hurt it most.
        weigh: the weights that the rule gives to rows; None where it gives none.
        krum_f: f of the federation's Krum. None where its rule is another: an attack on Krum then
            takes the largest f that its rows allow.
        guess: stands for rule and weights where the channel chooses clients; None elsewhere.

    Raises:
        ValueError: the attack needs these weights, and the rule gives none.
    """
    entry = chosen.entry
    if entry.rows is None:
        return lambda own, known, round: own
    function = entry.rows
    if "weigh" in entry.needs and weigh is None and guess is None:
        able = ", ".join(rule for rule, entry in RULES.items() if entry.weigh is not None)
        raise ValueError(
            f"{chosen.name} needs a rule that weighs rows, without pre-filters: {able}"
        )

    def attack(own: Tensor, known: Tensor, round: int) -> Tensor:
        # Krum with this many corrupt rows still has the n >= 2 f + 3 rows that it needs.
        largest_f = max(0, min(len(own), (len(known) + len(own) - 3) // 2))
        chain = Chain(rule, weigh) if guess is None else guess.in_round(round)
        provided = {
            "f": len(own),
            "n": clients,
            "generator": _generator(seed, "attack", round),
            "rule": lambda rows: chain.rule(rows, torch.ones(len(rows))),
            "krum": partial(RULES["krum"].function, f=largest_f if krum_f is None else krum_f),
            "weigh": chain.weigh,
        }
        rows = known if entry.sees is Sees.KNOWN else own
        sent: Tensor = function(rows, **_taken(function, provided, entry.needs, chosen.parameters))
        return sent

    return attack


def make_poison(
    chosen: Chosen[AttackEntry], *, seed: int, classes: int, corrupt: Sequence[int]
) -> Poison:
    """Returns the attack on records: client, features, labels -> features, labels.

    Args:
        chosen: the attack with its hyper-parameters.
        seed: of the scenario; decides which records are changed.
        classes: how many classes there are.
        corrupt: all corrupt clients, who may share a trigger among them.
    """
    entry = chosen.entry
    if entry.records is None:
        return lambda client, features, labels: (features, labels)
    function = entry.records

    def poison(client: int, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        provided = {
            "classes": classes,
            "generator": _generator(seed, "poison", client),
            "part": (sorted(corrupt).index(client), len(corrupt)),
        }
        given = _taken(function, provided, entry.needs, chosen.parameters)
        features, labels = function(features, labels, **given)
        return features, labels

    return poison


def make_bend(chosen: Chosen[AttackEntry]) -> Bend | None:
    """Returns the attack on the gradients of corrupt clients; None for most attacks."""
    function = chosen.entry.gradients
    if function is None:
        return None
    given = _taken(function, {}, (), chosen.parameters)
    return lambda gradient, offset: function(gradient, offset, **given)


def make_goal(chosen: Chosen[AttackEntry]) -> Goal | None:
    """Returns test features and labels -> features to show, and the target class."""
    function = chosen.entry.goal
    if function is None:
        return None
    given = _taken(function, {}, (), chosen.parameters)
    return lambda features, labels: function(features, labels, **given)


def _generator(seed: int, purpose: str, place: int) -> torch.Generator:
    return seeded_keystream(seed, purpose, place).torch_generator()


def _taken(
    function: Callable[..., Any],
    provided: Parameters,
    needs: Sequence[str],
    parameters: Parameters,
) -> Parameters:
    """Returns the arguments that one function of an attack takes.

    The functions of an attack share its parameters, and each takes its own part of them.
    """
    given = {key: value for key, value in provided.items() if key in needs}
    given |= parameters
    names = inspect.signature(function).parameters
    return {name: given[name] for name in names if name in given}
