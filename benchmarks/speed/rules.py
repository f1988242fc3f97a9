"""The robust rules next to ByzFL and Flower: CPU seconds of one thread, medians, ratios.

    python -m benchmarks.speed.rules --peer .venv-peers/bin/python --out docs/results/rules

Each side runs in an environment of its own, in sub-processes that take turns. A ratio is the peer's
median over ours in the same run.
"""

import argparse
import json
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import defenses
from benchmarks.experiments.table import csv_text, markdown
from benchmarks.speed.process import Answer, options, run
from securefl.runs.threads import one_thread

PEER_SCRIPT = Path(__file__).parent / "peer_rules.py"
TURNS = 3
RESNET18 = 11_000_000  # coordinates
_BLOCK = 100_000  # columns that are drawn at a time


@dataclass(frozen=True)
class Case:
    """One comparison: a peer's rule, the size of the table, and how much faster ours has to be."""

    peer: str
    rule: str
    goal: float
    n: int = 20
    d: int = 1_000_000
    f: int = 4
    repeats: int = 3


class Timing(NamedTuple):
    """Medians of one rule."""

    cpu_s: float  # of a call
    pass_s: float  # of one sum over the rows
    extra: float  # memory that the calls added, over that of the rows


class Comparison(NamedTuple):
    """Medians of both sides in CPU seconds; a ratio is the peer's over ours."""

    rule: str
    n: int
    d: int
    peer: str
    goal: float
    ours_s: float
    peer_s: float
    ratio: float
    passes: float  # ours over one sum of the rows
    numpy_s: float | None  # ByzFL on arrays
    numpy_ratio: float | None


class Memory(NamedTuple):
    """Extra memory over the input's, on clean rows and with one row that is set aside."""

    clean: float
    spoilt: float | None  # None if the rule refuses such rows


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
# Its pivot is a place among the rows, which moves when a row is set aside.
REFUSES_SPOILT = ("mixing, monna",)
LARGEST_PASSES = {"median": 10.0, "trimmed_mean": 10.0, "centered_clipping": 3.0}


def our_rules(f: int) -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    """Returns our rules, under the names of the cases."""
    rules: dict[str, Callable[[Any], torch.Tensor]] = {
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

    def after_mixing(rule: Callable[[Any], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda rows: rule(defenses.nearest_neighbor_mixing(rows, f=f))

    chains = {f"mixing, {name}": after_mixing(rule) for name, rule in rules.items()}
    written = {"mixing": lambda rows: defenses.nearest_neighbor_mixing(rows, f=f).tensor()}
    return rules | chains | written


def measured(rule: str, *, n: int, d: int, f: int, repeats: int, spoilt: bool = False) -> Timing:
    """Times a rule on normal rows (n, d); `spoilt` puts a NaN into one of them."""
    one_thread()
    rows = torch.empty(n, d)
    # In blocks: all numbers at once in float64 would hide the memory that the rule adds.
    for start in range(0, d, _BLOCK):
        block = np.random.default_rng(start).normal(size=(n, min(_BLOCK, d - start)))
        rows[:, start : start + _BLOCK] = torch.from_numpy(block).float()
    rows[n // 2, d // 2] = torch.nan if spoilt else 0.0
    call = our_rules(f)[rule]
    array = rows.numpy()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    passes = []
    for _ in range(repeats):
        start_of_call = time.process_time()
        call(rows)
        seconds.append(time.process_time() - start_of_call)
        # One pass over the rows, for scale: no rule can be faster than reading its input.
        start_of_pass = time.process_time()
        array.sum()
        passes.append(time.process_time() - start_of_pass)
    # The peak of this process so far, in KiB: only growth beyond the rows' own peak shows.
    added = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    return Timing(statistics.median(seconds), statistics.median(passes), added / rows.nbytes)


def ours(rule: str, **sizes: int) -> Answer:
    """Runs `measured` in a process of its own."""
    return run([sys.executable, "-m", "benchmarks.speed.rules", "--rule", rule, *options(**sizes)])


def compared(case: Case, peer: str) -> Comparison:
    """Runs both sides in turn."""
    here = []
    there = []
    on_arrays = []
    sizes = {"n": case.n, "d": case.d, "f": case.f, "repeats": case.repeats}
    # In turn, so that a slow moment of the machine hits both sides.
    words = [case.rule, *options(**sizes)]
    for _ in range(TURNS):
        here.append(ours(case.rule, **sizes))
        there.append(run([peer, str(PEER_SCRIPT), case.peer, *words]))
        # ByzFL takes arrays, too, and is faster or slower on them.
        if case.peer == "byzfl":
            on_arrays.append(run([peer, str(PEER_SCRIPT), "byzfl-numpy", *words]))
    mine = statistics.median(answer.number("cpu_s") for answer in here)
    theirs = statistics.median(answer.number("cpu_s") for answer in there)
    passes = statistics.median(answer.number("cpu_s") / answer.number("pass_s") for answer in here)
    arrays = None
    if on_arrays:
        arrays = statistics.median(answer.number("cpu_s") for answer in on_arrays)
    return Comparison(
        rule=case.rule,
        n=case.n,
        d=case.d,
        peer=there[0].text("peer"),
        goal=case.goal,
        ours_s=mine,
        peer_s=theirs,
        ratio=theirs / mine,
        passes=passes,
        numpy_s=arrays,
        numpy_ratio=arrays and arrays / mine,
    )


def page(rows: Sequence[Comparison], memory: Mapping[str, Memory]) -> str:
    """Returns docs/results/rules.md."""
    machine = (
        f"Python {platform.python_version()}, numpy {np.__version__}, torch {torch.__version__}"
    )
    head = (
        "rule",
        "rows",
        "ours",
        "passes",
        "peer",
        "theirs",
        "ratio",
        "goal",
        "ByzFL on arrays",
        "ratio",
    )
    lines = [
        "# Speed of the robust rules",
        "",
        f"`make bench-robust`; {machine}, {platform.machine()}, float32, normal",
        "rows, f = n / 5, one thread a process. CPU time, medians of "
        f"{TURNS} interleaved sub-processes. Passes: the",
        "same time in sums over all rows. Goals are against ByzFL on torch tensors, and against "
        "Flower; ByzFL on",
        "arrays is another code path, in places much faster.",
        "",
        *markdown(head, map(_cells, rows)),
        "",
        "Memory beside the input, 20 rows of ResNet-18 (1.1e7 coordinates, 880 MB), all of them "
        "clean, and one of them",
        "with a NaN; goal <= 1.1x the input:",
        "",
        *markdown(
            ("rule", "extra over input", "one row set aside"),
            [[rule, f"{extra.clean:.2f}x", _spoilt_cell(extra)] for rule, extra in memory.items()],
        ),
    ]
    return "\n".join(lines) + "\n"


def _cells(row: Comparison) -> list[str]:
    passes = f"{row.passes:.1f}"
    if row.n == Case.n and row.rule in LARGEST_PASSES:
        passes += f" (<= {LARGEST_PASSES[row.rule]:g})"
    arrays = ["", ""]
    if row.numpy_s is not None and row.numpy_ratio is not None:
        arrays = [f"{1e3 * row.numpy_s:.0f} ms", f"{row.numpy_ratio:.1f}x"]
    return [
        row.rule,
        f"{row.n} x {row.d:.0e}",
        f"{1e3 * row.ours_s:.1f} ms",
        passes,
        row.peer,
        f"{1e3 * row.peer_s:.0f} ms",
        f"{row.ratio:.1f}x",
        f">= {row.goal:g}x",
        *arrays,
    ]


def _spoilt_cell(extra: Memory) -> str:
    return "refused" if extra.spoilt is None else f"{extra.spoilt:.2f}x"


def memory_of(rule: str, **sizes: int) -> Memory:
    """Measures a rule's extra memory, in processes of their own."""
    clean = ours(rule, **sizes).number("extra")
    if rule in REFUSES_SPOILT:
        return Memory(clean, None)
    return Memory(clean, ours(rule, **sizes, spoilt=1).number("extra"))


def main() -> None:
    """Measures everything and writes both files, or one rule of ours and prints a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rule", help="measure this rule of ours alone")
    for name in ("n", "d", "f", "repeats", "spoilt"):
        parser.add_argument(f"--{name}", type=int, default=0)
    parser.add_argument("--peer", help="Python of the environment that has byzfl and flwr")
    parser.add_argument("--out", type=Path, help="path of the results, without suffix")
    chosen = parser.parse_args()
    if chosen.rule:
        sizes = {"n": chosen.n, "d": chosen.d, "f": chosen.f, "repeats": chosen.repeats}
        timing = measured(chosen.rule, **sizes, spoilt=bool(chosen.spoilt))
        print(json.dumps(timing._asdict()))
        return
    rows = []
    for case in CASES:
        rows.append(compared(case, chosen.peer))
        print(rows[-1], flush=True)
    sizes = {"n": 20, "d": RESNET18, "f": 4, "repeats": 1}
    text = page(rows, {rule: memory_of(rule, **sizes) for rule in our_rules(4)})
    print(text)
    table = csv_text(Comparison._fields, rows, digits=6)
    chosen.out.with_suffix(".md").write_text(text, encoding="utf-8")
    chosen.out.with_suffix(".csv").write_text(table, encoding="utf-8")


if __name__ == "__main__":
    main()
