"""Other ways to federate: peers under attack, sites in turn, regions, no lockstep.

    make bench-topologies
    python -m benchmarks.experiments.topologies --write docs

Each way is tuned on two seeds of its own over three learning rates, without an attack. The figures
are of five other seeds. No run has a claim. The folder of --write is docs: the page and its table
go to its results, the figure to its figures.
"""

import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import securefl
from benchmarks.experiments.meetings import (
    CLOCK,
    FEDAVG,
    RATES,
    SLOW,
    Way,
    scenario_of,
    ways,
)
from benchmarks.experiments.table import Page, Setup, csv_text, main
from benchmarks.experiments.topologies_page import (
    NEARLY,
    TUNING_SEEDS,
    Row,
    curves,
    page,
    points,
    read_rows,
    smooth,
    span,
)
from securefl import vector
from securefl.files import read_lines
from securefl.learning.evaluate import evaluate
from securefl.runs.checkpoint import load_checkpoint
from securefl.scenario.assemble.parts import parts
from securefl.scenario.scenario import make_scenario
from securefl.ui.figures import draw_clocks

SEEDS = range(5)
_NAME = "topologies"


class Job(NamedTuple):
    """One run: the number of its way, its learning rate and seed."""

    way: int
    lr: float
    seed: int


def play(job: Job) -> Row:
    """Runs one way in a folder of its own."""
    way = ways()[job.way]
    values = scenario_of(way, seed=job.seed, lr=job.lr)
    with tempfile.TemporaryDirectory() as folder:
        result = securefl.run(values, Path(folder) / "run")
        (cell,) = result.folder.glob("cells/*")
        rounds = read_lines(cell / "rounds.jsonl")
        accuracy, slow_share, slow_accuracy, curve = result["accuracy"], None, None, ""
        if way.section == CLOCK:
            accuracy = smooth([line["accuracy"] for line in rounds], span(way))[-1]
            given = [client for line in rounds for client in line["survivors"]]
            slow_share = sum(client in SLOW for client in given) / len(given)
            slow_accuracy = _on_slow(cell / "model.safetensors", way, job)
            curve = " ".join(f"{line['clock']}:{line['accuracy']:.4f}" for line in rounds)
        worst, consensus = result.metrics.get("worst"), result.metrics.get("consensus")
        sent = float(sum(line["bytes_up"] + line["bytes_down"] for line in rounds))
    return Row(
        job.way,
        job.lr,
        job.seed,
        accuracy,
        worst,
        consensus,
        sent,
        None,
        slow_share,
        slow_accuracy,
        curve,
    )


def _on_slow(model: Path, way: Way, job: Job) -> float:
    """Returns the accuracy of a run's model on the records that slow clients train on."""
    scenario = make_scenario(scenario_of(way, seed=job.seed, lr=job.lr))
    with tempfile.TemporaryDirectory() as folder:
        made = parts(scenario, run="", ledgers=Path(folder))
    vector.load_vector(made.model, load_checkpoint(model).state.weights)
    judged = [evaluate(made.model, made.data.task, made.data.sites[site].train) for site in SLOW]
    right = sum((one.accuracy or 0.0) * one.records for one in judged)
    return right / sum(one.records for one in judged)


def _with_times(rows: Sequence[Row]) -> list[Row]:
    """Returns the rows with the times at which they come near FedAvg's accuracy of their seed."""
    known = ways()
    goals = {
        (known[row.way].deal, row.seed): row.accuracy - NEARLY
        for row in rows
        if (known[row.way].section, known[row.way].label) == (CLOCK, FEDAVG)
    }
    timed = []
    for row in rows:
        if known[row.way].section == CLOCK:
            goal = goals[known[row.way].deal, row.seed]
            clocks, values = points(row)
            near = [clock for clock, value in zip(clocks, values, strict=True) if value >= goal]
            row = row._replace(reached=float(near[0]) if near else None)
        timed.append(row)
    return timed


def rows_of(setup: Setup) -> list[Row]:
    """Tunes and measures everything."""
    known = ways()
    groups = {way.tuned_as: number for number, way in reversed(list(enumerate(known)))}
    jobs = [
        Job(number, lr, seed) for number in groups.values() for lr in RATES for seed in TUNING_SEEDS
    ]
    scores: dict[tuple[int, float], list[float]] = {}
    for row in setup.workers.map(play, jobs):
        scores.setdefault((row.way, row.lr), []).append(row.accuracy)
    chosen = {
        # Of equal scores the smaller rate.
        key: -max((statistics.fmean(scores[number, lr]), -lr) for lr in RATES)[1]
        for key, number in groups.items()
    }
    measured = setup.workers.map(
        play,
        [
            Job(number, chosen[way.tuned_as], seed)
            for number, way in enumerate(known)
            for seed in SEEDS
        ],
    )
    return _with_times(list(measured))


def measure(setup: Setup) -> Page:
    """Measures everything; page and figure are made from the CSV file, whose digits they show."""
    table = csv_text(Row._fields, rows_of(setup), digits=6)
    rows = read_rows(table)
    text = page(rows)
    if setup.folder is not None:
        draw_clocks(setup.folder / f"figures/{_NAME}.svg", curves(rows))
    return Page(text, {f"results/{_NAME}.csv": table, f"results/{_NAME}.md": text})


if __name__ == "__main__":
    sys.exit(main(measure, about=__doc__))
