"""One rule of ByzFL or Flower on random rows: CPU seconds of one thread, the median of some calls, as a JSON line.

Run by `benchmarks.speed.rules` in the peers' own environment. ByzFL's package imports torchvision for its benchmarks,
which does not import beside this torch: an empty module stands in for that part.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from types import ModuleType
from typing import Any

import numpy as np


def byzfl_rules(f: int) -> dict[str, Callable[[Any], Any]]:
    """ByzFL's, on torch tensors or numpy arrays."""
    sys.modules["byzfl.benchmark"] = ModuleType("byzfl.benchmark")
    import byzfl

    mixed = byzfl.NNM(f)
    rules = {
        "mean": byzfl.Average(),
        "median": byzfl.Median(),
        "trimmed_mean": byzfl.TrMean(f),
        "meamed": byzfl.Meamed(f),
        "krum": byzfl.Krum(f),
        "multi_krum": byzfl.MultiKrum(f),
        "geometric_median": byzfl.GeometricMedian(),
        "centered_clipping": lambda rows: byzfl.CenteredClipping(L=1, tau=100.0)(rows),
        "mda": byzfl.MDA(f),
        "monna": byzfl.MoNNA(f),
        "mixing": mixed,
    }
    chains = {
        f"mixing, {name}": (lambda rows, rule=rule: rule(mixed(rows)))
        for name, rule in rules.items()
    }
    return rules | chains


def flower_rules(f: int) -> dict[str, Callable[[Any], Any]]:
    """Flower's, on one array a client."""
    from flwr.server.strategy import aggregate

    def clients(rows: Any) -> list[Any]:
        return [([row], 1) for row in rows]

    return {
        "median": lambda rows: aggregate.aggregate_median(clients(rows)),
        "trimmed_mean": lambda rows: aggregate.aggregate_trimmed_avg(clients(rows), f / len(rows)),
        "krum": lambda rows: aggregate.aggregate_krum(clients(rows), f, 0),
        "bulyan": lambda rows: aggregate.aggregate_bulyan(
            clients(rows), f, aggregate.aggregate_krum, to_keep=0
        ),
    }


def main() -> None:
    """Measure one rule."""
    parser = argparse.ArgumentParser(description="one rule of a peer")
    parser.add_argument("peer", choices=["byzfl", "byzfl-numpy", "flower"])
    parser.add_argument("rule")
    for name in ("n", "d", "f", "repeats"):
        parser.add_argument(f"--{name}", type=int, required=True)
    chosen = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    name, _, backend = chosen.peer.partition("-")
    rule = {"byzfl": byzfl_rules, "flower": flower_rules}[name](chosen.f)[chosen.rule]
    array = np.random.default_rng(0).normal(size=(chosen.n, chosen.d)).astype(np.float32)
    rows = torch.from_numpy(array) if name == "byzfl" and not backend else array
    seconds = []
    for _ in range(chosen.repeats):
        begun = time.process_time()
        rule(rows)
        seconds.append(time.process_time() - begun)
    package = {"byzfl": "byzfl", "flower": "flwr"}[name]
    print(
        json.dumps({"cpu_s": statistics.median(seconds), "peer": f"{package} {version(package)}"})
    )


if __name__ == "__main__":
    main()
