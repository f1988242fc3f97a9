"""What the adversary does, as callables: to rows, records and gradients; and what it is after."""

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
from securefl.scenario.catalog import ATTACKS, RULES

Parameters = Mapping[str, Any]


def make_attack(
    name: str,
    parameters: Parameters,
    *,
    seed: int,
    clients: int,
    rule: Rule,
    weigh: Weigh | None,
    krum_f: int | None,
) -> Attack:
    """What the adversary does to rows: own honest rows (f, d), those known (h, d), round -> rows (f, d).

    Clients are those of a round. Attacks that look for what hurts the federation's rule most are given it, the weights
    that it gives to rows, and the f of its Krum; where it is none, their Krum takes as many as its rows allow.

    Raises:
        ValueError: the attack needs these weights, and the rule has none.
    """
    if (function := ATTACKS[name].rows) is None:
        return lambda own, known, round: own
    takes = inspect.signature(function).parameters
    if "weigh" in takes and weigh is None:
        able = ", ".join(rule for rule, entry in RULES.items() if entry.weigh is not None)
        raise ValueError(f"{name} needs a rule that weighs rows, without pre-filters: {able}")

    def attack(own: Tensor, known: Tensor, round: int) -> Tensor:
        most = max(0, min(len(own), (len(known) + len(own) - 3) // 2))
        given = {
            "f": len(own),
            "n": clients,
            "generator": _generator(seed, "attack", round),
            "rule": lambda rows: rule(rows, torch.ones(len(rows))),
            "krum": partial(RULES["krum"].function, f=most if krum_f is None else krum_f),
            "weigh": weigh,
        }
        rows = known if "f" in takes else own
        sent: Tensor = function(rows, **_taken(function, given | dict(parameters)))
        return sent

    return attack


def make_poison(
    name: str, parameters: Parameters, *, seed: int, classes: int, corrupt: Sequence[int]
) -> Poison:
    """What the adversary does to the records of one of its clients before training: client, features, labels in."""
    if (function := ATTACKS[name].records) is None:
        return lambda client, features, labels: (features, labels)

    def poison(client: int, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        given = {
            "classes": classes,
            "generator": _generator(seed, "poison", client),
            "part": (sorted(corrupt).index(client), len(corrupt)),
        }
        features, labels = function(features, labels, **_taken(function, given | dict(parameters)))
        return features, labels

    return poison


def make_bend(name: str, parameters: Parameters) -> Bend | None:
    """What the adversary does to its clients' gradients while they train; None for most attacks."""
    if (function := ATTACKS[name].gradients) is None:
        return None
    return lambda gradient, offset: function(gradient, offset, **_taken(function, parameters))


def make_goal(name: str, parameters: Parameters) -> Goal | None:
    """What the attack is after: test features and labels -> features to show, and the class they shall be taken for."""
    if (function := ATTACKS[name].goal) is None:
        return None
    return lambda features, labels: function(features, labels, **_taken(function, parameters))


def _generator(seed: int, purpose: str, place: int) -> torch.Generator:
    return seeded_keystream(seed, purpose, place).torch_generator()


def _taken(function: Callable[..., Any], given: Parameters) -> dict[str, Any]:
    """Of what is given, what function takes."""
    return {key: given[key] for key in inspect.signature(function).parameters if key in given}
