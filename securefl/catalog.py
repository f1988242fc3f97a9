"""Name -> callable: the only tables, and the only file here that knows attacks and defenses by name."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

import attacks
import defenses
from securefl.data import digits, heart
from securefl.data.partition import iid_sizes
from securefl.data.task import FederatedData
from securefl.models import linear
from securefl.rng import seeded_keystream
from securefl.training import server
from securefl.types import Attack, Rule, Screen, ServerStep

Parameters = Mapping[str, Any]


@dataclass(frozen=True)
class RuleEntry:
    """An aggregation rule, how many rows it needs for a given f, and whether it uses weights."""

    function: Callable[..., Tensor]
    minimum_rows: Callable[[int], int]
    weighted: bool = False


@dataclass(frozen=True)
class DataEntry:
    """A data set: its loader and, for each partition, the public training sizes of its sites."""

    load: Callable[..., FederatedData]
    partitions: Mapping[str, Callable[[int | None], tuple[int, ...]]]


def _heart(partition: str, clients: int | None, split_seed: int) -> FederatedData:
    return heart.load_heart(partition=partition, split_seed=split_seed)


def _digits(partition: str, clients: int | None, split_seed: int) -> FederatedData:
    return digits.load_digits(clients=clients or DEFAULT_CLIENTS, split_seed=split_seed)


DEFAULT_CLIENTS = 10

DATA: Mapping[str, DataEntry] = {
    "heart": DataEntry(
        _heart,
        {
            "natural": lambda clients: heart.TRAIN_RECORDS["natural"],
            "halves": lambda clients: heart.TRAIN_RECORDS["halves"],
        },
    ),
    "digits": DataEntry(
        _digits, {"iid": lambda clients: iid_sizes(digits.TRAIN_RECORDS, clients=clients or DEFAULT_CLIENTS)}
    ),
}

MODELS: Mapping[str, Callable[..., nn.Module]] = {"logistic": linear.logistic, "mlp": linear.mlp}

RULES: Mapping[str, RuleEntry] = {
    "mean": RuleEntry(defenses.mean, minimum_rows=lambda f: 1, weighted=True),
    "median": RuleEntry(defenses.median, minimum_rows=lambda f: 1),
    "trimmed_mean": RuleEntry(defenses.trimmed_mean, minimum_rows=defenses.trimmed_mean_minimum_rows),
    "krum": RuleEntry(defenses.krum, minimum_rows=defenses.krum_minimum_rows),
}

ATTACKS: Mapping[str, Callable[..., Tensor]] = {"sign_flip": attacks.sign_flip, "gaussian": attacks.gaussian}

STEPS: Mapping[str, Callable[..., Any]] = {
    "fedavg": server.fedavg,
    "fedavgm": server.fedavgm,
    "fedadam": server.fedadam,
}

CHANNELS: Mapping[str, int] = {"plain": 1}  # kind -> stages a round

SCREEN: Screen = defenses.screen

Status = Literal["available", "not available yet", "unknown"]

_LATER = {
    "channel.kind": ("masked", "ckks", "bfv"),
    "privacy.unit": ("client",),
    "privacy.place": ("distributed", "central"),
    "attack.knows": ("omniscient",),
    "training.kind": ("clipped_gradient",),
}


def planned(key: str) -> tuple[str, ...]:
    """Values of a scenario key that the design has and this version does not have yet."""
    return _LATER.get(key, ())


def make_rule(name: str, parameters: Parameters) -> Rule:
    """The rule as the engine calls it: rows (m, d), weights (m,) -> (d,)."""
    entry = RULES[name]
    if entry.weighted:
        return lambda rows, weights: entry.function(rows, weights=weights, **parameters)
    return lambda rows, weights: entry.function(rows, **parameters)


def make_attack(name: str, parameters: Parameters, *, seed: int) -> Attack:
    """The attack as the adversary calls it: honest rows (f, d), round -> rows (f, d)."""
    function = ATTACKS[name]
    if "generator" not in inspect.signature(function).parameters:
        return lambda rows, round: function(rows, **parameters)
    return lambda rows, round: function(
        rows, generator=seeded_keystream(seed, "attack", round).torch_generator(), **parameters
    )


def make_step(name: str, parameters: Parameters) -> ServerStep:
    """The server's step with its hyper-parameters set."""
    function = STEPS[name]
    return lambda weights, estimate, state: function(weights, estimate, state, **parameters)


def parameters_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The hyper-parameters that a scenario may set: keyword-only ones that the run does not provide itself."""
    provided = {"generator", "weights"}
    return {
        name: parameter
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and name not in provided
    }
