"""Name -> callable: the only tables, and the only file here that knows attacks and defenses by name."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

import attacks
import defenses
from securefl.channels import build
from securefl.data import digits, heart, medmnist, medmnist_info, partition
from securefl.data.download import OnBytes
from securefl.data.task import FederatedData, Task
from securefl.models import images, linear
from securefl.rng import Keystream, seeded_keystream
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
class PrefilterEntry:
    """What is done to rows before a rule, and how many rows it needs for a given f."""

    function: Callable[..., defenses.Mixture]
    minimum_rows: Callable[[int], int] = lambda f: 1


@dataclass(frozen=True)
class DataEntry:
    """A data set: its loader, its own partitions with the public training sizes of their sites, and the usual one.

    task: what its records are, by size for images; fetch: see to it that a published file is on this disk;
    options: further keys of the data table that its loader takes, with their defaults.
    """

    load: Callable[..., FederatedData]
    partitions: Mapping[str, tuple[int, ...]]
    usual: str
    task: Callable[..., Task]
    license: str
    fetch: Callable[[int, OnBytes], object] | None = None
    sizes: tuple[int, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def records(self) -> int:
        """Training records in all."""
        return sum(next(iter(self.partitions.values())))


@dataclass(frozen=True)
class DealEntry:
    """A way to deal pooled records to clients, the scenario keys it takes, and its public sizes if it has any."""

    deal: Callable[[Tensor, int, partition.Skew, Keystream], list[Tensor]]  # labels (n,), clients, skew, stream
    takes: tuple[str, ...] = ()
    sizes: Callable[[int, int], tuple[int, ...]] | None = None  # records, clients -> sizes
    by_class: bool = False


@dataclass(frozen=True)
class ChannelEntry:
    """A way updates travel: how it is built and checked, its stages, rows of a cohort, options, and who sees what.

    min_cohort is the default where the options do not settle it; set_up says that a client can miss the session's.
    """

    sides: Callable[..., build.Sides]
    stages: int
    rows: Callable[[int], int]
    threats: Mapping[str, str]
    options: Mapping[str, Any] = field(default_factory=dict)
    check: Callable[..., object] = lambda plan: None
    min_cohort: int = 1
    set_up: bool = False


DEFAULT_CLIENTS = 10


def _medmnist(name: str) -> DataEntry:
    """One MedMNIST set; nothing is read from disk yet but the medmnist package's table."""
    sizes, smallest = medmnist_info.sizes(name), medmnist_info.source(name)
    return DataEntry(
        lambda partition, split_seed, size, test_on: medmnist.load_medmnist(
            medmnist_info.source(name, size), partition=partition, test_on=test_on
        ),
        partitions={"pooled": (smallest.records.train,)},
        usual="iid",
        task=lambda size: medmnist_info.source(name, size).task,
        license=smallest.license,
        fetch=lambda size, on_bytes: medmnist.fetch(medmnist_info.source(name, size), on_bytes=on_bytes),
        sizes=sizes,
        options={"size": sizes[0], "test_on": "test"},
    )


DATA: Mapping[str, DataEntry] = {
    "heart": DataEntry(
        heart.load_heart,
        partitions=heart.TRAIN_RECORDS,
        usual="natural",
        task=lambda: heart.TASK,
        license="CC BY 4.0",
    ),
    "digits": DataEntry(
        digits.load_digits,
        partitions={"pooled": (digits.TRAIN_RECORDS,)},
        usual="iid",
        task=lambda: digits.TASK,
        license="CC BY 4.0",
    ),
    **{f"medmnist:{name}": _medmnist(name) for name in medmnist_info.names()},
}

DEALS: Mapping[str, DealEntry] = {
    "iid": DealEntry(
        lambda labels, clients, skew, stream: partition.iid(len(labels), clients=clients, stream=stream),
        sizes=lambda records, clients: partition.iid_sizes(records, clients=clients),
    ),
    "dirichlet": DealEntry(
        lambda labels, clients, skew, stream: partition.dirichlet(
            labels, clients=clients, alpha=skew.alpha, minimum=skew.minimum, stream=stream
        ),
        takes=("alpha", "minimum"),
        by_class=True,
    ),
    "quantity": DealEntry(
        lambda labels, clients, skew, stream: partition.quantity(
            len(labels), clients=clients, alpha=skew.alpha, minimum=skew.minimum, stream=stream
        ),
        takes=("alpha", "minimum"),
    ),
    "pathological": DealEntry(
        lambda labels, clients, skew, stream: partition.pathological(
            labels, clients=clients, classes=skew.classes, stream=stream
        ),
        takes=("classes",),
        by_class=True,
    ),
}

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
    "krum": RuleEntry(defenses.krum, minimum_rows=defenses.krum_minimum_rows),
    "multi_krum": RuleEntry(defenses.multi_krum, minimum_rows=defenses.krum_minimum_rows),
    "bulyan": RuleEntry(defenses.bulyan, minimum_rows=defenses.bulyan_minimum_rows),
    "geometric_median": RuleEntry(defenses.geometric_median, minimum_rows=lambda f: 1),
    "centered_clipping": RuleEntry(defenses.centered_clipping, minimum_rows=lambda f: 1),
    "mda": RuleEntry(defenses.mda, minimum_rows=defenses.mda_minimum_rows),
    "dnc": RuleEntry(defenses.dnc, minimum_rows=defenses.mda_minimum_rows),
}

PREFILTERS: Mapping[str, PrefilterEntry] = {
    "nearest_neighbor_mixing": PrefilterEntry(defenses.nearest_neighbor_mixing, defenses.mda_minimum_rows),
    "adaptive_clipping": PrefilterEntry(defenses.adaptive_clipping, defenses.mda_minimum_rows),
    "clip_norms": PrefilterEntry(defenses.clip_norms),
}

ATTACKS: Mapping[str, Callable[..., Tensor]] = {
    "sign_flip": attacks.sign_flip,
    "gaussian": attacks.gaussian,
    "zero": attacks.zero,
    "non_finite": attacks.non_finite,
    "inner_product": attacks.inner_product,
    "a_little_is_enough": attacks.a_little_is_enough,
    "min_max": attacks.min_max,
    "min_sum": attacks.min_sum,
}

STEPS: Mapping[str, Callable[..., Any]] = {
    "fedavg": server.fedavg,
    "fedavgm": server.fedavgm,
    "fedadam": server.fedadam,
}

CHANNELS: Mapping[str, ChannelEntry] = {
    "plain": ChannelEntry(
        build.plain_sides,
        stages=1,
        rows=lambda cohort: cohort,
        threats={
            "server": "every update and its client",
            "network": "the same, unless a transport encrypts it",
            "other clients": "the global models",
        },
    ),
    "masked": ChannelEntry(
        build.masked_sides,
        check=build.masked_terms,
        stages=5,
        rows=lambda cohort: 1,
        options={"ring": 32, "clip": 4.0, "rounding": "stochastic", "corrupt": 1},
        set_up=True,
        threats={
            "server": "the sum over each block's survivors, and who survived; no single update",
            "server with up to `corrupt` clients of a sum": "the sum over its honest survivors, two or more",
            "n - 1 colluding clients": "the last one's update, exactly; only noise protects it (dp_sgd)",
            "network": "what the server sees; what it forges, replays or swaps is dropped",
            "other clients": "the global models, hence the sum, and who took part",
        },
    ),
    "ckks": ChannelEntry(
        build.ckks_sides,
        check=build.ckks_terms,
        stages=2,
        rows=lambda cohort: 1,
        options={"clip": 4.0},
        min_cohort=3,
        threats={
            "server": "ciphertexts it cannot open, their number, and who took part; no update, no sum, no model",
            "server with one client": "every update: each client holds the key (masking has no such limit)",
            "key holders (all clients)": "the sum and the global models; n - 1 of them the last one's update",
            "network": "what the server sees; that nobody swaps it is for the transport to see to (TLS)",
        },
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


def make_attack(name: str, parameters: Parameters, *, seed: int, clients: int) -> Attack:
    """The attack as the adversary calls it: honest rows (f, d), round -> rows (f, d); clients are those of a round."""
    function = ATTACKS[name]
    takes = inspect.signature(function).parameters

    def attack(rows: Tensor, round: int) -> Tensor:
        known: dict[str, Any] = {"f": len(rows), "n": clients}
        if "generator" in takes:
            known["generator"] = seeded_keystream(seed, "attack", round).torch_generator()
        return function(rows, **{key: known[key] for key in takes if key in known}, **parameters)

    return attack


def make_step(name: str, parameters: Parameters) -> ServerStep:
    """The server's step with its hyper-parameters set."""
    function = STEPS[name]
    return lambda weights, estimate, state: function(weights, estimate, state, **parameters)


def parameters_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The hyper-parameters that a scenario may set: keyword-only ones that the run does not provide itself."""
    provided = {"generator", "weights", "start"}
    return {
        name: parameter
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and name not in provided
    }
