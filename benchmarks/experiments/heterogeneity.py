"""Algorithms for unlike hospitals: uneven labels, unlike cameras, and the four hospitals of Heart.

    make bench-heterogeneity
    python -m benchmarks.experiments.heterogeneity --write docs/results

Every algorithm is tuned on two seeds of its own, over the same learning rates and as many values of
its own parameter. The figures are of five other seeds. No cell has a claim.
"""

import csv
import io
import itertools
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import securefl
from benchmarks.experiments.table import Page, Setup, csv_text, main, markdown, plus_minus
from benchmarks.experiments.unlike import ALONE, SETTINGS, Setting, Way
from securefl.data.digits import load_digits
from securefl.data.task import Task
from securefl.files import read_lines
from securefl.runs.table import mean_and_error
from securefl.studies.statistics import Noise, compare

SEEDS = range(5)
TUNING_SEEDS = (100, 101)
LAST_ROUNDS = 5
SITES = 6
_NAME = "heterogeneity"


class Cell(NamedTuple):
    """One run: its setting, its keys of [training], and its seed."""

    setting: int
    keys: tuple[tuple[str, Any], ...]
    seed: int
    only: int | None = None


class Outcome(NamedTuple):
    """The figure of a run, and the bytes a client and round."""

    accuracy: float
    up: float
    down: float
    records: int


class Row(NamedTuple):
    """One seed of one algorithm."""

    setting: str
    label: str
    chosen: str
    seed: int
    accuracy: float
    up: float
    down: float


class Network(nn.Module):
    """Two convolutions with batch norm, for images of 8 x 8 pixels."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten()),
            nn.Linear(16 * 4 * 4, task.outputs),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Returns (n, outputs)."""
        logits: Tensor = self.layers(images)
        return logits


def camera_sites(seed: int) -> list[tuple[Tensor, Tensor]]:
    """Deals the digits to sites, each of which sees them with its own contrast and blur."""
    data = load_digits(partition="pooled", split_seed=seed).pooled()
    examples = data.sites[0].train
    images = examples.features.view(-1, 1, 8, 8)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    sites = []
    for site, chosen in enumerate(order.chunk(SITES)):
        share = site / (SITES - 1)
        seen = _blurred(images[chosen], 0.3 + 0.9 * share)
        # From the full contrast, to a tenth of it on a bright ground, to its negative.
        contrast = 1.0 - 1.8 * share
        sites.append((contrast * seen + share, examples.labels[chosen]))
    return sites


def _blurred(images: Tensor, sigma: float) -> Tensor:
    """Blurs images (n, 1, h, w) by a Gaussian of 5 x 5 pixels."""
    places = torch.arange(-2, 3, dtype=torch.float32)
    line = torch.exp(-(places**2) / (2 * sigma**2))
    kernel = torch.outer(line, line)
    return nn.functional.conv2d(images, (kernel / kernel.sum()).view(1, 1, 5, 5), padding=2)


def play(cell: Cell) -> Outcome:
    """Runs one cell in a folder of its own."""
    setting = SETTINGS[cell.setting]
    scenario = {name: dict(v) if isinstance(v, dict) else v for name, v in setting.scenario.items()}
    scenario["training"].update(dict(cell.keys))
    scenario["seed"] = cell.seed
    scenario["data"]["split_seed"] = cell.seed
    if cell.only is not None:
        scenario["data"]["only"] = cell.only
    with tempfile.TemporaryDirectory() as folder:
        given: dict[str, Any] = {}
        if setting.cameras:
            given = {"data": camera_sites(cell.seed), "model": Network}
        result = securefl.run(scenario, Path(folder) / "run", **given)
        (path,) = result.folder.glob("cells/*/rounds.jsonl")
        rounds = read_lines(path)
        sites = result["sites"]
        accuracy = statistics.fmean(line["accuracy"] for line in rounds[-LAST_ROUNDS:])
        records = int(result["records"])
        if setting.by_site:
            right = sum(site["accuracy"] * site["records"] for site in sites.values())
            records = sum(site["records"] for site in sites.values())
            accuracy = right / records
        clients = len(rounds[0]["cohort"])
        up, down = (
            statistics.fmean(line[key] for line in rounds) / clients
            for key in ("bytes_up", "bytes_down")
        )
        return Outcome(accuracy, up, down, records)


def _cells(setting: int, way: Way, keys: Mapping[str, Any], seed: int) -> list[Cell]:
    """Returns the cells of one algorithm and seed: one, or one a hospital that is alone."""
    chosen = tuple({**way.keys, **keys}.items())
    if way.label != ALONE:
        return [Cell(setting, chosen, seed)]
    return [Cell(setting, chosen, seed, only) for only in range(4)]


def _joined(outcomes: Sequence[Outcome]) -> Outcome:
    """Returns the outcome over all test records."""
    records = sum(one.records for one in outcomes)
    accuracy = sum(one.accuracy * one.records for one in outcomes) / records
    return Outcome(accuracy, outcomes[0].up, outcomes[0].down, records)


def _played(setup: Setup, groups: Sequence[Sequence[Cell]]) -> list[Outcome]:
    """Plays groups of cells; returns an outcome a group."""
    flat = [cell for group in groups for cell in group]
    outcomes = iter(setup.workers.map(play, flat))
    return [_joined([next(outcomes) for _ in group]) for group in groups]


def _parts(values: Sequence[Outcome], size: int) -> list[Sequence[Outcome]]:
    return [values[start : start + size] for start in range(0, len(values), size)]


def _tried(setting: Setting, way: Way) -> list[dict[str, Any]]:
    """Returns the combinations of values that are tried for an algorithm."""
    grids = {"lr": setting.rates, **way.grids}
    return [dict(zip(grids, values, strict=True)) for values in itertools.product(*grids.values())]


def rows_of(setup: Setup) -> Iterator[Row]:
    """Tunes and measures everything."""
    for number, setting in enumerate(SETTINGS):
        for way in setting.ways:
            tried = _tried(setting, way)
            groups = [_cells(number, way, keys, seed) for keys in tried for seed in TUNING_SEEDS]
            tuned = _played(setup, groups)
            scores = [
                statistics.fmean(one.accuracy for one in part)
                for part in _parts(tuned, len(TUNING_SEEDS))
            ]
            best = tried[scores.index(max(scores))]
            outcomes = _played(setup, [_cells(number, way, best, seed) for seed in SEEDS])
            words = ", ".join(f"{key} = {value:g}" for key, value in best.items())
            for seed, one in zip(SEEDS, outcomes, strict=True):
                yield Row(setting.name, way.label, words, seed, one.accuracy, one.up, one.down)


def page(rows: Sequence[Row]) -> str:
    """Returns docs/results/heterogeneity.md."""
    lines = [
        "# Algorithms for unlike hospitals",
        "",
        "`make bench-heterogeneity`; five seeds, each with a split of its own; mean ± standard "
        "error. Each",
        f"algorithm was tuned on seeds {TUNING_SEEDS[0]} and {TUNING_SEEDS[1]}: three learning "
        "rates, and three values of its own",
        "parameter where it has one. Differences are paired by seed: mean ± standard error, and a "
        "95 % interval that allows",
        "for seeds that share most records ([studies.md](../studies.md)). Bytes are those of a "
        "client and round. Nothing is",
        "claimed; [algorithms.md](../algorithms.md) says what each does.",
    ]
    for setting in SETTINGS:
        lines += ["", f"## {setting.name}", "", *_section(setting, rows)]
    return "\n".join([*lines, ""])


def _section(setting: Setting, rows: Sequence[Row]) -> Iterator[str]:
    reference = _accuracies(setting.ways[0].label, setting, rows)
    what = (
        "accuracy at the sites, own models where there are some"
        if setting.by_site
        else (
            f"accuracy of rounds {setting.scenario['rounds'] - LAST_ROUNDS + 1} to "
            f"{setting.scenario['rounds']}"
        )
    )
    head = ("algorithm", "chosen", what, "minus FedAvg", "bytes up", "bytes down")
    table = []
    for way in setting.ways:
        own = [row for row in rows if (row.setting, row.label) == (setting.name, way.label)]
        values = [row.accuracy for row in own]
        difference = ""
        if way is not setting.ways[0]:
            differences = [own - other for own, other in zip(values, reference, strict=True)]
            found = compare(differences, Noise(setting.overlap, None))
            _, plain = mean_and_error(differences)
            difference = f"{found.mean:+.3f} ± {plain:.3f} [{found.low:+.3f}, {found.high:+.3f}]"
        up = f"{statistics.fmean(row.up for row in own):,.0f}"
        down = f"{statistics.fmean(row.down for row in own):,.0f}"
        if way.label == ALONE:
            up = down = ""
        table.append((way.label, own[0].chosen, plus_minus(values, digits=3), difference, up, down))
    yield from markdown(head, table)


def _accuracies(label: str, setting: Setting, rows: Sequence[Row]) -> list[float]:
    return [row.accuracy for row in rows if (row.setting, row.label) == (setting.name, label)]


def read_rows(text: str) -> list[Row]:
    """Reads the CSV file."""
    return [
        Row(
            line["setting"],
            line["label"],
            line["chosen"],
            int(line["seed"]),
            *(float(line[key]) for key in ("accuracy", "up", "down")),
        )
        for line in csv.DictReader(io.StringIO(text))
    ]


def measure(setup: Setup) -> Page:
    """Measures everything; the page is made from the CSV file, whose digits it shows."""
    table = csv_text(Row._fields, list(rows_of(setup)), digits=6)
    text = page(read_rows(table))
    return Page(text, {f"{_NAME}.csv": table, f"{_NAME}.md": text})


if __name__ == "__main__":
    sys.exit(main(measure, about=__doc__))
