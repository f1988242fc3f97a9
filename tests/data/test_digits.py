"""Digits: records, scaling, splits, and their deal to clients."""

import pytest
import torch
from sklearn.datasets import load_digits as load_sklearn_digits

from securefl.data.partition import iid_sizes
from securefl.data.task import Examples, Task
from securefl.scenario.assemble.data import load_data
from securefl.scenario.scenario import parse_scenario
from tests.data.sets import bag, digits


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
    assert torch.equal(digits(1, 5).test.features, digits(20, 5).test.features)


def test_split_seeds_split_differently_and_also_deal_differently() -> None:
    def places_of_the_first_client(split_seed: int) -> set[int]:
        data = f'data = {{ name = "digits", partition = "pooled", split_seed = {split_seed} }}'
        (pooled,) = load_data(parse_scenario(f"{data}\nprivacy = {{ epsilon = inf }}")).sites
        place = {tuple(row): index for index, row in enumerate(pooled.train.features.tolist())}
        return {place[tuple(row)] for row in digits(5, split_seed).sites[0].train.features.tolist()}

    # Of 252 places; by chance about 50 are common.
    common = places_of_the_first_client(0) & places_of_the_first_client(1)
    assert len(common) < 100
