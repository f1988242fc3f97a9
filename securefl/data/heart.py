"""UCI Heart Disease: 740 complete records of four hospitals, embedded in the package.

Janosi, Steinbrunn, Pfisterer and Detrano, UCI Machine Learning Repository 1989, CC BY 4.0. The
protocol is the one that federated benchmarks use: slope, ca and thal are dropped, then incomplete
records; chol = 0 ("not measured", all of Switzerland) stays in. The file holds the same records as
the four processed files of the repository (compared as multisets; one Hungarian record is at
another place).
"""

import csv
import hashlib
import io
from functools import lru_cache
from importlib import resources
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

from securefl.data.task import Examples, FederatedData, Site, Task, concatenate
from securefl.errors import DataError
from securefl.rng import seeded_keystream

SHA256 = "60d144e0c92ea4c3452f927a4996effdf11e787015be8abe5417e913eba6e8ac"
HOSPITALS = ("cleveland", "hungarian", "switzerland", "va")
TRAIN_RECORDS = {
    "natural": (200, 173, 31, 86),
    "halves": (100, 100, 87, 86, 16, 15, 44, 42),
}
TEST_RECORDS = {
    "natural": (103, 88, 15, 44),
    "halves": (52, 51, 45, 43, 8, 7, 22, 22),
}
TUNING_RECORDS = {
    "natural": (150, 130, 23, 64),
    "halves": (76, 74, 66, 64, 12, 11, 32, 32),
}

# Declared by this project before any record is read, in the units of the file, so that scaling
# releases nothing; values outside are clamped. Adults in a stress test: age in years; resting and
# exercise values as a sphygmomanometer, a cholesterol assay, an ECG (220 beats/min is the usual
# age-free ceiling) and its ST reading in mm can show them.
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

TRAIN_SHARE = 0.66
# Of a class's training records; the other ones choose learning rates.
TUNING_SHARE = 0.75
# A class of fewer records is not cut: all of them train.
MIN_RECORDS_TO_CUT = 3


class _Cut(NamedTuple):
    """Indices of the records of one class."""

    train: list[int]
    judging: list[int]


def load_heart(
    *,
    partition: str,
    split_seed: int,
    test_on: str | None = None,
    fold: int | None = None,
) -> FederatedData:
    """Returns the four hospitals, or eight sites when each is cut in two.

    Args:
        partition: "natural" or "halves".
        split_seed: decides which records of each class are training records; equal seeds give equal
            splits.
        test_on: "validation" trains on three quarters of each class's training records and judges
            on the others; no test record is touched.
        fold: which quarter judges, 0 to 3; 0 by default.

    Raises:
        DataError: the embedded file is damaged.
    """
    file = resources.files("securefl.data").joinpath("heart_disease.csv")
    records = _read(file.read_bytes())
    pieces = 2 if partition == "halves" else 1
    sites: list[Site] = []
    for index, hospital in enumerate(HOSPITALS):
        classes = _shuffled_classes(records[hospital].labels, split_seed, index)
        cuts = [_split(members, test_on, fold or 0) for members in classes]
        sites += _sites(hospital, records[hospital], cuts, pieces)
    tests = [site.test for site in sites if site.test is not None]
    return FederatedData(TASK, tuple(sites), concatenate(tests))


# The cells of a grid that one process runs share the records; nobody writes into them.
@lru_cache(maxsize=1)
def _read(data: bytes) -> dict[str, Examples]:
    """Returns complete records by hospital, scaled."""
    digest = hashlib.sha256(data).hexdigest()
    if digest != SHA256:
        raise DataError(
            f"heart_disease.csv is damaged: SHA-256 is {digest}, not {SHA256}; install securefl"
            " again"
        )
    needed = ("num", *RANGES, *BINARY, *LEVELS)
    rows = csv.DictReader(io.StringIO(data.decode()))
    complete = [row for row in rows if all(row[name] for name in needed)]
    # The file has the hospitals one after another, as groupby needs them.
    groups = groupby(complete, key=lambda row: row["hospital"])
    return {hospital: _examples(list(group)) for hospital, group in groups}


def _examples(rows: list[dict[str, str]]) -> Examples:
    features = torch.tensor([_features(row) for row in rows], dtype=torch.float32)
    # num counts narrowed vessels; any above 0 is a diagnosis.
    labels = torch.tensor([int(float(row["num"]) > 0) for row in rows])
    return Examples(features, labels)


def _features(row: dict[str, str]) -> list[float]:
    """Returns numbers scaled to [-1, 1] by the declared ranges, and one-hot categories."""
    features = []
    for name, (low, high) in RANGES.items():
        clamped = min(max(float(row[name]), low), high)
        scaled = 2 * (clamped - low) / (high - low) - 1
        features.append(scaled)
    features += [float(row[name]) for name in BINARY]
    for name, levels in LEVELS.items():
        category = float(row[name])
        features += [float(category == level) for level in levels]
    return features


def _split(members: list[int], test_on: str | None, fold: int) -> _Cut:
    """Returns the records of one class that train, and those that judge."""
    cut = _cut(members, TRAIN_SHARE)
    if test_on != "validation":
        return cut
    # Each fold turns another quarter of the training records to the end, where it judges.
    quarter = len(_cut(cut.train, TUNING_SHARE).judging)
    start = fold * quarter
    return _cut(cut.train[start:] + cut.train[:start], TUNING_SHARE)


def _cut(members: list[int], share: float) -> _Cut:
    """Returns the first `share` of the members, and the other ones."""
    end = len(members)
    if end >= MIN_RECORDS_TO_CUT:
        end = round(share * end)
    return _Cut(members[:end], members[end:])


def _sites(hospital: str, examples: Examples, cuts: list[_Cut], pieces: int) -> list[Site]:
    """Returns the hospital as one site, or dealt class by class to several.

    Args:
        hospital: name of the site, or the first part of the names.
        examples: the hospital's records.
        cuts: of each class.
        pieces: number of sites, 1 or 2.
    """
    names = [hospital] if pieces == 1 else [f"{hospital}-{letter}" for letter in "ab"]
    sites = []
    for piece, name in enumerate(names):
        train = [index for cut in cuts for index in cut.train[piece::pieces]]
        judging = [index for cut in cuts for index in cut.judging[piece::pieces]]
        site = Site(
            name,
            _take(examples, train),
            _take(examples, judging),
        )
        sites.append(site)
    return sites


def _shuffled_classes(labels: Tensor, split_seed: int, hospital: int) -> list[list[int]]:
    """Returns the indices of each class, in an order that the seed decides."""
    classes = []
    for label in (0, 1):
        members = torch.nonzero(labels == label).squeeze(1)
        stream = seeded_keystream(split_seed, "heart split", hospital, label)
        order = torch.from_numpy(stream.permutation(len(members)))
        classes.append(members[order].tolist())
    return classes


def _take(examples: Examples, indices: list[int]) -> Examples:
    chosen = sorted(indices)
    return Examples(examples.features[chosen], examples.labels[chosen])
