"""Scores read from results.csv: by row and seed, parts of a row averaged."""

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from securefl.errors import RunFolderError
from securefl.studies.judges import Judges, noise_of
from securefl.studies.statistics import Comparison, compare

Record = Mapping[str, str]
_QUALITY = ("accuracy", "balanced_accuracy", "auc", "majority")
_CLAIMS = ("epsilon", "delta")


@dataclass(frozen=True)
class Scores:
    """metric -> row -> seed -> value (None: not measured), the states of each row's cells, and who has seeded noise."""

    values: Mapping[str, Mapping[str, Mapping[int, float | None]]]
    states: Mapping[str, tuple[str, ...]]
    seeded: frozenset[str]

    def of(self, row: str, metric: str) -> Mapping[int, float | None]:
        """Seed -> value; empty where the row has no such metric."""
        return self.values.get(metric, {}).get(row, {})

    def compare(
        self, row: str, other: str, metric: str, judges: Judges, *, than: "Scores | None" = None
    ) -> Comparison | None:
        """Row minus other on the seeds that both have; None where there is none.

        Args:
            row: whose values.
            other: what they are compared with.
            metric: of both.
            judges: the records behind both.
            than: the scores of the other row; these ones by default.
        """
        theirs = (than or self).of(other, metric)
        pairs = [(value, theirs.get(seed)) for seed, value in sorted(self.of(row, metric).items())]
        whole = [(one, two) for one, two in pairs if one is not None and two is not None]
        if not whole:
            return None
        first, second = (mean(values) for values in zip(*whole, strict=True))
        noise = noise_of(metric, first, second, judges, majority=self.majority(row))
        return compare([one - two for one, two in whole], noise)

    def majority(self, row: str) -> float | None:
        """The share of the largest class among a row's test records, the mean over seeds; None if not measured."""
        values = [value for value in self.of(row, "majority").values() if value is not None]
        return mean(values) if values else None


def read_scores(path: Path) -> Scores:
    """The scores in a results.csv. Raises RunFolderError where it cannot be read."""
    try:
        return scores(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    except (OSError, KeyError, ValueError) as reason:
        raise RunFolderError(f"cannot read {path}: {reason}") from None


def scores(records: Iterable[Record]) -> Scores:
    """The scores over all test records; parts of a row made one, once all of them have ended."""
    cells: dict[
        tuple[str, int], dict[str, dict[str, float | None]]
    ] = {}  # row, seed -> part -> metric -> value
    states: dict[str, dict[tuple[int, str], str]] = {}
    seeded = set()
    for record in records:
        row, seed, part = record["label"], int(record["seed"]), record["part"]
        states.setdefault(row, {})[seed, part] = record["state"]
        if record["noise"] == "seeded":
            seeded.add(row)
        found = cells.setdefault((row, seed), {}).setdefault(part, {})
        if record["metric"] and not record["site"]:
            found[record["metric"]] = float(record["value"]) if record["value"] else None
    values: dict[str, dict[str, dict[int, float | None]]] = {}
    for (row, seed), parts in cells.items():
        if not all(parts.values()):  # a part has not ended: the rest would pass for the whole
            continue
        for metric in dict.fromkeys(name for part in parts.values() for name in part):
            weighted = [(part.get("records") or 1.0, part.get(metric)) for part in parts.values()]
            values.setdefault(metric, {}).setdefault(row, {})[seed] = _whole(metric, weighted)
    return Scores(
        values, {row: tuple(by_cell.values()) for row, by_cell in states.items()}, frozenset(seeded)
    )


def _whole(metric: str, weighted: list[tuple[float, float | None]]) -> float | None:
    """Parts as one: quality by the mean over records, a claim by the worst, costs by the sum."""
    values = [value for _, value in weighted if value is not None]
    if len(values) < len(weighted):
        return None
    if metric in _CLAIMS or len(values) == 1:
        return max(values)
    if metric not in _QUALITY:
        return sum(values)
    return sum(weight * value for (weight, _), value in zip(weighted, values, strict=True)) / sum(
        w for w, _ in weighted
    )
