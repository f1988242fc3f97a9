"""UCI Heart Disease: records, scaling and splits, held to the file read the slow way."""

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import pytest
import torch

from securefl.data import heart
from securefl.data.heart import HOSPITALS
from securefl.data.task import Examples, FederatedData, Site, Task, concatenate
from securefl.errors import DataError
from tests.data.sets import Records, bag, halves, natural
from tests.values import present

# Complete records, and training records, of class 0 and 1: 0.66 n rounded, by hand.
BY_CLASS = {
    "cleveland": ((164, 139), (108, 92)),
    "hungarian": ((163, 98), (108, 65)),
    # A class of one cannot be cut.
    "switzerland": ((1, 45), (1, 30)),
    "va": ((29, 101), (19, 67)),
}


def classes(examples: Examples) -> tuple[int, int]:
    zeros, ones = torch.bincount(examples.labels, minlength=2).tolist()
    return zeros, ones


def csv_bytes() -> bytes:
    return resources.files("securefl.data").joinpath("heart_disease.csv").read_bytes()


def scaled_by_hand(row: dict[str, str]) -> list[float]:
    """Returns one record, its declared ranges written out again."""
    dropped = {"hospital", "slope", "ca", "thal"}
    v = {name: float(value) for name, value in row.items() if name not in dropped}
    pressure = min(max(v["trestbps"], 80), 220)
    cholesterol = min(max(v["chol"], 0), 600)
    return [
        (v["age"] - 55) / 35,
        (pressure - 150) / 70,
        (cholesterol - 300) / 300,
        (v["thalach"] - 140) / 80,
        (v["oldpeak"] - 2) / 5,
        v["sex"],
        v["fbs"],
        v["exang"],
        *[float(v["cp"] == level) for level in (1, 2, 3, 4)],
        *[float(v["restecg"] == level) for level in (0, 1, 2)],
        float(v["num"] > 0),
    ]


def heart_by_hand() -> dict[str, list[list[float]]]:
    """Returns complete records of every hospital, the slow way."""
    used = [
        "age",
        "sex",
        "cp",
        "trestbps",
        "chol",
        "fbs",
        "restecg",
        "thalach",
        "exang",
        "oldpeak",
        "num",
    ]
    by_hospital: dict[str, list[list[float]]] = {name: [] for name in HOSPITALS}
    for row in csv.DictReader(io.StringIO(csv_bytes().decode())):
        if all(row[name] != "" for name in used):
            by_hospital[row["hospital"]].append(scaled_by_hand(row))
    return by_hospital


def site_of(data: FederatedData, name: str) -> Site:
    return next(site for site in data.sites if site.name == name)


def test_heart_has_740_complete_records_of_four_hospitals() -> None:
    assert {name: len(rows) for name, rows in heart_by_hand().items()} == {
        "cleveland": 303,
        "hungarian": 261,
        "switzerland": 46,
        "va": 130,
    }
    data = natural()
    assert [site.name for site in data.sites] == list(HOSPITALS)
    assert [len(site.train) for site in data.sites] == [200, 173, 31, 86]
    assert len(data.test) == 250
    assert data.task == Task(features=15, classes=2)


@pytest.mark.parametrize(
    "load", [natural, halves, lambda: natural(1)], ids=["natural", "halves", "another seed"]
)
def test_every_heart_record_is_in_exactly_one_place(load: Callable[[], FederatedData]) -> None:
    data = load()
    expected: Records = Counter()
    for rows in heart_by_hand().values():
        expected.update(tuple(torch.tensor(row, dtype=torch.float32).tolist()) for row in rows)
    placed = bag(*(site.train for site in data.sites), data.test)
    assert placed.total() == 740
    # Scaled the other way round, so rounded: 5 decimals tell every two values of the file apart.
    assert Counter(rounded(placed)) == Counter(rounded(expected))
    assert bag(*(site.test for site in data.sites)) == bag(data.test)


def rounded(records: Records) -> list[tuple[float, ...]]:
    return [tuple(round(value, 5) + 0.0 for value in record) for record in records.elements()]


def test_every_hospital_keeps_its_own_records() -> None:
    by_hand = heart_by_hand()
    for site in natural().sites:
        mine = bag(site.train, site.test)
        assert Counter(rounded(mine)) == Counter(rounded(Counter(map(tuple, by_hand[site.name]))))


def test_the_first_heart_record_is_scaled_as_by_hand() -> None:
    # cleveland,63,1,1,145,233,1,2,150,0,2.3,...,0
    expected = [8 / 35, -5 / 70, -67 / 300, 10 / 80, 0.3 / 5, 1, 1, 0, 1, 0, 0, 0, 0, 0, 1]
    site = site_of(natural(), "cleveland")
    assert site.test is not None
    everything = concatenate([site.train, site.test])
    matches = (everything.features - torch.tensor(expected)).abs().max(dim=1).values < 1e-6
    assert everything.labels[matches].tolist() == [0]


@pytest.mark.parametrize(("column", "hospital", "value"), [(1, "va", -1.0), (2, "hungarian", 1.0)])
def test_the_one_value_outside_its_declared_range_is_clamped(
    column: int, hospital: str, value: float
) -> None:
    # A resting pressure of 0 (80 to 220 declared), and a cholesterol of 603 (0 to 600).
    site = site_of(natural(), hospital)
    assert site.test is not None
    column_values = concatenate([site.train, site.test]).features[:, column]
    assert int((column_values == value).sum()) == 1


def test_records_whose_cholesterol_was_not_measured_are_kept() -> None:
    unmeasured = {}
    for site in natural().sites:
        cholesterol = concatenate([site.train, present(site.test)]).features[:, 2]
        unmeasured[site.name] = int((cholesterol == -1).sum())
    assert unmeasured == {"cleveland": 0, "hungarian": 0, "switzerland": 46, "va": 33}


@pytest.mark.parametrize("load", [natural, halves])
def test_heart_features_are_scaled_and_one_hot(load: Callable[[], FederatedData]) -> None:
    data = load()
    for part in [data.test, *(site.train for site in data.sites)]:
        assert part.features.dtype is torch.float32
        assert part.labels.dtype is torch.int64
        assert part.features.shape == (len(part), 15)
        assert bool((part.features.abs() <= 1).all())
        assert set(part.features[:, 5:].flatten().tolist()) <= {0.0, 1.0}
        assert set(part.features[:, 8:12].sum(dim=1).tolist()) == {1.0}
        assert set(part.features[:, 12:15].sum(dim=1).tolist()) == {1.0}
        assert set(part.labels.tolist()) <= {0, 1}


@pytest.mark.parametrize("split_seed", [0, 1, 2])
def test_each_class_of_each_hospital_is_split_by_itself(split_seed: int) -> None:
    for site in natural(split_seed).sites:
        assert site.test is not None
        total, train = BY_CLASS[site.name]
        assert classes(site.train) == train
        assert classes(site.test) == (total[0] - train[0], total[1] - train[1])


@pytest.mark.parametrize("split_seed", [0, 1, 2])
def test_the_one_healthy_record_of_switzerland_is_for_training(split_seed: int) -> None:
    assert classes(site_of(natural(split_seed), "switzerland").train)[0] == 1
    cut = halves(split_seed)
    assert classes(site_of(cut, "switzerland-a").train)[0] == 1
    assert classes(site_of(cut, "switzerland-b").train)[0] == 0


def test_halves_are_eight_sites_of_the_declared_sizes() -> None:
    data = halves()
    assert [site.name for site in data.sites] == [
        f"{name}-{letter}" for name in HOSPITALS for letter in "ab"
    ]
    assert [len(site.train) for site in data.sites] == [100, 100, 87, 86, 16, 15, 44, 42]
    assert len(data.test) == 250


def test_the_halves_of_a_hospital_hold_its_records_and_its_split() -> None:
    cut = halves(3)
    for site in natural(3).sites:
        first, second = (site_of(cut, f"{site.name}-{letter}") for letter in "ab")
        assert bag(first.train, second.train) == bag(site.train)
        assert bag(first.test, second.test) == bag(site.test)


def test_halves_share_each_class_evenly() -> None:
    cut = halves()
    for name in HOSPITALS:
        first, second = (classes(site_of(cut, f"{name}-{letter}").train) for letter in "ab")
        assert all(0 <= a - b <= 1 for a, b in zip(first, second, strict=True))


def test_the_embedded_file_has_the_declared_sum() -> None:
    assert hashlib.sha256(csv_bytes()).hexdigest() == heart.SHA256


def damages() -> dict[str, bytes]:
    good = csv_bytes()
    return {
        "truncated": good[:-1],
        "half": good[: len(good) // 2],
        "empty": b"",
        "a line more": good + good.splitlines(keepends=True)[-1],
        "one digit": good.replace(b"cleveland,63,", b"cleveland,64,", 1),
        "other newlines": good.replace(b"\n", b"\r\n"),
        "no text": b"\xff\xfe" + good,
    }


@pytest.mark.parametrize("damage", damages())
def test_a_damaged_file_is_refused_with_both_sums(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = damages()[damage]
    (tmp_path / "heart_disease.csv").write_bytes(data)
    monkeypatch.setattr(resources, "files", lambda package: tmp_path)
    with pytest.raises(DataError, match=r"heart_disease\.csv is damaged") as refusal:
        natural()
    assert hashlib.sha256(data).hexdigest() in str(refusal.value)
    assert heart.SHA256 in str(refusal.value)
