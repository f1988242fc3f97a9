"""Name -> callable: the only tables, and the only file here that knows attacks and defenses by name."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import attacks
import defenses
from securefl.channels import plain
from securefl.channels.ckks import build as ckks
from securefl.channels.masking import build as masking
from securefl.channels.protocol import MODEL, Sides
from securefl.data.entries import DATA as DATA
from securefl.data.entries import DEALS as DEALS
from securefl.data.entries import DEFAULT_CLIENTS as DEFAULT_CLIENTS
from securefl.data.entries import DataEntry as DataEntry
from securefl.federation.adversary import Attack, Goal, Poison
from securefl.federation.values import Rule, Screen, Weigh
from securefl.learning import steps
from securefl.learning.models import images, linear
from securefl.learning.protocol import Bend, ServerStep
from securefl.rng import seeded_keystream

Parameters = Mapping[str, Any]


@dataclass(frozen=True)
class RuleEntry:
    """An aggregation rule, how many rows it needs for a given f, whether it uses weights, and those it gives itself."""

    function: Callable[..., Tensor]
    minimum_rows: Callable[[int], int]
    weighted: bool = False
    weigh: Callable[..., Tensor] | None = None


@dataclass(frozen=True)
class PrefilterEntry:
    """What is done to rows before a rule, and how many rows it needs for a given f."""

    function: Callable[..., defenses.Mixture]
    minimum_rows: Callable[[int], int] = lambda f: 1


@dataclass(frozen=True)
class AttackEntry:
    """What corrupt clients do to the rows that they send, to the records that they train on, and to their gradients.

    several: whether it makes sense only from two rows known on; omniscient: only for who sees the rows of the others.
    goal: test features and labels -> the features that show whether it succeeded, and the class it wants for them.
    """

    rows: Callable[..., Tensor] | None = None
    records: Callable[..., tuple[Tensor, Tensor]] | None = None
    gradients: Callable[..., Tensor] | None = None
    several: bool = False
    omniscient: bool = False
    goal: Callable[..., tuple[Tensor, int]] | None = None

    @property
    def functions(self) -> tuple[Callable[..., Any], ...]:
        """Those that there are; the first one's docstring describes the attack."""
        return tuple(function for function in (self.records, self.rows, self.gradients) if function is not None)


@dataclass(frozen=True)
class ChannelEntry:
    """A way updates travel: how it is built and checked, its stages, rows of a cohort, options, and who sees what.

    threats says it in words, sees by the kinds of Observations of server, network and each client. min_cohort is the
    default where the options do not settle it; set_up says that a client can miss the session's; exact that a round
    played again gives the same bytes. shows_reported_weights: whether the server learns a weight that a client reports,
    though it sees no update.
    """

    sides: Callable[..., Sides]
    stages: int
    rows: Callable[[int], int]
    threats: Mapping[str, str]
    sees: Mapping[str, tuple[str, ...]]
    options: Mapping[str, Any] = field(default_factory=dict)
    check: Callable[..., object] = lambda plan: None
    min_cohort: int = 1
    set_up: bool = False
    exact: bool = True
    shows_reported_weights: bool = False

    @property
    def server_holds_model(self) -> bool:
        """Whether the server sees the global models."""
        return MODEL in self.sees["server"]


MODELS: Mapping[str, Callable[..., nn.Module]] = {
    "logistic": linear.logistic,
    "mlp": linear.mlp,
    "cnn": images.cnn,
    "resnet18": images.resnet18,
}

RULES: Mapping[str, RuleEntry] = {
    "mean": RuleEntry(defenses.mean, minimum_rows=lambda f: 1, weighted=True),
    "median": RuleEntry(defenses.median, minimum_rows=lambda f: 1),
    "trimmed_mean": RuleEntry(defenses.trimmed_mean, minimum_rows=defenses.trimmed_mean_minimum_rows),
    "meamed": RuleEntry(defenses.meamed, minimum_rows=defenses.trimmed_mean_minimum_rows),
    "krum": RuleEntry(defenses.krum, defenses.krum_minimum_rows, weigh=defenses.krum_weights),
    "multi_krum": RuleEntry(defenses.multi_krum, defenses.krum_minimum_rows, weigh=defenses.multi_krum_weights),
    "bulyan": RuleEntry(defenses.bulyan, minimum_rows=defenses.bulyan_minimum_rows),
    "geometric_median": RuleEntry(defenses.geometric_median, lambda f: 1, weigh=defenses.geometric_median_weights),
    "centered_clipping": RuleEntry(defenses.centered_clipping, minimum_rows=lambda f: 1),
    "mda": RuleEntry(defenses.mda, defenses.mda_minimum_rows, weigh=defenses.mda_weights),
    "dnc": RuleEntry(defenses.dnc, defenses.mda_minimum_rows, weigh=defenses.dnc_weights),
}

PREFILTERS: Mapping[str, PrefilterEntry] = {
    "nearest_neighbor_mixing": PrefilterEntry(defenses.nearest_neighbor_mixing, defenses.mda_minimum_rows),
    "adaptive_clipping": PrefilterEntry(defenses.adaptive_clipping, defenses.mda_minimum_rows),
    "clip_norms": PrefilterEntry(defenses.clip_norms),
}

ATTACKS: Mapping[str, AttackEntry] = {
    "sign_flip": AttackEntry(attacks.sign_flip),
    "gaussian": AttackEntry(attacks.gaussian),
    "zero": AttackEntry(attacks.zero),
    "non_finite": AttackEntry(attacks.non_finite),
    "inner_product": AttackEntry(attacks.inner_product),
    "a_little_is_enough": AttackEntry(attacks.a_little_is_enough, several=True),
    "min_max": AttackEntry(attacks.min_max, several=True),
    "min_sum": AttackEntry(attacks.min_sum, several=True),
    "mimic": AttackEntry(attacks.mimic, several=True),
    "fang_krum": AttackEntry(attacks.fang_krum, omniscient=True),
    "fang_trimmed_mean": AttackEntry(attacks.fang_trimmed_mean, several=True),
    "adaptive": AttackEntry(attacks.adaptive, omniscient=True),
    "adaptive_weight": AttackEntry(attacks.adaptive_weight, omniscient=True),
    "label_flip": AttackEntry(records=attacks.label_flip),
    "targeted_label_flip": AttackEntry(records=attacks.targeted_label_flip, goal=attacks.flip_goal),
    "backdoor": AttackEntry(records=attacks.backdoor, goal=attacks.backdoor_goal),
    "distributed_backdoor": AttackEntry(records=attacks.distributed_backdoor, goal=attacks.backdoor_goal),
    "model_replacement": AttackEntry(attacks.boosted, attacks.backdoor, goal=attacks.backdoor_goal),
    "constrain_and_scale": AttackEntry(attacks.boosted, attacks.backdoor, attacks.anchored, goal=attacks.backdoor_goal),
}

STEPS: Mapping[str, Callable[..., Any]] = {
    "fedavg": steps.fedavg,
    "fedavgm": steps.fedavgm,
    "fedadam": steps.fedadam,
}

CHANNELS: Mapping[str, ChannelEntry] = {
    "plain": ChannelEntry(
        plain.plain_sides,
        stages=1,
        rows=lambda cohort: cohort,
        threats=plain.PLAIN,
        sees=plain.PLAIN_SEES,
    ),
    "masked": ChannelEntry(
        masking.masked_sides,
        check=masking.masked_terms,
        stages=5,
        rows=lambda cohort: 1,
        options={"ring": 32, "clip": 4.0, "rounding": "stochastic", "corrupt": 1, "secrets": "system"},
        set_up=True,
        shows_reported_weights=True,
        threats=masking.MASKED,
        sees=masking.MASKED_SEES,
    ),
    "ckks": ChannelEntry(
        ckks.ckks_sides,
        check=ckks.ckks_terms,
        stages=2,
        rows=lambda cohort: 1,
        options={"clip": 4.0},
        min_cohort=3,
        exact=False,
        threats=ckks.CKKS,
        sees=ckks.CKKS_SEES,
    ),
}

SCREEN: Screen = defenses.screen


def make_rule(name: str, parameters: Parameters, prefilters: Sequence[tuple[str, Parameters]] = ()) -> Rule:
    """Pre-filters and the rule as the engine calls them: rows (m, d), weights (m,) -> (d,).

    Behind a pre-filter rows are no client's own, so that no weight is anybody's: they count the same.
    """
    entry = RULES[name]
    if entry.weighted and not prefilters:
        return lambda rows, weights: entry.function(rows, weights=weights, **parameters)

    def filtered(rows: Tensor, weights: Tensor) -> Tensor:
        mixed: Tensor | defenses.Mixture = rows
        for prefilter, given in prefilters:
            mixed = PREFILTERS[prefilter].function(mixed, **given)
        return entry.function(mixed, **parameters)

    return filtered


def make_weights(name: str, parameters: Parameters, prefilters: Sequence[tuple[str, Parameters]] = ()) -> Weigh | None:
    """The weights that a rule gives to rows (m, d), as (m,); None where it gives none, or to mixtures of rows only."""
    function = RULES[name].weigh
    return None if function is None or prefilters else partial(function, **parameters)


def make_attack(
    name: str, parameters: Parameters, *, seed: int, clients: int, rule: Rule, weigh: Weigh | None, krum_f: int | None
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
            "krum": partial(defenses.krum, f=most if krum_f is None else krum_f),
            "weigh": weigh,
        }
        rows = known if "f" in takes else own
        sent: Tensor = function(rows, **_taken(function, given | dict(parameters)))
        return sent

    return attack


def make_poison(name: str, parameters: Parameters, *, seed: int, classes: int, corrupt: Sequence[int]) -> Poison:
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


def make_step(name: str, parameters: Parameters) -> ServerStep:
    """The server's step with its hyper-parameters set."""
    function = STEPS[name]
    return lambda weights, estimate, state: function(weights, estimate, state, **parameters)


def parameters_of(*functions: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The hyper-parameters that a scenario may set: keyword-only ones that the run does not provide itself."""
    provided = {"generator", "weights", "start", "rule", "weigh", "krum", "classes", "part"}
    return {
        name: parameter
        for function in functions
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and name not in provided
    }
