"""Scores read from results.csv: by row and seed, parts of a row averaged."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from securefl.errors import RunFolderError
from securefl.studies.judges import Judges, noise_of
from securefl.studies.statistics import Comparison, compare

Record = Mapping[str, str]  # a line of results.csv
QUALITY = ("accuracy", "balanced_accuracy", "auc", "majority")
CLAIMS = ("epsilon", "delta")


@dataclass(frozen=True)
class Scores:
    """The numbers of a study.

    Args:
        values: metric -> row -> seed -> value; None is not measured.
        states: row -> the states of its cells.
        seeded: the rows with noise from a seed.
    """

    values: Mapping[str, Mapping[str, Mapping[int, float | None]]]
    states: Mapping[str, tuple[str, ...]]
    seeded: frozenset[str]

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
        first, second = [], []
        for seed in sorted(ours):
            one, two = ours[seed], theirs.get(seed)
            if one is not None and two is not None:
                first.append(one)
                second.append(two)
        if not first:
            return None
        majority = self.majority(row)
        noise = noise_of(metric, mean(first), mean(second), judges, majority=majority)
        return compare([one - two for one, two in zip(first, second, strict=True)], noise)

    def majority(self, row: str) -> float | None:
        """Returns the share of the largest class in a row's test records, averaged over seeds.

        None where it was not measured.
        """
        values = [value for value in self.of(row, "majority").values() if value is not None]
        return mean(values) if values else None


def read_scores(path: Path) -> Scores:
    """Returns the scores in a results.csv. Raises RunFolderError where it cannot be read."""
    try:
        return scores(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    except (OSError, KeyError, ValueError) as reason:
        raise RunFolderError(f"cannot read {path}: {reason}") from None


def scores(records: Iterable[Record]) -> Scores:
    """Returns the scores over all test records; the parts of a row count once all have ended."""
    # (row, seed) -> part -> metric -> value
    cells: dict[tuple[str, int], dict[str, dict[str, float | None]]] = {}
    states: dict[str, dict[tuple[int, str], str]] = {}
    seeded = set()
    for record in records:
        row, seed, part = record["label"], int(record["seed"]), record["part"]
        states.setdefault(row, {})[seed, part] = record["state"]
        if record["noise"] == "seeded":
            seeded.add(row)
        metrics = cells.setdefault((row, seed), {}).setdefault(part, {})
        # A site's own numbers are no part of the row's; a cell that has not ended has no metric.
        if record["metric"] and not record["site"]:
            metrics[record["metric"]] = float(record["value"]) if record["value"] else None
    values: dict[str, dict[str, dict[int, float | None]]] = {}
    for (row, seed), parts in cells.items():
        for metric, value in _of_all_parts(parts).items():
            values.setdefault(metric, {}).setdefault(row, {})[seed] = value
    states_by_row = {row: tuple(by_cell.values()) for row, by_cell in states.items()}
    return Scores(values, states_by_row, frozenset(seeded))


def _of_all_parts(parts: Mapping[str, Mapping[str, float | None]]) -> dict[str, float | None]:
    """The metrics of a row with one seed, from those of its parts."""
    # While a part has not ended, the others would pass for the whole.
    if not all(parts.values()):
        return {}
    metrics = dict.fromkeys(metric for part in parts.values() for metric in part)
    records = [part.get("records") or 1.0 for part in parts.values()]
    return {
        metric: _whole(metric, [part.get(metric) for part in parts.values()], records)
        for metric in metrics
    }


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
    return sum(n * value for n, value in zip(records, measured, strict=True)) / sum(records)
