"""Rounds between real processes: ours over both links, and Flower's FedAvg.

    make bench-deploy
    python -m benchmarks.speed.deployed --out docs/results/deploy
    python -m benchmarks.speed.deployed --links direct --rounds 6

Each side plays a federation of four sites with their Heart records; see `deployed_sides`.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.experiments.table import csv_text
from benchmarks.speed.deployed_sides import SITES, Side, play, text_of
from benchmarks.speed.deployed_table import HEART, LARGE, Row, goals, page, rows_of
from securefl import vector
from securefl.runs.threads import one_thread
from securefl.scenario.assemble.data import load_data
from securefl.scenario.assemble.public import public_parts
from securefl.scenario.assemble.site import site_parts
from securefl.scenario.scenario import parse_scenario

ENVIRONMENT = Path(".venv-flower-deployed")
SIDES = [
    Side("direct"),
    Side("direct", masked=True),
    Side("direct", evaluates=True),
    Side("direct", masked=True, evaluates=True),
    Side("direct", large=True),
    Side("direct", masked=True, large=True),
    Side("flower", masked=True, evaluates=True),
    Side("fedavg", evaluates=True),
    Side("flower"),
    Side("fedavg"),
    Side("flower", masked=True),
    Side("flower", evaluates=True),
]
NOTES = Path(__file__).with_name("deployed_notes.md")
_TRAININGS = 5


def train_seconds(side: Side) -> float:
    """Returns how long the slowest site trains in a round, alone on this machine."""
    scenario = parse_scenario(text_of(side, 1))
    data = load_data(scenario)
    with tempfile.TemporaryDirectory() as name:
        shared = public_parts(scenario, run="0" * 16)
        medians = []
        for site in range(SITES):
            ledger = Path(name) / f"{site}.jsonl"
            parts = site_parts(shared, site, data.sites[site].train, ledger=ledger)
            weights = vector.to_vector(parts.public.model)
            clocks = []
            for round in range(_TRAININGS):
                start = time.perf_counter()
                parts.trainer.fit(weights, round=round)
                clocks.append(time.perf_counter() - start)
            medians.append(statistics.median(clocks))
    return max(medians)


def measure(side: Side, rounds: int, programs: Path) -> Row:
    """Plays a side once; returns its row."""
    played = play(side, rounds, programs)
    is_ours = played.simulated is not None
    return Row(
        side.name,
        "masked" if side.masked else "plain",
        "sums" if side.evaluates else "",
        LARGE if side.large else HEART,
        rounds,
        statistics.median(mark.wall for mark in played.rounds),
        statistics.median(mark.cpu for mark in played.rounds),
        statistics.median(mark.bytes for mark in played.rounds) / SITES,
        statistics.median(mark.trips for mark in played.rounds),
        played.wall,
        played.simulated or 0.0,
        train_seconds(side) if is_ours else 0.0,
        os.getloadavg()[0],
    )


def write(out: Path, measured: Sequence[Row], machine: str) -> None:
    """Writes both files; rows that were not measured now stay."""
    table = out.with_suffix(".csv")
    now = {row.key for row in measured}
    kept = [row for row in rows_of(table) if row.key not in now] if table.exists() else []
    rows = sorted([*kept, *measured])
    table.write_text(csv_text(Row._fields, rows, digits=6), encoding="utf-8")
    notes = NOTES.read_text(encoding="utf-8") if NOTES.exists() else ""
    # From the file, so that the page shows its digits.
    out.with_suffix(".md").write_text(page(rows_of(table), machine, notes), encoding="utf-8")


def main() -> None:
    """Measures and prints; with --out, writes both files after each side."""
    parser = argparse.ArgumentParser(description=__doc__)
    links = ("direct", "flower", "fedavg")
    parser.add_argument("--links", nargs="*", choices=links, default=list(links))
    parser.add_argument("--rounds", type=int, default=9, help="on the direct link")
    parser.add_argument("--flower-rounds", type=int, default=4)
    parser.add_argument("--out", type=Path, help="path of the results, without suffix")
    chosen = parser.parse_args()
    one_thread()
    programs = (ENVIRONMENT / "bin").absolute()
    if {*chosen.links} - {"direct"} and not (programs / "flwr").exists():
        raise SystemExit(f"{programs} has no flwr: run `make {ENVIRONMENT}/.installed`")
    machine = f"Python {platform.python_version()}, torch {torch.__version__}, {platform.machine()}"
    measured: list[Row] = []
    for side in SIDES:
        if side.name in chosen.links:
            rounds = chosen.rounds if side.name == "direct" else chosen.flower_rounds
            measured.append(measure(side, rounds, programs))
            print(*measured[-1], flush=True)
            if chosen.out is not None:
                write(chosen.out, measured, machine)
    if chosen.out is not None and not measured:
        write(chosen.out, [], machine)
    for goal in goals(measured):
        print(*goal.cells, flush=True)


if __name__ == "__main__":
    main()
