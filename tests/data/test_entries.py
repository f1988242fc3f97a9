"""Data of the federation, the models on it, and how they are judged.

Mutants killed:
heart: the sum not checked, or not told; incomplete records kept, complete ones lost; labels of another severity; values
not clamped on either side, or scaled to another range or interval; levels off by one; another training share, cut for
round, one record less, lost or used twice, a class of one tested; halves swapped or always made; the seed or the
shuffle ignored; a hospital missing from the test; labels of other records; hospitals in another order.
digits: another scale; a record in both parts; one more for training; labels of other records; the split seed ignored,
or mixed with the number of clients; tested on training records.
partition, dealing: one client more or less allowed; records in file order; the larger parts last, or one too many;
indices unsorted; labels of other records; seed, number of clients or `only` ignored; one site only.
task: records counted as fields; two outputs for two classes; probabilities swapped, in float32, over the wrong axis;
the loss summed, or of the other class; a site missing from the pool, pooled test on training records; alone: the other
test, or another site; joined in reverse.
evaluate: non-finite probabilities or no records measured; AUC of the other class, one against one, weighted; classes
with one record or none; the smallest or last class for the majority; balanced accuracy and AUC swapped, of swapped
arguments, adjusted; 0 for "not measured"; gradients kept.
models: zeros forgotten; the generator used or ignored; no bias; widths of 0 or above 4096 allowed, 4096 refused, one
good width enough; a last tanh; ReLU; the bound from outputs, without root, three times the variance, one-sided; biases
left as they are; another default; hidden widths reversed.
"""

import csv
import hashlib
import io
import math
from collections import Counter
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.validators import ModuleValidator
from sklearn.datasets import load_digits as load_sklearn_digits
from torch import Tensor, nn

from securefl.data import heart
from securefl.data.heart import HOSPITALS, load_heart
from securefl.data.partition import iid, iid_sizes
from securefl.data.task import Examples, FederatedData, Site, Task, concatenate
from securefl.errors import DataError, ScenarioError
from securefl.learning.evaluate import evaluate, measure, predict
from securefl.learning.models.linear import logistic, mlp
from securefl.learning.protocol import Metrics
from securefl.rng import seeded_keystream
from securefl.scenario.assemble.data import load_data
from securefl.scenario.scenario import parse_scenario

deterministic = settings(derandomize=True, max_examples=60, deadline=None, database=None)
Records = Counter[tuple[float, ...]]

BY_CLASS = {  # complete records and training records of class 0 and 1; 0.66 n rounded, by hand
    "cleveland": ((164, 139), (108, 92)),
    "hungarian": ((163, 98), (108, 65)),
    "switzerland": ((1, 45), (1, 30)),  # a class of one cannot be cut
    "va": ((29, 101), (19, 67)),
}
NO_RECORDS = Examples(torch.zeros(0, 2), torch.zeros(0, dtype=torch.long))


def natural(split_seed: int = 0) -> FederatedData:
    return load_heart(partition="natural", split_seed=split_seed)


def digits(clients: int, split_seed: int) -> FederatedData:
    data = f'data = {{ name = "digits", clients = {clients}, split_seed = {split_seed} }}'
    return load_data(parse_scenario(f"{data}\nprivacy = {{ delta = 1e-14 }}"))


def halves(split_seed: int = 0) -> FederatedData:
    return load_heart(partition="halves", split_seed=split_seed)


def bag(*parts: Examples | None) -> Records:
    """Records as a multiset."""
    found: Records = Counter()
    for part in parts:
        if part is not None:
            found.update(
                (*row, label)
                for row, label in zip(part.features.tolist(), part.labels.tolist(), strict=True)
            )
    return found


def classes(examples: Examples) -> tuple[int, int]:
    zeros, ones = torch.bincount(examples.labels, minlength=2).tolist()
    return zeros, ones


def csv_bytes() -> bytes:
    return resources.files("securefl.data").joinpath("heart_disease.csv").read_bytes()


def scaled_by_hand(row: dict[str, str]) -> list[float]:
    """One record, its declared ranges written out again."""
    v = {
        name: float(value)
        for name, value in row.items()
        if name not in {"hospital", "slope", "ca", "thal"}
    }
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
    """Complete records of every hospital, the slow way."""
    used = (
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
    )
    found: dict[str, list[list[float]]] = {name: [] for name in HOSPITALS}
    for row in csv.DictReader(io.StringIO(csv_bytes().decode())):
        if all(row[name] != "" for name in used):
            found[row["hospital"]].append(scaled_by_hand(row))
    return found


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


def scenario_data(data: str) -> FederatedData:
    return load_data(parse_scenario(f"data = {{ {data} }}\ntraining = {{ kind = 'sgd' }}"))


@pytest.mark.parametrize("seed", [0, 3])
@pytest.mark.parametrize(
    "keys",
    [
        'name = "heart"',
        'name = "heart", partition = "halves"',
        'name = "digits", partition = "pooled"',
    ],
)
def test_validation_records_are_training_records_of_the_same_split(keys: str, seed: int) -> None:
    usual = scenario_data(f"{keys}, split_seed = {seed}")
    tuning = scenario_data(f'{keys}, split_seed = {seed}, test_on = "validation"')
    assert bag(*(site.train for site in tuning.sites), tuning.test) == bag(
        *(site.train for site in usual.sites)
    )
    for site, whole in zip(tuning.sites, usual.sites, strict=True):
        if (
            site.test is not None and "halves" not in keys
        ):  # the two halves of a hospital are dealt anew
            assert bag(site.train, site.test) == bag(whole.train)
    share = len(tuning.test) / (len(tuning.test) + sum(len(site.train) for site in tuning.sites))
    assert share == pytest.approx(0.25, abs=0.002)
    same = scenario_data(f'{keys}, split_seed = {seed}, test_on = "test"')
    assert torch.equal(same.test.features, usual.test.features)
    other = scenario_data(f'{keys}, split_seed = {seed + 1}, test_on = "validation"')
    assert bag(other.test) != bag(tuning.test)


@pytest.mark.parametrize("name", ["heart", "digits"])
def test_four_folds_judge_on_every_training_record(name: str) -> None:
    keys = f'name = "{name}", partition = "pooled"'
    training = bag(scenario_data(keys).sites[0].train)
    judged: Records = Counter()
    for fold in range(4):
        data = scenario_data(f'{keys}, test_on = "validation", fold = {fold}')
        assert bag(data.sites[0].train, data.test) == training
        judged += bag(data.test)
    rounding = 2 * (
        8 if name == "heart" else 1
    )  # a quarter of each class of each hospital, or of all digits
    assert (training - judged).total() <= rounding
    assert (judged - training).total() <= rounding
    last = scenario_data(f'{keys}, test_on = "validation"')
    assert torch.equal(
        last.test.features, scenario_data(f'{keys}, test_on = "validation", fold = 0').test.features
    )


def test_a_fold_means_nothing_without_validation_records() -> None:
    with pytest.raises(
        ScenarioError,
        match=r"data\.fold has no effect unless data\.test_on = 'validation'; remove it",
    ):
        scenario_data('name = "heart", fold = 1')
    with pytest.raises(
        ScenarioError, match=r"data\.fold has no effect with medmnist:breastmnist; remove it"
    ):
        scenario_data('name = "medmnist:breastmnist", test_on = "validation", fold = 1')
    with pytest.raises(ScenarioError, match=r"data\.fold: input should be less than or equal to 3"):
        scenario_data('name = "heart", test_on = "validation", fold = 4')


@pytest.mark.parametrize(
    "keys", ["", ', partition = "halves"', ', partition = "iid", clients = 7', ", only = 3"]
)
def test_public_sizes_follow_the_records_that_validation_takes(keys: str) -> None:
    for name in ("heart", "digits"):
        if name == "digits" and "halves" in keys:
            continue
        text = f"data = {{ name = '{name}'{keys}, test_on = 'validation' }}\nprivacy = {{ delta = 1e-14 }}"
        scenario = parse_scenario(text)
        assert scenario.site_records == tuple(len(site.train) for site in load_data(scenario).sites)
    pooled = parse_scenario(
        "data = { name = 'heart', partition = 'pooled', held_out = 0, test_on = 'validation' }"
    )
    assert pooled.site_records == (217,)
    assert len(load_data(pooled).sites[0].train) == 217


def test_a_site_left_out_chooses_no_learning_rate() -> None:
    outside = bag(natural().sites[1].train, natural().sites[1].test)
    for keys in ("", ', partition = "pooled"', ", only = 2"):
        data = scenario_data(f'name = "heart", held_out = 1, test_on = "validation"{keys}')
        used = bag(*(site.train for site in data.sites), data.test)
        assert not used & (
            outside - bag(*(site.train for name, site in enumerate(natural().sites) if name != 1))
        )
        judged = natural_validation(2) if "only" in keys else natural_validation(0, 2, 3)
        assert bag(data.test) == judged


def natural_validation(*sites: int) -> Records:
    """The validation records of some hospitals."""
    data = load_heart(partition="natural", split_seed=0, test_on="validation")
    return bag(*(data.sites[site].test for site in sites))


@pytest.mark.parametrize(
    "load", [natural, halves, lambda: natural(1)], ids=["natural", "halves", "another seed"]
)
def test_every_heart_record_is_in_exactly_one_place(load: Callable[[], FederatedData]) -> None:
    data = load()
    expected: Records = Counter()
    for rows in heart_by_hand().values():
        expected.update(tuple(torch.tensor(row, dtype=torch.float32).tolist()) for row in rows)
    found = bag(*(site.train for site in data.sites), data.test)
    assert found.total() == 740
    # scaled the other way round, so rounded: 5 decimals still tell every two values of the file apart
    assert Counter(rounded(found)) == Counter(rounded(expected))
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
    # a resting pressure of 0 (80 to 220 declared), and a cholesterol of 603 (0 to 600)
    site = site_of(natural(), hospital)
    assert site.test is not None
    column_values = concatenate([site.train, site.test]).features[:, column]
    assert int((column_values == value).sum()) == 1


def test_records_whose_cholesterol_was_not_measured_are_kept() -> None:
    unmeasured = {
        site.name: int(
            (concatenate([site.train, site.test or NO_RECORDS]).features[:, 2] == -1).sum()
        )
        for site in natural().sites
    }
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
    swiss = [
        classes(site_of(halves(split_seed), f"switzerland-{letter}").train)[0] for letter in "ab"
    ]
    assert swiss == [1, 0]


def test_halves_are_eight_sites_of_the_declared_sizes() -> None:
    data = halves()
    assert [site.name for site in data.sites] == [
        f"{name}-{letter}" for name in HOSPITALS for letter in "ab"
    ]
    assert [len(site.train) for site in data.sites] == [100, 100, 87, 86, 16, 15, 44, 42]
    assert len(data.test) == 250


def test_the_halves_of_a_hospital_hold_its_records_and_its_split() -> None:
    whole, cut = natural(3), halves(3)
    for site in whole.sites:
        one, other = (site_of(cut, f"{site.name}-{letter}") for letter in "ab")
        assert bag(one.train, other.train) == bag(site.train)
        assert bag(one.test, other.test) == bag(site.test)


def test_halves_share_each_class_evenly() -> None:
    cut = halves()
    for name in HOSPITALS:
        one, other = (classes(site_of(cut, f"{name}-{letter}").train) for letter in "ab")
        assert all(0 <= a - b <= 1 for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("load", [natural, halves, lambda seed: digits(10, seed)])
def test_split_seeds_repeat_and_differ(load: Callable[[int], FederatedData]) -> None:
    one, again, other = load(0), load(0), load(1)
    for first, second in zip(one.sites, again.sites, strict=True):
        assert torch.equal(first.train.features, second.train.features)
        assert torch.equal(first.train.labels, second.train.labels)
    assert torch.equal(one.test.features, again.test.features)
    assert [len(site.train) for site in one.sites] == [len(site.train) for site in other.sites]
    assert bag(one.test) != bag(other.test)
    for first, second in zip(one.sites, other.sites, strict=True):
        assert bag(first.train) != bag(second.train)


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
    with pytest.raises(DataError, match=r"heart_disease\.csv is damaged") as e:
        natural()
    assert hashlib.sha256(data).hexdigest() in str(e.value)
    assert heart.SHA256 in str(e.value)


def test_digits_are_1257_training_and_540_test_records_used_once_each() -> None:
    pixels, labels = load_sklearn_digits(return_X_y=True)
    everything = Examples(torch.tensor(pixels / 16, dtype=torch.float32), torch.tensor(labels))
    data = digits(10, 0)
    assert sum(len(site.train) for site in data.sites) == 1257
    assert len(data.test) == 540
    assert bag(data.test, *(site.train for site in data.sites)) == bag(everything)
    assert data.task == Task(features=64, classes=10)


def test_digits_are_pixels_in_the_unit_interval() -> None:
    data = digits(3, 0)
    for part in [data.test, *(site.train for site in data.sites)]:
        assert part.features.dtype is torch.float32
        assert part.labels.dtype is torch.int64
        assert float(part.features.min()) == 0
        assert float(part.features.max()) == 1
        assert set(part.labels.tolist()) == set(range(10))


@pytest.mark.parametrize("clients", [1, 3, 10, 1257])
def test_digits_go_to_clients_in_equal_parts(clients: int) -> None:
    data = digits(clients, 0)
    assert tuple(len(site.train) for site in data.sites) == iid_sizes(1257, clients=clients)
    assert [site.name for site in data.sites] == [f"client-{index}" for index in range(clients)]
    assert all(site.test is None for site in data.sites)


def test_the_test_records_of_digits_do_not_depend_on_the_number_of_clients() -> None:
    one, many = digits(1, 5), digits(20, 5)
    assert torch.equal(one.test.features, many.test.features)


def test_split_seeds_deal_differently_beside_splitting_differently() -> None:
    def places_of_the_first_client(split_seed: int) -> set[int]:
        data = f'data = {{ name = "digits", partition = "pooled", split_seed = {split_seed} }}'
        (pooled,) = load_data(parse_scenario(f"{data}\nprivacy = {{ epsilon = inf }}")).sites
        place = {tuple(row): index for index, row in enumerate(pooled.train.features.tolist())}
        return {place[tuple(row)] for row in digits(5, split_seed).sites[0].train.features.tolist()}

    assert (
        len(places_of_the_first_client(0) & places_of_the_first_client(1)) < 100
    )  # of 252; by chance about 50


@pytest.mark.parametrize("clients", [0, -1, 1258])
def test_iid_cannot_leave_a_client_without_records(clients: int) -> None:
    with pytest.raises(
        ValueError, match=f"iid needs 1 to 1257 clients for 1257 records, got {clients}"
    ):
        iid(1257, clients=clients, stream=seeded_keystream(0, "test"))


def test_iid_sizes_known_answer() -> None:
    assert iid_sizes(11, clients=4) == (3, 3, 3, 2)
    assert iid_sizes(12, clients=4) == (3, 3, 3, 3)
    assert iid_sizes(2, clients=4) == (1, 1, 0, 0)


@deterministic
@given(
    st.integers(1, 60).flatmap(
        lambda n: st.tuples(st.just(n), st.integers(1, n), st.integers(0, 99))
    )
)
def test_iid_gives_every_record_to_exactly_one_client(case: tuple[int, int, int]) -> None:
    records, clients, seed = case
    parts = iid(records, clients=clients, stream=seeded_keystream(seed, "test"))
    assert tuple(len(part) for part in parts) == iid_sizes(records, clients=clients)
    assert sorted(torch.cat(parts).tolist()) == list(range(records))
    assert all(part.tolist() == sorted(part.tolist()) for part in parts)


def test_iid_is_not_the_order_of_the_file() -> None:
    first = iid(100, clients=2, stream=seeded_keystream(1, "test"))[0]
    assert first.tolist() != list(range(50))


@pytest.mark.parametrize(
    "data",
    ['partition = "halves"', 'partition = "iid", clients = 7', 'name = "digits"', "only = 2"],
)
def test_the_sizes_that_are_published_are_those_that_are_dealt(data: str) -> None:
    scenario = parse_scenario(f"data = {{ {data}, split_seed = 4 }}")
    assert tuple(len(site.train) for site in load_data(scenario).sites) == scenario.site_records


def test_pooled_data_are_all_training_records_at_one_site_under_the_same_test() -> None:
    data = natural()
    pooled = data.pooled()
    (site,) = pooled.sites
    assert (site.name, site.test) == ("pooled", None)
    assert len(site.train) == 490
    assert bag(site.train) == bag(*(other.train for other in data.sites))
    assert torch.equal(pooled.test.features, data.test.features)
    assert pooled.task == data.task


def test_a_site_alone_is_tested_on_its_own_records() -> None:
    data = natural()
    alone = data.alone(3)
    assert alone.sites == (data.sites[3],)
    assert len(alone.sites[0].train) == 86
    assert data.sites[3].test is not None
    assert alone.test is data.sites[3].test
    assert len(alone.test) == 44


def test_a_site_without_test_records_is_tested_on_all_of_them() -> None:
    data = digits(4, 0)
    alone = data.alone(2)
    assert alone.sites == (data.sites[2],)
    assert alone.test is data.test


def test_examples_count_records_and_join_in_order() -> None:
    one = Examples(torch.tensor([[1.0], [2.0]]), torch.tensor([0, 1]))
    other = Examples(torch.tensor([[3.0]]), torch.tensor([1]))
    joined = concatenate([one, other])
    assert (len(one), len(joined)) == (2, 3)
    assert joined.features.tolist() == [[1], [2], [3]]
    assert joined.labels.tolist() == [0, 1, 1]


def test_two_classes_take_one_logit_and_more_take_one_each() -> None:
    assert Task(features=4, classes=2).outputs == 1
    assert Task(features=4, classes=3).outputs == 3


def test_the_loss_is_the_mean_cross_entropy() -> None:
    # sigmoid(log 3) = 3/4, sigmoid(0) = 1/2: -(log 3/4 + log 1/2) / 2; as two logits (0, z) it is the same
    logits, labels = torch.tensor([[math.log(3)], [0.0]]), torch.tensor([1, 0])
    expected = (math.log(4 / 3) + math.log(2)) / 2
    assert float(Task(1, 2).loss(logits, labels)) == pytest.approx(expected, rel=1e-6)
    # softmax(log 2, log 1, log 1) = (1/2, 1/4, 1/4)
    logits = torch.tensor([[2.0, 1.0, 1.0], [2.0, 1.0, 1.0]]).log()
    assert float(Task(1, 3).loss(logits, torch.tensor([0, 2]))) == pytest.approx(
        math.log(8) / 2, rel=1e-6
    )


def test_probabilities_are_float64_and_one_a_class() -> None:
    binary = Task(1, 2).probabilities(torch.tensor([[math.log(3)], [0.0]]))
    assert binary.dtype is torch.float64
    assert binary.tolist() == [pytest.approx([0.25, 0.75], abs=1e-6), [0.5, 0.5]]
    several = Task(1, 3).probabilities(torch.tensor([[2.0, 1.0, 1.0]]).log())
    assert several.dtype is torch.float64
    assert several.tolist() == [pytest.approx([0.5, 0.25, 0.25], abs=1e-6)]


def binary(*positive: float) -> Tensor:
    chances = torch.tensor(positive, dtype=torch.float64).unsqueeze(1)
    return torch.cat([1 - chances, chances], dim=1)


def test_metrics_of_two_classes_known_answer() -> None:
    # Guesses 1 1 1 0 | 0 1 0: 5 of 7 right, 3/4 of the ones, 2/3 of the zeros. Pairs of a one and a zero in the
    # right order, a tie for half: 3 + 3 + 3 + 1.5 of 12.
    metrics = measure(
        binary(0.9, 0.8, 0.7, 0.4, 0.4, 0.6, 0.2), torch.tensor([1, 1, 1, 1, 0, 0, 0])
    )
    assert metrics.records == 7
    assert metrics.accuracy == pytest.approx(5 / 7)
    assert metrics.balanced_accuracy == pytest.approx(17 / 24)
    assert metrics.auc == pytest.approx(7 / 8)
    assert metrics.majority == pytest.approx(4 / 7)


def test_metrics_of_three_classes_known_answer() -> None:
    # Guesses 0 1 1 0 2. One against the rest: class 0 has 4 of 6 pairs, class 1 has 4 of 4, class 2 has 5.5 of 6;
    # weighted by class size their mean would be 5/6 instead of 31/36.
    chances = torch.tensor(
        [[0.6, 0.3, 0.1], [0.3, 0.5, 0.2], [0.1, 0.8, 0.1], [0.7, 0.1, 0.2], [0.2, 0.2, 0.6]],
        dtype=torch.float64,
    )
    metrics = measure(chances, torch.tensor([0, 0, 1, 2, 2]))
    assert metrics.accuracy == pytest.approx(3 / 5)
    assert metrics.balanced_accuracy == pytest.approx(2 / 3)
    assert metrics.auc == pytest.approx(31 / 36)
    assert metrics.majority == pytest.approx(2 / 5)


def test_where_a_class_is_missing_there_is_no_auc_and_no_balanced_accuracy() -> None:
    assert measure(binary(0.9, 0.2, 0.8, 0.7), torch.tensor([1, 1, 1, 1])) == Metrics(
        4, 0.75, None, None, 1.0
    )
    chances = torch.tensor([[0.6, 0.3, 0.1], [0.3, 0.5, 0.2]], dtype=torch.float64)
    assert measure(chances, torch.tensor([0, 0])) == Metrics(2, 0.5, None, None, 1.0)


def test_without_records_nothing_is_measured() -> None:
    none = measure(torch.zeros(0, 2, dtype=torch.float64), torch.zeros(0, dtype=torch.long))
    assert none == Metrics(0, None, None, None, None)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_model_that_overflows_is_not_measured(bad: float) -> None:
    # found by a run: one row of 1e38 under the mean, then inf - inf in the logits, then a traceback from the AUC
    chances = binary(0.9, 0.2, 0.8, bad)
    assert measure(chances, torch.tensor([1, 0, 1, 1])) == Metrics(4, None, None, None, 0.75)


def test_a_model_is_evaluated_on_its_own_predictions() -> None:
    model = nn.Linear(1, 1)
    with torch.no_grad():
        model.weight.fill_(2.0)
        model.bias.fill_(-1.0)
    examples = Examples(torch.tensor([[0.0], [1.0], [1.0], [0.0]]), torch.tensor([0, 1, 0, 0]))
    chances = predict(model, Task(1, 2), examples.features)
    assert chances.dtype is torch.float64
    assert not chances.requires_grad
    assert chances[:, 1].tolist() == pytest.approx(
        [0.268941, 0.731059, 0.731059, 0.268941], abs=1e-6
    )
    metrics = evaluate(model, Task(1, 2), examples)
    assert (metrics.records, metrics.accuracy, metrics.majority) == (4, 0.75, 0.75)
    assert metrics.balanced_accuracy == pytest.approx(5 / 6)
    assert metrics.auc == pytest.approx(5 / 6)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shapes(model: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(parameter.shape) for parameter in model.parameters()]


def test_logistic_is_one_layer_of_zeros_whatever_the_generator() -> None:
    chance = generator(1)
    model = logistic(Task(15, 2), generator=chance)
    assert shapes(model) == [(1, 15), (1,)]
    assert not any(parameter.detach().any() for parameter in model.parameters())
    assert torch.equal(chance.get_state(), generator(1).get_state())
    assert shapes(logistic(Task(64, 10), generator=chance)) == [(10, 64), (10,)]


def test_mlp_has_tanh_between_its_layers_and_none_at_the_end() -> None:
    model = mlp(Task(15, 2), hidden=[5, 4], generator=generator(1))
    assert shapes(model) == [(5, 15), (5,), (4, 5), (4,), (1, 4), (1,)]
    assert [type(layer) for layer in model.children()] == [
        nn.Linear,
        nn.Tanh,
        nn.Linear,
        nn.Tanh,
        nn.Linear,
    ]
    assert shapes(mlp(Task(64, 10), generator=generator(1))) == [(32, 64), (32,), (10, 32), (10,)]
    assert shapes(mlp(Task(64, 10), hidden=[], generator=generator(1))) == [(10, 64), (10,)]


def test_mlp_starts_the_same_from_the_same_generator_and_otherwise_from_another() -> None:
    one, again, other = (mlp(Task(15, 2), generator=generator(seed)) for seed in (1, 1, 2))
    for first, second, third in zip(
        one.parameters(), again.parameters(), other.parameters(), strict=True
    ):
        assert torch.equal(first, second)
        assert not torch.equal(first, third)


def test_mlp_starts_uniformly_within_one_over_the_root_of_its_inputs() -> None:
    # 25,600 and 4,000 draws fill a uniform's range to the last percent, and 2 % of a deviation is 5 standard errors
    model = mlp(Task(64, 10), hidden=[400], generator=generator(1))
    first, first_bias, second, second_bias = (
        parameter.detach() for parameter in model.parameters()
    )
    for weights, bound in ((first, 1 / 8), (second, 1 / 20)):
        assert 0.99 * bound < float(weights.abs().max()) <= bound
        assert float(weights.std()) == pytest.approx(bound / math.sqrt(3), rel=0.04)
    for bias, bound in ((first_bias, 1 / 8), (second_bias, 1 / 20)):
        assert 0.7 * bound < float(bias.abs().max()) <= bound


@pytest.mark.parametrize("hidden", [[0], [-3], [8, 0]])
def test_mlp_refuses_widths_below_one(hidden: list[int]) -> None:
    with pytest.raises(ValueError, match=r"mlp needs hidden widths of 1 to 4096, got \["):
        mlp(Task(15, 2), hidden=hidden, generator=generator(1))


@pytest.mark.parametrize("task", [Task(15, 2), Task(64, 10)])
def test_models_of_numbers_are_accepted_by_opacus(task: Task) -> None:
    for build in (logistic, mlp):
        model = build(task, generator=generator(1))
        assert ModuleValidator.validate(model, strict=True) == []
        assert model(torch.zeros(3, task.features)).shape == (3, task.outputs)


@pytest.mark.parametrize("site", range(4))
def test_no_record_of_a_hospital_held_out_trains_and_all_are_tested(site: int) -> None:
    whole = load_data(parse_scenario(""))
    data = load_data(parse_scenario(f"data = {{ held_out = {site} }}"))
    left, out = [one for place, one in enumerate(whole.sites) if place != site], whole.sites[site]
    assert out.test is not None
    assert [one.name for one in data.sites] == [one.name for one in left]
    assert all(one.test is None for one in data.sites)
    assert [len(one.train) for one in data.sites] == [len(one.train) for one in left]
    assert torch.equal(data.test.features, torch.cat([out.train.features, out.test.features]))
    assert torch.equal(data.test.labels, torch.cat([out.train.labels, out.test.labels]))
    pooled = load_data(parse_scenario(f'data = {{ held_out = {site}, partition = "pooled" }}'))
    assert len(pooled.sites[0].train) == sum(len(one.train) for one in left)
    assert torch.equal(pooled.test.features, data.test.features)
    for place, one in enumerate(whole.sites):
        if place != site:
            alone = load_data(parse_scenario(f"data = {{ held_out = {site}, only = {place} }}"))
            assert [found.name for found in alone.sites] == [one.name]
            assert torch.equal(alone.sites[0].train.features, one.train.features)
            assert torch.equal(alone.test.features, data.test.features)
