"""Federations of the experiment of selection: channels, rules, attacks, and how sites are dealt."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

CLIENTS = 20
ROUNDS = 40
LIARS = 4
_GROUP_LIARS = 2  # five sums of four clients withstand no more
DEALS: Mapping[str, Mapping[str, Any]] = {
    "IID": {"partition": "iid"},
    "Dirichlet .3": {"partition": "dirichlet", "alpha": 0.3, "minimum": 2},
}
MEAN, GROUPS, ROWS = "masked mean", "groups of 4", "plain"
SIZES = (16, 64, 256)
CHANNELS: Mapping[str, Mapping[str, Any]] = {
    MEAN: {"kind": "masked", "corrupt": LIARS},
    GROUPS: {"kind": "masked", "corrupt": _GROUP_LIARS, "groups": CLIENTS // 4},
    ROWS: {"kind": "plain"},
    **{f"sketch {size}": {"kind": "masked", "corrupt": LIARS, "sketch": size} for size in SIZES},
}
_CHOOSING: Mapping[str, Mapping[str, Any]] = {
    "dnc": {"name": "dnc"},
    "dnc at once": {"name": "dnc", "at_once": True},
    "multi_krum": {"name": "multi_krum"},
}
NONE, FLIP, LIES = "none", "sign flip", "lies"
_FLIP: Mapping[str, Any] = {"name": "sign_flip", "scale": 5.0}
_OMNISCIENT = {"knows": "omniscient"}
ATTACKS: Mapping[str, Mapping[str, Any] | None] = {
    NONE: None,
    FLIP: _FLIP,
    "label flip": {"name": "label_flip"},
    "ALIE": {"name": "a_little_is_enough", **_OMNISCIENT},
    "IPM": {"name": "inner_product", "scale": 0.5, **_OMNISCIENT},
    "min-max": {"name": "min_max", **_OMNISCIENT},
    "adaptive": {"name": "adaptive", **_OMNISCIENT},
    "adaptive_weight": {"name": "adaptive_weight", **_OMNISCIENT},
    LIES: _FLIP,
}
# Its sketch is that of the honest update, of which the upload is -5 times as much.
_PERFECT_LIE = -1 / _FLIP["scale"]


class Way(NamedTuple):
    """One cell of the page's tables."""

    channel: str
    rule: str
    attack: str
    deal: str

    @property
    def sketched(self) -> bool:
        """Whether the rule chooses by sketches."""
        return "sketch" in CHANNELS[self.channel]

    @property
    def liars(self) -> int:
        """How many clients attack, and what the rule's f is."""
        return _GROUP_LIARS if self.channel == GROUPS else LIARS


def ways() -> tuple[Way, ...]:
    """Returns all cells in the order of the page."""
    return tuple(
        Way(channel, rule, attack, deal)
        for deal in DEALS
        for channel in CHANNELS
        for rule in rules_of(channel)
        for attack in attacks_on(channel)
    )


def rules_of(channel: str) -> Iterator[str]:
    """Yields the rules that are tried under a channel."""
    if channel == MEAN:
        yield "mean"
        return
    for rule in _CHOOSING:
        # Of five rows, multi_krum withstands one liar.
        if channel != GROUPS or rule != "multi_krum":
            yield rule


def attacks_on(channel: str) -> Iterator[str]:
    """Yields the attacks that are tried under a channel.

    Only sketches can be lied about, and adaptive_weight needs a rule that weighs rows.
    """
    for attack in ATTACKS:
        lied = attack == LIES and "sketch" not in CHANNELS[channel]
        weightless = attack == "adaptive_weight" and channel == MEAN
        if not (lied or weightless):
            yield attack


def scenario_of(way: Way, *, seed: int, rounds: int = ROUNDS) -> dict[str, Any]:
    """Returns the scenario of one run."""
    clients = list(range(way.liars))
    rule = {**_CHOOSING[way.rule], "f": way.liars} if way.rule in _CHOOSING else way.rule
    values: dict[str, Any] = {
        "seed": seed,
        "rounds": rounds,
        "weights": "equal",
        "data": {"name": "digits", "clients": CLIENTS, "split_seed": seed, **DEALS[way.deal]},
        "model": {"name": "mlp", "hidden": [64]},
        "training": {"kind": "sgd", "batch": 16, "lr": 0.3},
        "channel": dict(CHANNELS[way.channel]),
        "defense": {"rule": rule},
        "evaluate": {"every": rounds},
    }
    attack = ATTACKS[way.attack]
    if attack is not None:
        values["attack"] = {**attack, "clients": clients}
    if way.attack == LIES:
        lies = [{"client": client, "factor": _PERFECT_LIE} for client in clients]
        values["simulate"] = {"lie": lies}
    return values
