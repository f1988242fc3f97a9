"""UCI Heart Disease: 740 complete records of four hospitals, embedded in the package.

Janosi, Steinbrunn, Pfisterer and Detrano, UCI Machine Learning Repository 1989, CC BY 4.0. The protocol is the
one that federated benchmarks use: slope, ca and thal are dropped, then incomplete records; chol = 0 ("not
measured", all of Switzerland) stays in. The file holds the same records as the four processed files of the
repository (compared as multisets; one Hungarian record stands at another place).
"""

import csv
import hashlib
import io
from functools import lru_cache
from importlib import resources
from itertools import groupby

import torch
from torch import Tensor

from securefl.data.task import Examples, FederatedData, Site, Task, concatenate
from securefl.errors import DataError
from securefl.rng import seeded_keystream

SHA256 = "60d144e0c92ea4c3452f927a4996effdf11e787015be8abe5417e913eba6e8ac"
HOSPITALS = ("cleveland", "hungarian", "switzerland", "va")
TRAIN_RECORDS = {"natural": (200, 173, 31, 86), "halves": (100, 100, 87, 86, 16, 15, 44, 42)}
TEST_RECORDS = {"natural": (103, 88, 15, 44), "halves": (52, 51, 45, 43, 8, 7, 22, 22)}
TUNING_RECORDS = {"natural": (150, 130, 23, 64), "halves": (76, 74, 66, 64, 12, 11, 32, 32)}

# Declared by this project before any record is read, in the units of the file; values outside are clamped.
# Adults in a stress test: age in years; resting and exercise values as a sphygmomanometer, a cholesterol assay,
# an ECG (220 beats/min is the usual age-free ceiling) and its ST reading in mm can show them.
RANGES = {
    "age": (20, 90),
    "trestbps": (80, 220),
    "chol": (0, 600),
    "thalach": (60, 220),
    "oldpeak": (-3, 7),
}
BINARY = ("sex", "fbs", "exang")
LEVELS = {"cp": (1, 2, 3, 4), "restecg": (0, 1, 2)}
FEATURES = len(RANGES) + len(BINARY) + sum(map(len, LEVELS.values()))
TASK = Task(features=FEATURES, classes=2)

_TRAIN_SHARE = 0.66
_TUNING_SHARE = 0.75  # of a class's training records; the others choose learning rates


def load_heart(
    *, partition: str, split_seed: int, test_on: str | None = None, fold: int | None = None
) -> FederatedData:
    """The four hospitals, or eight sites when each is cut in two.

    Args:
        partition: "natural" or "halves".
        split_seed: which records of each class are training records; equal seeds give equal splits.
        test_on: "validation" trains on three quarters of each class's training records and judges on the
            others; no test record is touched.
        fold: which quarter judges, 0 to 3; 0 by default.

    Raises:
        DataError: the embedded file is damaged.
    """
    records = _read(resources.files("securefl.data").joinpath("heart_disease.csv").read_bytes())
    sites: list[Site] = []
    for index, hospital in enumerate(HOSPITALS):
        order = _shuffled_classes(records[hospital].labels, split_seed, index)
        parts = [_parts(members, test_on, fold or 0) for members in order]
        sites += _sites(hospital, records[hospital], parts, 2 if partition == "halves" else 1)
    tests = [site.test for site in sites if site.test is not None]
    return FederatedData(TASK, tuple(sites), concatenate(tests))


@lru_cache(maxsize=1)  # the cells of a grid that one process runs share it; nobody writes into it
def _read(data: bytes) -> dict[str, Examples]:
    """Complete records by hospital, scaled."""
    if (found := hashlib.sha256(data).hexdigest()) != SHA256:
        raise DataError(
            f"heart_disease.csv is damaged: SHA-256 is {found}, not {SHA256}; install securefl again"
        )
    needed = ("num", *RANGES, *BINARY, *LEVELS)
    rows = [
        row
        for row in csv.DictReader(io.StringIO(data.decode()))
        if all(row[name] for name in needed)
    ]
    by_hospital = {
        name: list(group) for name, group in groupby(rows, key=lambda row: row["hospital"])
    }
    return {
        name: Examples(
            torch.tensor([_features(row) for row in group], dtype=torch.float32),
            torch.tensor([int(float(row["num"]) > 0) for row in group]),
        )
        for name, group in by_hospital.items()
    }


def _features(row: dict[str, str]) -> list[float]:
    """Scaled to [-1, 1] by the declared ranges; categories one-hot."""
    scaled = [
        2 * (min(max(float(row[name]), low), high) - low) / (high - low) - 1
        for name, (low, high) in RANGES.items()
    ]
    binary = [float(row[name]) for name in BINARY]
    return (
        scaled
        + binary
        + [float(float(row[name]) == level) for name, levels in LEVELS.items() for level in levels]
    )


def _parts(members: list[int], test_on: str | None, fold: int) -> tuple[list[int], list[int]]:
    """The records of one class that train, and those that judge; a class of one or two is not cut."""
    train, test = _cut(members, _TRAIN_SHARE)
    if test_on != "validation":
        return train, test
    start = fold * len(_cut(train, _TUNING_SHARE)[1])
    return _cut(train[start:] + train[:start], _TUNING_SHARE)


def _cut(members: list[int], share: float) -> tuple[list[int], list[int]]:
    """The first `share` of the members, and the rest."""
    end = len(members) if len(members) < 3 else round(share * len(members))
    return members[:end], members[end:]


def _sites(
    hospital: str, examples: Examples, parts: list[tuple[list[int], list[int]]], pieces: int
) -> list[Site]:
    """The hospital as one site, or dealt class by class to several; `parts` has each class's two lists of records."""
    names = [hospital] if pieces == 1 else [f"{hospital}-{letter}" for letter in "ab"]
    return [
        Site(
            name,
            _take(examples, [i for train, _ in parts for i in train[piece::pieces]]),
            _take(examples, [i for _, judging in parts for i in judging[piece::pieces]]),
        )
        for piece, name in enumerate(names)
    ]


def _shuffled_classes(labels: Tensor, split_seed: int, hospital: int) -> list[list[int]]:
    """Indices of each class, in an order that the seed decides."""
    order = []
    for label in (0, 1):
        members = torch.nonzero(labels == label).squeeze(1)
        shuffle = seeded_keystream(split_seed, "heart split", hospital, label).permutation(
            len(members)
        )
        order.append(members[torch.from_numpy(shuffle)].tolist())
    return order


def _take(examples: Examples, indices: list[int]) -> Examples:
    chosen = sorted(indices)
    return Examples(examples.features[chosen], examples.labels[chosen])
