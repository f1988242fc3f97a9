"""Scores read from results.csv: by row and seed, parts of a row averaged."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from securefl.errors import RunFolderError
from securefl.runs.metrics import (
    METRICS_OF_CLASSES,
    METRICS_OF_SEVERAL,
    METRICS_OF_TARGETS,
    METRICS_WITHIN_SITES,
)
from securefl.studies.judges import Judges, noise_of
from securefl.studies.statistics import Comparison, compare

Record = Mapping[str, str]  # a line of results.csv
Metrics = dict[str, float | None]  # metric -> value, None for not measured
QUALITY = (
    *METRICS_OF_CLASSES,
    *METRICS_OF_TARGETS,
    *METRICS_OF_SEVERAL,
    *METRICS_WITHIN_SITES,
)
CLAIMS = ("epsilon", "delta")


@dataclass(frozen=True)
class Scores:
    """The numbers of a study.

    Args:
        values: metric -> row -> seed -> value; None is not measured.
        states: row -> the states of its cells.
        seeded: the rows with noise from a seed.
        long: the rows that run only where that is asked for.
    """

    values: Mapping[str, Mapping[str, Mapping[int, float | None]]]
    states: Mapping[str, tuple[str, ...]]
    seeded: frozenset[str]
    long: frozenset[str] = frozenset()

    def of(self, row: str, metric: str) -> Mapping[int, float | None]:
        """Returns seed -> value; empty where the row has no such metric."""
        return self.values.get(metric, {}).get(row, {})

    def compare(
        self, row: str, other: str, metric: str, judges: Judges, *, than: "Scores | None" = None
    ) -> Comparison | None:
        """Compares two rows on the seeds that both have; None where there is no such seed.

        Args:
            row: whose values.
            other: the row that is subtracted.
            metric: of both.
            judges: the test records behind both.
            than: the scores of the other row; these ones by default.
        """
        ours = self.of(row, metric)
        theirs = (than or self).of(other, metric)
        our_values = []
        their_values = []
        differences = []
        for seed in sorted(ours):
            our_value = ours[seed]
            their_value = theirs.get(seed)
            if our_value is None or their_value is None:
                continue
            our_values.append(our_value)
            their_values.append(their_value)
            differences.append(our_value - their_value)
        if not differences:
            return None
        noise = noise_of(
            metric,
            mean(our_values),
            mean(their_values),
            judges,
            majority=self.majority(row),
        )
        return compare(differences, noise)

    def majority(self, row: str) -> float | None:
        """Returns the share of the largest class in a row's test records, averaged over seeds.

        None where it was not measured.
        """
        values = self.of(row, "majority").values()
        measured = [value for value in values if value is not None]
        return mean(measured) if measured else None


def read_scores(path: Path) -> Scores:
    """Returns the scores in a results.csv. Raises RunFolderError where it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
        records = csv.DictReader(io.StringIO(text))
        return scores(records)
    except (OSError, KeyError, ValueError) as reason:
        raise RunFolderError(f"cannot read {path}: {reason}") from None


def scores(records: Iterable[Record]) -> Scores:
    """Returns the scores over all test records; the parts of a row count once all have ended."""
    # (row, seed) -> part -> its metrics
    cells: dict[tuple[str, int], dict[str, Metrics]] = {}
    states: dict[str, dict[tuple[int, str], str]] = {}
    seeded = set()
    for record in records:
        row = record["label"]
        seed = int(record["seed"])
        part = record["part"]
        states_of_row = states.setdefault(row, {})
        states_of_row[seed, part] = record["state"]
        if record["noise"] == "seeded":
            seeded.add(row)
        parts = cells.setdefault((row, seed), {})
        metrics = parts.setdefault(part, {})
        # A site's own numbers are no part of the row's; a cell that has not ended has no metric.
        metric = record["metric"]
        if metric and not record["site"]:
            value = record["value"]
            metrics[metric] = float(value) if value else None
    states_by_row = {row: tuple(by_cell.values()) for row, by_cell in states.items()}
    return Scores(_by_metric(cells), states_by_row, frozenset(seeded))


def _by_metric(
    cells: Mapping[tuple[str, int], Mapping[str, Metrics]],
) -> dict[str, dict[str, dict[int, float | None]]]:
    """The values as `Scores` holds them, one for all parts of a row and seed."""
    values: dict[str, dict[str, dict[int, float | None]]] = {}
    for (row, seed), parts in cells.items():
        for metric, value in _of_all_parts(parts).items():
            by_row = values.setdefault(metric, {})
            by_seed = by_row.setdefault(row, {})
            by_seed[seed] = value
    return values


def _of_all_parts(parts: Mapping[str, Metrics]) -> Metrics:
    """The metrics of a row with one seed, from those of its parts."""
    # While a part has not ended, the others would pass for the whole.
    if not all(parts.values()):
        return {}
    metrics = dict.fromkeys(metric for part in parts.values() for metric in part)
    # Parts whose records were not counted weigh the same.
    records = [part.get("records") or 1.0 for part in parts.values()]
    whole: Metrics = {}
    for metric in metrics:
        values = [part.get(metric) for part in parts.values()]
        whole[metric] = _whole(metric, values, records)
    return whole


def _whole(metric: str, values: Sequence[float | None], records: Sequence[float]) -> float | None:
    """One value for all parts: the mean over records for quality, the worst claim, summed costs."""
    measured = [value for value in values if value is not None]
    if len(measured) < len(values):
        return None
    # A claim about all parts is that of the worst one.
    if metric in CLAIMS or len(measured) == 1:
        return max(measured)
    if metric not in QUALITY:
        return sum(measured)
    weighted = [n * value for n, value in zip(records, measured, strict=True)]
    return sum(weighted) / sum(records)
