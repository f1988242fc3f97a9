"""Writes UCI Heart Disease as visits.csv, with the split of `data.name = "heart"` as a column.

python examples/heart/make_visits.py visits.csv --split-seed 0
python examples/heart/make_visits.py sites --each  # one file a hospital, such as sites/va.csv
"""

import argparse
import csv
import io
from collections import defaultdict
from importlib import resources
from pathlib import Path

from securefl.data.heart import BINARY, HOSPITALS, LEVELS, MIN_RECORDS_TO_CUT, RANGES, TRAIN_SHARE
from securefl.rng import seeded_keystream

USED = ("num", *RANGES, *BINARY, *LEVELS)


def make_visits(path: Path, *, split_seed: int) -> None:
    """Writes the records that securefl ships, and which of them train."""
    write(path, split_visits(split_seed))


def make_hospitals(folder: Path, *, split_seed: int) -> None:
    """Writes the same records as one file a hospital."""
    folder.mkdir(exist_ok=True)
    rows = split_visits(split_seed)
    for hospital in HOSPITALS:
        own = [row for row in rows if row["hospital"] == hospital]
        write(folder / f"{hospital}.csv", own)


def write(path: Path, rows: list[dict[str, str]]) -> None:
    """Writes rows as CSV."""
    with path.open("w", encoding="utf-8", newline="") as output:
        writer = csv.DictWriter(output, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def split_visits(split_seed: int) -> list[dict[str, str]]:
    """Returns the records that securefl ships, with a column that says which of them train."""
    file = resources.files("securefl.data").joinpath("heart_disease.csv")
    rows = list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8"))))
    classes = defaultdict[tuple[int, int], list[int]](list)
    for index, row in enumerate(rows):
        # The schema leaves out incomplete records, so that they need no split.
        if all(row[name] for name in USED):
            key = (HOSPITALS.index(row["hospital"]), int(float(row["num"]) > 0))
            classes[key].append(index)
    train = set[int]()
    for (hospital, label), members in classes.items():
        stream = seeded_keystream(split_seed, "heart split", hospital, label)
        order = stream.permutation(len(members))
        end = len(members)
        if end >= MIN_RECORDS_TO_CUT:
            end = round(TRAIN_SHARE * end)
        train |= {members[place] for place in order[:end]}
    return [
        {**row, "split": "train" if index in train else "test"} for index, row in enumerate(rows)
    ]


def main() -> None:
    """Writes what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--split-seed", type=int, default=0)
    parser.add_argument("--each", action="store_true", help="a folder with one file a hospital")
    options = parser.parse_args()
    make = make_hospitals if options.each else make_visits
    make(options.path, split_seed=options.split_seed)


if __name__ == "__main__":
    main()
