"""Intervals over test images for studies of noise in three places, and the shares that it costs.

Run:  python -m benchmarks.experiments.medical_privacy runs/medical-privacy --write docs/results

The studies are medical-privacy and noise-shares. A study's own tables have the error over seeds.
All seeds of a MedMNIST set share its test images, so that the error of those is added here: images
are drawn anew, and seeds, too, where two places of noise are compared.
"""

import argparse
import csv
import io
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.experiments.bootstrap import DRAWS, Array, areas, interval, resampled, share_lost
from benchmarks.experiments.table import markdown
from securefl import vector
from securefl.data.task import FederatedData
from securefl.errors import RunFolderError
from securefl.learning.evaluate import predict
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.folder import RunFolder
from securefl.runs.threads import one_thread
from securefl.scenario.assemble.data import load_data
from securefl.scenario.assemble.trainers import build_model
from securefl.scenario.scenario import make_scenario

PLACES = ("local", "distributed", "central")
NONE = "none"  # the place of a row without a claim
GOAL_SHARE = 1 / 3  # of what local noise loses against central noise
GOAL_AUC = {"BreastMNIST": 0.82, "PneumoniaMNIST": 0.96}  # at epsilon 3, without local noise
RANDOMNESS = 17


class Row(NamedTuple):
    """The AUC of one row of the study on one data set.

    Attributes:
        data: the data set.
        epsilon: as the study writes it.
        place: of the noise, or "none".
        auc: mean over seeds.
        low: 2.5th percentile over draws of test images.
        high: 97.5th percentile.
        share: what the place loses against central noise, over what local noise loses; NaN for
            other places than shares.
        share_low: 2.5th percentile over draws of seeds and test images.
        share_high: 97.5th percentile.
    """

    data: str
    epsilon: str
    place: str
    auc: float
    low: float
    high: float
    share: float = math.nan
    share_low: float = math.nan
    share_high: float = math.nan


class Judged(NamedTuple):
    """Probabilities (n, classes) of one seed's model on its test records, and their labels."""

    seed: int
    scores: Array
    labels: NDArray[np.int64]


def judged(folder: Path) -> dict[tuple[str, str, str], list[Judged]]:
    """Returns (data, epsilon, place) -> the seeds of a row, for sets with one test split.

    Raises:
        RunFolderError: a cell has not ended.
    """
    runs = RunFolder.open(folder)
    request = runs.request()
    data: dict[str, FederatedData] = {}
    rows: dict[tuple[str, str, str], list[Judged]] = {}
    for use in request.uses:
        scenario = make_scenario(dict(request.cells[use.cell]))
        name = use.levels["data"]
        if not scenario.data.name.startswith("medmnist:"):
            continue
        checkpoint = runs.named(use.cell).checkpoint
        if not checkpoint.exists():
            raise RunFolderError(f"{use.label!r} has not ended: finish the study first")
        if name not in data:
            data[name] = load_data(scenario)
        test, task = data[name].test, data[name].task
        model = build_model(scenario, task)
        vector.load_vector(model, load_checkpoint(checkpoint).state.weights)
        scores = predict(model, task, test.features).numpy()
        key = (name, use.levels.get("privacy.epsilon", NONE), use.levels.get("place", NONE))
        rows.setdefault(key, []).append(Judged(use.seed or 0, scores, test.labels.numpy()))
    return {key: sorted(seeds, key=lambda one: one.seed) for key, seeds in rows.items()}


def measured(rows: Mapping[tuple[str, str, str], Sequence[Judged]]) -> list[Row]:
    """Returns the figures of every row."""
    drawn: dict[tuple[str, str, str], list[Array]] = {}
    for key, seeds in rows.items():
        records = len(seeds[0].labels)
        counts = resampled(records, DRAWS, seed=RANDOMNESS)
        # The records as they are come first.
        counts = np.concatenate([np.ones((1, records)), counts])
        drawn[key] = [areas(one.scores, one.labels, counts) for one in seeds]
    found = []
    order = list(dict.fromkeys(data for data, _, _ in drawn))
    in_sections = sorted(drawn.items(), key=lambda item: order.index(item[0][0]))
    for (data, epsilon, place), seeds_areas in in_sections:
        over_images = interval(np.mean(seeds_areas, axis=0))
        row = Row(data, epsilon, place, *over_images)
        if place == "distributed":
            central, local = (drawn[data, epsilon, other] for other in ("central", "local"))
            lost = share_lost(central, seeds_areas, local, seed=RANDOMNESS)
            row = row._replace(share=lost.value, share_low=lost.low, share_high=lost.high)
        found.append(row)
    return found


def csv_of(rows: Sequence[Row]) -> str:
    """Returns the rows as CSV, numbers to six digits."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(Row._fields)
    for row in rows:
        writer.writerow([f"{value:.6g}" if isinstance(value, float) else value for value in row])
    return out.getvalue()


def read_rows(text: str) -> list[Row]:
    """Returns the rows of `csv_of`."""
    lines = csv.DictReader(io.StringIO(text))
    return [
        Row(
            line["data"],
            line["epsilon"],
            line["place"],
            *(float(line[name]) for name in Row._fields[3:]),
        )
        for line in lines
    ]


def page(rows: Sequence[Row], study: str) -> str:
    """Returns docs/results/<study>-images.md."""
    name = f"{study}-images"
    lines = [
        "# Local, distributed and central noise on test images",
        "",
        f"Made by `python -m benchmarks.experiments.medical_privacy runs/{study} --write "
        f"docs/results` from the models of the study [{study}]({study}.md); the "
        f"numbers: [{name}.csv]({name}.csv).",
        "",
        f"AUC, the mean over the study's seeds, and its 95 % interval over {DRAWS} draws of the "
        "test images with replacement. Seeds alone have a smaller error, since they share the "
        "images.",
        "",
        *_areas(rows),
        "",
        "## What shares cost, over what local noise costs",
        "",
        "(central - distributed) / (central - local), of mean AUCs; the interval is over draws of "
        "seeds and of test images together, in pairs. Goal for BreastMNIST and PneumoniaMNIST: at "
        "most a third. Where both cost next to nothing, the share is a ratio of two small numbers, "
        "and its interval says so.",
        "",
        *_shares(rows),
        "",
        "## Epsilon 3",
        "",
        *_best(rows),
        "",
    ]
    return "\n".join(lines)


def _areas(rows: Sequence[Row]) -> Iterator[str]:
    table: list[tuple[str, ...]] = []
    for data, epsilon in dict.fromkeys((row.data, row.epsilon) for row in rows):
        by_place = {row.place: row for row in rows if (row.data, row.epsilon) == (data, epsilon)}
        if NONE in by_place:
            table.append((data, "none", "", "", _area(by_place[NONE])))
        else:
            table.append((data, epsilon, *(_area(by_place[place]) for place in PLACES)))
    yield from markdown(("data", "epsilon", *PLACES), table)


def _area(row: Row) -> str:
    return f"{row.auc:.3f} [{row.low:.3f}, {row.high:.3f}]"


def _shares(rows: Sequence[Row]) -> Iterator[str]:
    table = []
    for row in rows:
        if math.isnan(row.share):
            continue
        verdict = ""
        if row.data in GOAL_AUC:
            verdict = "met" if row.share <= GOAL_SHARE else "NOT met"
        share = f"{row.share:.2f} [{row.share_low:.2f}, {row.share_high:.2f}]"
        table.append((row.data, row.epsilon, share, verdict))
    yield from markdown(("data", "epsilon", "share", "goal"), table)


def _best(rows: Sequence[Row]) -> Iterator[str]:
    for data, goal in GOAL_AUC.items():
        own = [row for row in rows if row.data == data and float_of(row.epsilon) == 3]
        for row in sorted(own, key=lambda row: -row.auc):
            verdict = "met" if row.auc >= goal else "NOT met"
            yield f"- {data}, {row.place} noise: {_area(row)} (goal {goal:g}: {verdict})."


def float_of(epsilon: str) -> float:
    """Returns an epsilon as a number; infinite where nothing is claimed."""
    return math.inf if epsilon == NONE else float(epsilon)


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes page and numbers from a finished study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="run folder of the study")
    parser.add_argument("--write", type=Path, required=True, help="folder for the results")
    chosen = parser.parse_args(arguments)
    one_thread()
    rows = read_rows(csv_of(measured(judged(chosen.folder))))
    study = chosen.folder.name
    name = f"{study}-images"
    (chosen.write / f"{name}.csv").write_text(csv_of(rows), encoding="utf-8")
    (chosen.write / f"{name}.md").write_text(page(rows, study), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
