"""Times one rule of ByzFL or Flower on random rows: median CPU seconds, one thread, a JSON line.

Run by `benchmarks.speed.rules` in the peers' own environment.
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
    """Returns ByzFL's rules, which take torch tensors or numpy arrays."""
    # For its benchmarks ByzFL imports torchvision, which does not import next to this torch. An
    # empty module replaces that part.
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
    """Returns Flower's rules, which take one array per client."""
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
    """Times one rule and prints it."""
    parser = argparse.ArgumentParser(description="one rule of a peer")
    parser.add_argument("peer", choices=["byzfl", "byzfl-numpy", "flower"])
    parser.add_argument("rule")
    for name in ("n", "d", "f", "repeats"):
        parser.add_argument(f"--{name}", type=int, required=True)
    chosen = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    name, _, backend = chosen.peer.partition("-")
    rules_of = {"byzfl": byzfl_rules, "flower": flower_rules}[name]
    rule = rules_of(chosen.f)[chosen.rule]
    array = np.random.default_rng(0).normal(size=(chosen.n, chosen.d)).astype(np.float32)
    rows = torch.from_numpy(array) if name == "byzfl" and not backend else array
    seconds = []
    for _ in range(chosen.repeats):
        start = time.process_time()
        rule(rows)
        seconds.append(time.process_time() - start)
    package = {"byzfl": "byzfl", "flower": "flwr"}[name]
    peer = f"{package} {version(package)}"
    print(json.dumps({"cpu_s": statistics.median(seconds), "peer": peer}))


if __name__ == "__main__":
    main()
