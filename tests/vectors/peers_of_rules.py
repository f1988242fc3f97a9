"""Answers of ByzFL and Flower for tests/defenses/test_peers.py, from an environment of their own.

    .venv-peers/bin/python tests/vectors/peers_of_rules.py > tests/vectors/peers_of_rules.json

ByzFL imports torchvision for its benchmarks, and torchvision does not import with a CPU build of
torch. An empty module takes its place.
"""

import json
import sys
from importlib.metadata import version
from types import ModuleType

import numpy as np

sys.modules["byzfl.benchmark"] = ModuleType("byzfl.benchmark")
import byzfl  # noqa: E402
from flwr.server.strategy.aggregate import aggregate_bulyan, aggregate_krum  # noqa: E402

N, D, F = 11, 6, 2


def tables() -> dict[str, np.ndarray]:
    """Heavy tails, ties, and two camps; float64, short decimals."""
    draw = np.random.default_rng(20261121)
    camps = np.where(np.arange(N)[:, None] < 6, 0.0, 3.0) + draw.normal(size=(N, D))
    return {
        "heavy tails": draw.standard_t(1.5, size=(N, D)).round(6),
        "ties": draw.integers(-2, 3, size=(N, D)).astype(float),
        "two camps": camps.round(6),
    }


def bulyan(rows: np.ndarray) -> np.ndarray:
    """Flower's, on one array a client."""
    return np.asarray(
        aggregate_bulyan([([row], 1) for row in rows], F, aggregate_krum, to_keep=0)[0]
    )


RULES = {
    "median": byzfl.Median(),
    "trimmed_mean": byzfl.TrMean(F),
    "meamed": byzfl.Meamed(F),
    "krum": byzfl.Krum(F),
    "multi_krum": byzfl.MultiKrum(F),
    "geometric_median": byzfl.GeometricMedian(nu=1e-9, T=2000),
    "centered_clipping": lambda rows: byzfl.CenteredClipping(L=1, tau=2.0)(rows),
    "centered_clipping, 3 iterations": lambda rows: byzfl.CenteredClipping(L=3, tau=2.0)(rows),
    "mda": byzfl.MDA(F),
    "monna": byzfl.MoNNA(F, idx=4),
    "nearest_neighbor_mixing": byzfl.NNM(F),
    "adaptive_clipping": byzfl.ARC(F),
    "clip_norms": byzfl.Clipping(c=2.0),
    "flower krum": lambda rows: np.asarray(aggregate_krum([([row], 1) for row in rows], F, 0)[0]),
    "flower bulyan": bulyan,
}

found = {
    name: {
        "rows": rows.tolist(),
        "answers": {rule: np.asarray(call(rows.copy())).tolist() for rule, call in RULES.items()},
    }
    for name, rows in tables().items()
}
versions = {name: version(name) for name in ("byzfl", "flwr", "numpy")}
json.dump({"versions": versions, "f": F, "tables": found}, sys.stdout)
