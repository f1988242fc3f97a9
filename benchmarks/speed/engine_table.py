"""The table of the engine next to its peers: rows, ratios and the page."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.experiments.table import markdown

OURS = "ours"
WHOLE_RUN = "A"  # its rounds with start-up have goals
WHOLE_GOALS = {"CPU": 5.0, "wall": 5.0, "memory": 2.0}


class Row(NamedTuple):
    """Medians of one side."""

    workload: str
    side: str
    version: str
    processes: int
    rounds: int  # of a run; all but the first count
    runs: int  # whose medians these are
    cpu_s: float  # of a round
    wall_s: float
    whole_cpu_s: float  # of the run, start-up included
    whole_wall_s: float
    whole_mb: float  # peak over all processes

    @property
    def figures(self) -> tuple[float, ...]:
        """All that is measured, in the order of Ratio."""
        return (self.cpu_s, self.wall_s, self.whole_cpu_s, self.whole_wall_s, self.whole_mb)

    @classmethod
    def read(cls, cells: Mapping[str, str]) -> "Row":
        """Returns a row of the CSV file."""
        return cls(
            cells["workload"],
            cells["side"],
            cells["version"],
            int(cells["processes"]),
            int(cells["rounds"]),
            int(cells["runs"]),
            *(float(cells[name]) for name in cls._fields[6:]),
        )


class Ratio(NamedTuple):
    """A peer's figures over ours with as many processes; above 1, ours is better."""

    cpu: float
    wall: float
    whole_cpu: float
    whole_wall: float
    memory: float


def ratios(rows: Sequence[Row]) -> dict[Row, Ratio]:
    """Returns the ratio of each peer's row."""
    ours = {(row.workload, row.processes): row for row in rows if row.side == OURS}
    found = {}
    for row in rows:
        if row.side != OURS:
            base = ours[row.workload, row.processes]
            found[row] = Ratio(*(b / a for a, b in zip(base.figures, row.figures, strict=True)))
    return found


def slower(rows: Sequence[Row]) -> list[str]:
    """Returns where a peer's round takes less than ours."""
    return [
        f"{clock} of {row.workload} than {_label(row)} ({value:.2f}x)"
        for row, ratio in ratios(rows).items()
        for clock, value in (("CPU", ratio.cpu), ("wall", ratio.wall))
        if value <= 1
    ]


def page(rows: Sequence[Row], machine: str) -> str:
    """Returns docs/results/engine.md."""
    ratio_of = ratios(rows)
    head = ("workload", "side", "processes", "CPU", "wall", "CPU ratio", "wall ratio")
    versions = sorted({row.version for row in rows if row.side != OURS})
    run_counts = dict.fromkeys((row.workload, row.runs) for row in rows)
    runs = ", ".join(f"{number} of {workload}" for workload, number in run_counts)
    behind = "; ".join(slower(rows)) or "nowhere"
    lines = [
        "# Speed of rounds",
        "",
        f"`make bench-engine`; {machine}, one thread a process; peers: {', '.join(versions)}.",
        f"Medians of sub-processes that take turns, {runs}. A ratio is the peer's figure over",
        "ours with as many processes; the goal is more than 1. Where other work shares the "
        "cores, read the ratios of CPU.",
        "Wall seconds of sides that ran minutes apart say less, and ratios within a tenth of 1 "
        "nothing.",
        "",
        *markdown(head, (_cells(row, ratio_of.get(row)) for row in rows)),
        "",
        f"Ours takes more: {behind}.",
        "",
        "A: 10 clients x 500 images, CNN of 207k parameters with group norm, batches of 32. "
        "B: 100 clients x 50, CNN of",
        "9k, batches of 10. Bm: B with an MLP of 79.5k. C: A with DP-SGD, clip 1, noise 1. One "
        "local epoch of SGD on",
        "images of 28 x 28 x 1, ten classes; the server measures accuracy on 100 records each "
        "round. The first round of a",
        'run does not count. Ours stacks clients in B and Bm (`engine.stack = "auto"`).',
        "",
        "In C, Flower's client follows its example with Opacus, and fluke runs its DPFedAVG, also "
        "on Opacus; their noise",
        "is torch's, ours the system's. pfl adds its noise to a round's sum, which is another "
        "mechanism, and is left out.",
        "fluke trains in one process on a CPU.",
        *_whole_run([row for row in rows if row.workload == WHOLE_RUN], ratio_of),
    ]
    return "\n".join(lines) + "\n"


def _whole_run(rows: Sequence[Row], ratio_of: Mapping[Row, Ratio]) -> list[str]:
    """Returns the lines about runs with their start-up, if they were measured."""
    if not rows:
        return []
    figures = ("CPU", "wall", "memory")
    head = ("side", "processes", *figures, *(f"{figure} ratio" for figure in figures))
    goals = ", ".join(f"{figure} >= {goal:g}x" for figure, goal in WHOLE_GOALS.items())
    return [
        "",
        f"## A whole run of {WHOLE_RUN}",
        "",
        f"{rows[0].rounds} rounds with start-up and end, seen from outside: all processes "
        "together, memory at its peak,",
        f"shared memory counted once. Goals against Flower: {goals}.",
        "",
        *markdown(head, (_whole_cells(row, ratio_of.get(row)) for row in rows)),
    ]


def _label(row: Row) -> str:
    return f"{row.side} with {row.processes} process{'es' if row.processes > 1 else ''}"


def _cells(row: Row, ratio: Ratio | None) -> list[str]:
    shown = [f"{row.cpu_s:.3f} s", f"{row.wall_s:.3f} s"]
    compared = ["", ""] if ratio is None else [f"{value:.2f}x" for value in ratio[:2]]
    return [row.workload, row.side, str(row.processes), *shown, *compared]


def _whole_cells(row: Row, ratio: Ratio | None) -> list[str]:
    seconds = [f"{row.whole_cpu_s:.1f} s", f"{row.whole_wall_s:.1f} s"]
    compared = ["", "", ""] if ratio is None else [f"{value:.2f}x" for value in ratio[2:]]
    return [row.side, str(row.processes), *seconds, f"{row.whole_mb:.0f} MB", *compared]


def rows_of(path: Path) -> list[Row]:
    """Reads the CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return [Row.read(cells) for cells in csv.DictReader(file)]
