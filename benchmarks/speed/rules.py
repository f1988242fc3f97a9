"""The robust rules beside ByzFL and Flower: interleaved sub-processes, CPU seconds of one thread, medians, ratios.

    python -m benchmarks.speed.rules --peer .venv-peers/bin/python --out docs/results/rules

Each side runs in an environment of its own. A ratio is the peer's median over ours in the same run.
"""

import argparse
import csv
import json
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import defenses
from benchmarks.speed.secagg import options, run

PEER_SCRIPT = Path(__file__).parent / "peer_rules.py"
TURNS = 3
RESNET18 = 11_000_000


@dataclass(frozen=True)
class Case:
    """One comparison: whose rule, on how many rows and columns, and how much faster ours has to be."""

    peer: str
    rule: str
    goal: float
    n: int = 20
    d: int = 1_000_000
    f: int = 4
    repeats: int = 3


CASES = (
    Case("byzfl", "median", 20),
    Case("byzfl", "trimmed_mean", 15),
    Case("flower", "median", 12),
    Case("flower", "trimmed_mean", 12),
    Case("byzfl", "median", 12, n=100, d=100_000, f=20),
    Case("byzfl", "trimmed_mean", 12, n=100, d=100_000, f=20),
    Case("byzfl", "meamed", 1),
    Case("byzfl", "krum", 8),
    Case("byzfl", "multi_krum", 8),
    Case("byzfl", "krum", 2.5, n=100, d=100_000, f=20),
    Case("byzfl", "multi_krum", 2.5, n=100, d=100_000, f=20),
    Case("byzfl", "geometric_median", 10),
    Case("byzfl", "centered_clipping", 8),
    Case("byzfl", "monna", 1),
    Case("byzfl", "mixing", 12),
    Case("byzfl", "mixing, krum", 35),
    Case("byzfl", "mixing, geometric_median", 45),
    Case("byzfl", "mixing, median", 18),
    Case("byzfl", "mixing, trimmed_mean", 18),
    Case("byzfl", "mda", 50, d=100_000),
    Case("flower", "bulyan", 5),
    Case("flower", "bulyan", 30, n=100, d=100_000, f=20, repeats=1),
)
REFUSES_SPOILT = (
    "mixing, monna",
)  # its pivot is a place among the rows, which a row set aside moves
PASSES = {"median": 10.0, "trimmed_mean": 10.0, "centered_clipping": 3.0}


def our_rules(f: int) -> dict[str, Callable[[Tensor], Tensor]]:
    """Ours, under the names of the cases."""
    rules: dict[str, Callable[[Any], Tensor]] = {
        "mean": defenses.mean,
        "median": defenses.median,
        "trimmed_mean": lambda rows: defenses.trimmed_mean(rows, f=f),
        "meamed": lambda rows: defenses.meamed(rows, f=f),
        "krum": lambda rows: defenses.krum(rows, f=f),
        "multi_krum": lambda rows: defenses.multi_krum(rows, f=f),
        "bulyan": lambda rows: defenses.bulyan(rows, f=f),
        "geometric_median": defenses.geometric_median,
        "centered_clipping": lambda rows: defenses.centered_clipping(rows, radius=100.0),
        "mda": lambda rows: defenses.mda(rows, f=f),
        "monna": lambda rows: defenses.monna(rows, f=f, pivot=0),
        "dnc": lambda rows: defenses.dnc(rows, f=f),
    }

    def after_mixing(rule: Callable[[Any], Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda rows: rule(defenses.nearest_neighbor_mixing(rows, f=f))

    chains = {f"mixing, {name}": after_mixing(rule) for name, rule in rules.items()}
    written = {"mixing": lambda rows: defenses.nearest_neighbor_mixing(rows, f=f).tensor()}
    return rules | chains | written


def measured(
    rule: str, *, n: int, d: int, f: int, repeats: int, spoilt: bool = False
) -> dict[str, float]:
    """CPU seconds of a call, of one pass over the rows, and the memory that the calls added to the rows'."""
    torch.set_num_threads(1)
    rows = torch.empty(n, d)
    for start in range(0, d, 100_000):
        block = np.random.default_rng(start).normal(size=(n, min(100_000, d - start)))
        rows[:, start : start + 100_000] = torch.from_numpy(block).float()
    rows[n // 2, d // 2] = torch.nan if spoilt else 0.0
    call, array = our_rules(f)[rule], rows.numpy()
    before, seconds, passes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, [], []
    for _ in range(repeats):
        begun = time.process_time()
        call(rows)
        seconds.append(time.process_time() - begun)
        begun = time.process_time()
        array.sum()
        passes.append(time.process_time() - begun)
    added = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    one_pass = statistics.median(passes)
    return {"cpu_s": statistics.median(seconds), "pass_s": one_pass, "extra": added / rows.nbytes}


def ours(rule: str, **sizes: int) -> dict[str, Any]:
    """`measured` in a process of its own."""
    return run([sys.executable, "-m", "benchmarks.speed.rules", "--rule", rule, *options(**sizes)])


def compared(case: Case, peer: str) -> dict[str, Any]:
    """Both sides in turn."""
    here, there, other = [], [], []
    sizes = {"n": case.n, "d": case.d, "f": case.f, "repeats": case.repeats}
    words = [case.rule, *options(**sizes)]
    for _ in range(TURNS):
        here.append(ours(case.rule, **sizes))
        there.append(run([peer, str(PEER_SCRIPT), case.peer, *words]))
        if case.peer == "byzfl":  # which takes arrays, too, and is faster or slower on them
            other.append(run([peer, str(PEER_SCRIPT), "byzfl-numpy", *words]))
    mine, theirs = (
        statistics.median(result["cpu_s"] for result in results) for results in (here, there)
    )
    passes = statistics.median(result["cpu_s"] / result["pass_s"] for result in here)
    row = {"rule": case.rule, "n": case.n, "d": case.d, "peer": there[0]["peer"], "goal": case.goal}
    row |= {"ours_s": mine, "peer_s": theirs, "ratio": theirs / mine, "passes": passes}
    arrays = statistics.median(result["cpu_s"] for result in other) if other else None
    return row | {"numpy_s": arrays, "numpy_ratio": arrays and arrays / mine}


def markdown(rows: list[dict[str, Any]], extra: dict[str, tuple[float, float | None]]) -> str:
    """Both tables and where they come from."""
    machine = (
        f"Python {platform.python_version()}, numpy {np.__version__}, torch {torch.__version__}"
    )
    lines = [
        "# Speed of the robust rules",
        "",
        f"`make bench-robust`; {machine}, {platform.machine()}, float32, normal",
        f"rows, f = n / 5, one thread a process. CPU time, medians of {TURNS} interleaved sub-processes. Passes: the",
        "same time in sums over all rows. Goals are against ByzFL on torch tensors, and against Flower; ByzFL on",
        "arrays is another code path, in places much faster.",
        "",
        "| rule | rows | ours | passes | peer | theirs | ratio | goal | ByzFL on arrays | ratio |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(
            f"| {row['rule']} | {row['n']} x {row['d']:.0e} | {1e3 * row['ours_s']:.1f} ms | {row['passes']:.1f}"
            f"{_passes(row)} | {row['peer']} | {1e3 * row['peer_s']:.0f} ms | {row['ratio']:.1f}x "
            f"| >= {row['goal']:g}x | {_arrays(row)} |"
            for row in rows
        ),
        "",
        "Memory beside the input, 20 rows of ResNet-18 (1.1e7 coordinates, 880 MB), all of them clean, and one of them",
        "with a NaN; goal <= 1.1x the input:",
        "",
        "| rule | extra over input | one row set aside |",
        "|---|---|---|",
        *(
            f"| {rule} | {clean:.2f}x | {'refused' if spoilt is None else f'{spoilt:.2f}x'} |"
            for rule, (clean, spoilt) in extra.items()
        ),
    ]
    return "\n".join(lines) + "\n"


def _spoilt(rule: str, **sizes: int) -> float | None:
    return None if rule in REFUSES_SPOILT else float(ours(rule, **sizes, spoilt=1)["extra"])


def _passes(row: dict[str, Any]) -> str:
    bound = PASSES.get(row["rule"]) if row["n"] == Case.n else None
    return f" (<= {bound:g})" if bound else ""


def _arrays(row: dict[str, Any]) -> str:
    return f"{1e3 * row['numpy_s']:.0f} ms | {row['numpy_ratio']:.1f}x" if row["numpy_s"] else "|"


def main() -> None:
    """Measure everything and write both files, or one rule of ours and print a JSON line."""
    parser = argparse.ArgumentParser(description="the robust rules beside ByzFL and Flower")
    parser.add_argument("--rule", help="measure this rule of ours alone")
    for name in ("n", "d", "f", "repeats", "spoilt"):
        parser.add_argument(f"--{name}", type=int, default=0)
    parser.add_argument("--peer", help="Python of the environment that has byzfl and flwr")
    parser.add_argument("--out", type=Path, help="path of the results, without suffix")
    chosen = parser.parse_args()
    if chosen.rule:
        sizes = {"n": chosen.n, "d": chosen.d, "f": chosen.f, "repeats": chosen.repeats}
        print(json.dumps(measured(chosen.rule, **sizes, spoilt=bool(chosen.spoilt))))
        return
    rows = []
    for case in CASES:
        rows.append(compared(case, chosen.peer))
        print(rows[-1], flush=True)
    sizes = {"n": 20, "d": RESNET18, "f": 4, "repeats": 1}
    extra = {rule: (ours(rule, **sizes)["extra"], _spoilt(rule, **sizes)) for rule in our_rules(4)}
    page = markdown(rows, extra)
    print(page)
    chosen.out.with_suffix(".md").write_text(page, encoding="utf-8")
    with chosen.out.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {key: f"{v:.6g}" if isinstance(v, float) else v for key, v in row.items()}
            for row in rows
        )


if __name__ == "__main__":
    main()
