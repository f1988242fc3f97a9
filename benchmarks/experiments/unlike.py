"""Records, models and algorithms of the experiment of unlike hospitals, and what is tried."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Way(NamedTuple):
    """An algorithm and the values that are tried.

    Attributes:
        label: in the table.
        keys: of [training].
        grids: key of [training] -> values.
    """

    label: str
    keys: Mapping[str, Any]
    grids: Mapping[str, Sequence[Any]]


class Setting(NamedTuple):
    """Records, a model, and the algorithms on them.

    Attributes:
        name: of the section.
        scenario: all but the algorithm and the seed.
        ways: the first one is the reference.
        rates: learning rates that are tried.
        by_site: whether the figure is the accuracy at the sites, after the last round; else it is
            that of the global model, over the last rounds.
        cameras: whether the records are those of unlike cameras.
        overlap: records that judge over records that train, which each seed draws again.
    """

    name: str
    scenario: Mapping[str, Any]
    ways: tuple[Way, ...]
    rates: tuple[float, ...]
    by_site: bool = False
    cameras: bool = False
    overlap: float = 0.3 / 0.7


ALONE = "each hospital alone"
FEDAVG = Way("FedAvg", {}, {})
DIGITS = Setting(
    "digits, Dirichlet .1, 20 clients, 5 local epochs",
    {
        "rounds": 40,
        "weights": "equal",
        "data": {"name": "digits", "partition": "dirichlet", "alpha": 0.1, "clients": 20},
        "model": {"name": "mlp", "hidden": [32]},
        "training": {"kind": "sgd", "epochs": 5, "batch": 32},
    },
    (
        FEDAVG,
        Way("FedProx", {"algorithm": "fedprox"}, {"mu": (0.01, 0.1, 1.0)}),
        Way("SCAFFOLD", {"algorithm": "scaffold"}, {}),
        Way("FedDyn", {"algorithm": "feddyn"}, {"alpha": (0.01, 0.1, 1.0)}),
        Way("FedNova", {"algorithm": "fednova"}, {}),
    ),
    (0.03, 0.1, 0.3),
)
CAMERAS = Setting(
    "digits at six sites with cameras of their own, CNN with batch norm",
    {
        "rounds": 20,
        "weights": "equal",
        "data": {"test_share": 0.3},
        "training": {"kind": "sgd", "epochs": 1, "batch": 16},
    },
    (FEDAVG, Way("FedBN", {"algorithm": "fedbn"}, {})),
    (0.03, 0.1, 0.3),
    by_site=True,
    cameras=True,
)
HEART = Setting(
    "Heart, four hospitals, an MLP of 8",
    {
        "rounds": 20,
        "data": {"name": "heart"},
        "model": {"name": "mlp", "hidden": [8]},
        "training": {"kind": "sgd", "epochs": 2, "batch": 32},
    },
    (
        FEDAVG,
        Way(ALONE, {}, {}),
        Way("Ditto", {"algorithm": "ditto"}, {"lam": (0.1, 1.0, 10.0)}),
        Way("FedRep", {"algorithm": "fedrep", "head_epochs": 1}, {}),
        Way("FedAvg, fine-tuned", {}, {"fine_tune": (1, 3, 10)}),
    ),
    (0.03, 0.1, 0.3),
    by_site=True,
    overlap=250 / 490,
)
SETTINGS = (DIGITS, CAMERAS, HEART)
