"""Rules that choose whole clients under one masked sum, next to rows in the clear, among liars.

    make bench-selection
    python -m benchmarks.experiments.selection --write docs/results

Scenarios are those of `selections.py`; what each channel shows is measured as in `sketches.py`.
"""

import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from time import process_time
from typing import Any, NamedTuple
from unittest import mock

import securefl
from benchmarks.experiments import sketch_choices, sketch_mixes, sketch_questions
from benchmarks.experiments.selection_page import (
    AUCS,
    COSTS,
    MIXES,
    PLAYED,
    REHEARSED,
    SKETCH,
    Cell,
    Shown,
    page,
    read_cells,
    read_shown,
)
from benchmarks.experiments.selections import (
    CHANNELS,
    CLIENTS,
    GROUPS,
    LIES,
    MEAN,
    NONE,
    ROWS,
    SIZES,
    Way,
    rules_of,
    scenario_of,
    ways,
)
from benchmarks.experiments.sketch_rounds import DEALS
from benchmarks.experiments.table import Page, Setup, csv_text, main
from securefl.channels.masking.build import MASKED
from securefl.channels.masking.sketches.rehearsal import rehearsed_sides
from securefl.scenario import catalog

SEEDS = range(5)
_NAME = "selection"
_TIMED_ROUNDS = 10
_PLAYED_ATTACKS = ("adaptive", LIES)


class Job(NamedTuple):
    """One run: its way, its seed, and how it is played."""

    way: Way
    seed: int
    played: str


@contextmanager
def rehearsing() -> Iterator[None]:
    """Lets runs of this process rehearse the masked channel in the clear."""
    masked = replace(MASKED, sides=rehearsed_sides)
    with mock.patch.dict(catalog.CHANNELS, {"masked": masked}):
        yield


def jobs() -> list[Job]:
    """Returns all runs; some of those that are rehearsed are played over the channel, too."""
    found = [
        Job(way, seed, REHEARSED if way.sketched else PLAYED) for way in ways() for seed in SEEDS
    ]
    both = [
        Way(SKETCH, rule, attack, "IID") for rule in rules_of(SKETCH) for attack in _PLAYED_ATTACKS
    ]
    return found + [Job(way, SEEDS[0], PLAYED) for way in both]


def play(job: Job) -> Cell:
    """Runs one job in a folder of its own."""
    with rehearsing() if job.played == REHEARSED else nullcontext():
        metrics = _run(scenario_of(job.way, seed=job.seed))
    found = {int(client) for client in metrics.get("named") or {}}
    found |= {client for pair in metrics.get("paired") or () for client in pair}
    liars = set(range(job.way.liars))
    return Cell(
        *job.way,
        job.seed,
        job.played,
        metrics["accuracy"],
        metrics["abandoned"],
        len(found & liars),
        len(found - liars),
    )


def _run(values: dict[str, Any]) -> Mapping[str, Any]:
    """Returns the metrics of a run; its folder goes."""
    with tempfile.TemporaryDirectory() as folder:
        return securefl.run(values, Path(folder) / "run").metrics


def aucs(seed: int) -> list[Shown]:
    """Returns membership AUCs of all channels, of one seed."""
    found = sketch_questions.measured(seed)
    observers = {
        MEAN: (sketch_questions.SUM, sketch_questions.SUM_ASKED),
        GROUPS: (sketch_questions.GROUP, sketch_questions.GROUP_ASKED),
        # One more update tells the server nothing that it does not see.
        ROWS: (sketch_questions.FULL, sketch_questions.FULL),
        **{
            f"sketch {size}": (sketch_questions.SUM, sketch_questions.asked_by(size))
            for size in SIZES
        },
    }
    rows = []
    for channel, names in observers.items():
        values = [found[name][rounds] for name in names for rounds in (0, -1)]
        rows += [Shown(channel, figure, value) for figure, value in zip(AUCS, values, strict=True)]
    return rows


def mixes(seed: int) -> list[Shown]:
    """Returns R2 of class mixes of all channels but the one sum, of one seed."""
    views = {GROUPS: sketch_mixes.GROUPS, ROWS: sketch_mixes.WHOLE}
    by_deal = [sketch_mixes.mixes(alpha, seed) for alpha in DEALS.values()]
    rows = []
    for channel in CHANNELS:
        if channel == MEAN:
            continue
        found = [mixes[views.get(channel, channel)] for mixes in by_deal]
        values = [value for mix in found for value in (mix.several, mix.asked)]
        rows += [Shown(channel, figure, value) for figure, value in zip(MIXES, values, strict=True)]
    return rows


def costs(channel: str) -> list[Shown]:
    """Returns bytes and CPU time of a round over a channel, after the first one."""
    way = Way(channel, next(rules_of(channel)), NONE, "IID")
    measured = []
    for rounds in (1, 1 + _TIMED_ROUNDS):
        begun = process_time()
        metrics = _run(scenario_of(way, seed=0, rounds=rounds))
        clock = process_time() - begun
        measured.append((metrics["bytes_up"] / CLIENTS, metrics["bytes_down"] / CLIENTS, clock))
    values = [(many - one) / _TIMED_ROUNDS for one, many in zip(*measured, strict=True)]
    return [Shown(channel, figure, value) for figure, value in zip(COSTS, values, strict=True)]


def measure(setup: Setup) -> Page:
    """Measures everything; the page is made from the CSV files, whose digits it shows."""
    waiting: list[Future[list[Shown]]] = [
        setup.workers.submit(aucs, seed) for seed in sketch_questions.SEEDS
    ]
    waiting += [setup.workers.submit(mixes, seed) for seed in sketch_choices.SEEDS]
    cells = list(setup.workers.map(play, jobs()))
    shown = [row for rows in waiting for row in rows.result()]
    for channel in CHANNELS:
        shown += setup.workers.submit(costs, channel).result()
    tables = csv_text(Cell._fields, cells, digits=6), csv_text(Shown._fields, shown, digits=6)
    text = page(read_cells(tables[0]), read_shown(tables[1]))
    names = (f"{_NAME}.csv", f"{_NAME}-channels.csv", f"{_NAME}.md")
    return Page(text, dict(zip(names, (*tables, text), strict=True)))


if __name__ == "__main__":
    sys.exit(main(measure, about=__doc__))
