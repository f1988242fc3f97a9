"""A round of the engine next to rounds of Flower's simulation, pfl and fluke; also whole runs.

    make bench-engine
    python -m benchmarks.speed.engine_peers --out docs/results/engine
    python -m benchmarks.speed.engine_peers --workloads Bm --peers pfl --rounds 3 --repeats 1

Each side runs in an environment of its own, in sub-processes that take turns. All train the same
model on the same records (`benchmarks.speed.workloads`). A ratio is the peer's median over ours
with as many processes, in the same session.
"""

import argparse
import platform
import statistics
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.experiments.table import csv_text
from benchmarks.speed import watch
from benchmarks.speed.engine_table import OURS, Row, page, ratios, rows_of
from benchmarks.speed.process import options
from benchmarks.speed.workloads import WORKLOADS

STACKED = ("B", "Bm")  # many clients share a small model


class Peer(NamedTuple):
    """How a peer is run."""

    environment: str  # made by make bench-engine
    script: str
    processes: tuple[int, ...]
    private: bool  # trains with DP-SGD, by itself or by a documented use of Opacus


PEERS = {
    "flower": Peer(".venv-flower-sim", "peer_flower", (2,), private=True),
    "pfl": Peer(".venv-pfl", "peer_pfl", (1, 2), private=False),
    "fluke": Peer(".venv-fluke", "peer_fluke", (1,), private=True),
}


class Side(NamedTuple):
    """Ours or a peer, with its worker processes."""

    name: str
    processes: int


def sides(workload: str, peers: Iterable[str]) -> Iterator[Side]:
    """Yields all that is measured on a workload."""
    yield from (Side(OURS, processes) for processes in (1, 2))
    for name in peers:
        if PEERS[name].private or not WORKLOADS[workload].private:
            yield from (Side(name, processes) for processes in PEERS[name].processes)


def command(side: Side, workload: str, rounds: int) -> list[str]:
    """Returns the command that measures a side.

    Raises:
        SystemExit: the peer's environment is missing.
    """
    if side.name == OURS:
        stack = "auto" if workload in STACKED else "off"
        chosen = options(workloads=workload, side=side.processes, rounds=rounds, stack=stack)
        return [sys.executable, "-m", "benchmarks.speed.engine", *chosen]
    peer = PEERS[side.name]
    python = Path(peer.environment) / "bin" / "python"
    if not python.exists():
        raise SystemExit(
            f"{side.name} needs its own environment, and {python} does not exist: run "
            f"`make {peer.environment}/.installed`, or leave {side.name} out of --peers"
        )
    start = [str(python.absolute())]
    # pfl starts no processes itself: its documentation uses torchrun.
    if side.name == "pfl" and side.processes > 1:
        start += ["-m", "torch.distributed.run", f"--nproc_per_node={side.processes}"]
    module = f"benchmarks.speed.{peer.script}"
    chosen = options(workload=workload, rounds=rounds, workers=side.processes)
    return [*start, "-m", module, *chosen]


class Measured(NamedTuple):
    """One run of one side."""

    version: str
    figures: tuple[float, ...]  # in the order of Row, from cpu_s on


def measure(side: Side, command: Sequence[str]) -> Measured:
    """Runs a side once.

    Raises:
        SystemExit: it failed, or its model did not change.
    """
    answer, whole = watch.run(command)
    version = f"torch {torch.__version__}"
    if side.name != OURS:
        version = answer.text("peer")
        if not answer.number("moved") > 0:
            raise SystemExit(f"{version} trained nothing")
    spent = (answer.number("cpu"), answer.number("wall"))
    return Measured(version, (*spent, whole.cpu, whole.wall, whole.peak / 1e6))


def compared(workload: str, peers: Sequence[str], rounds: int, repeats: int) -> list[Row]:
    """Runs all sides of a workload in turns; returns their medians."""
    commands = {side: command(side, workload, rounds) for side in sides(workload, peers)}
    runs: dict[Side, list[Measured]] = {side: [] for side in commands}
    for _ in range(repeats):
        for side, words in commands.items():
            runs[side].append(measure(side, words))
            print(workload, *side, *runs[side][-1].figures, flush=True)
    return [
        Row(
            workload,
            side.name,
            measured[0].version,
            side.processes,
            rounds,
            len(measured),
            *map(statistics.median, zip(*(run.figures for run in measured), strict=True)),
        )
        for side, measured in runs.items()
    ]


def write(out: Path, measured: Sequence[Row], machine: str) -> None:
    """Writes both files; rows of workloads that were not measured now stay."""
    table = out.with_suffix(".csv")
    now = {row.workload for row in measured}
    kept = [row for row in rows_of(table) if row.workload not in now] if table.exists() else []
    names = list(WORKLOADS)
    rows = sorted([*kept, *measured], key=lambda row: names.index(row.workload))
    table.write_text(csv_text(Row._fields, rows, digits=6), encoding="utf-8")
    # From the file, so that the page shows its digits.
    out.with_suffix(".md").write_text(page(rows_of(table), machine), encoding="utf-8")


def main() -> None:
    """Measures and prints; with --out, writes both files after each workload."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, help="path of the results, without suffix")
    chosen = parser.parse_args()
    for workload in chosen.workloads:
        for side in sides(workload, chosen.peers):
            command(side, workload, chosen.rounds)  # a missing environment is told at once
    machine = f"Python {platform.python_version()}, torch {torch.__version__}, {platform.machine()}"
    for workload in chosen.workloads:
        rows = compared(workload, chosen.peers, chosen.rounds, chosen.repeats)
        for row, ratio in ratios(rows).items():
            print(workload, row.side, row.processes, ratio, flush=True)
        if chosen.out is not None:
            write(chosen.out, rows, machine)


if __name__ == "__main__":
    main()
