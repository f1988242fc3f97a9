"""Partitions: every record to exactly one client, as uneven as asked, never below the minimum."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from securefl.data.entries import DATA
from securefl.data.partition import dirichlet, iid, iid_sizes, pathological, quantity
from securefl.errors import ScenarioError
from securefl.rng import seeded_keystream
from securefl.scenario.assemble.data import load_data
from securefl.scenario.scenario import parse_scenario

deterministic = settings(derandomize=True, max_examples=40, deadline=None)
LABELS = torch.arange(1000) % 10


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


@settings(deterministic, max_examples=60, database=None)
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


def once_each(parts: list[torch.Tensor], records: int) -> bool:
    return sorted(torch.cat(parts).tolist()) == list(range(records))


@deterministic
@given(
    labels=st.lists(st.integers(0, 4), min_size=30, max_size=120),
    clients=st.integers(1, 6),
    alpha=st.floats(0.2, 100),
    seed=st.integers(0, 999),
)
def test_dirichlet_uses_every_record_once_and_keeps_the_minimum(
    labels: list[int], clients: int, alpha: float, seed: int
) -> None:
    parts = dirichlet(
        torch.tensor(labels),
        clients=clients,
        alpha=alpha,
        minimum=2,
        stream=seeded_keystream(seed, "test"),
    )
    assert len(parts) == clients
    assert once_each(parts, len(labels))
    assert min(map(len, parts)) >= 2


@deterministic
@given(
    records=st.integers(30, 300),
    clients=st.integers(1, 6),
    alpha=st.floats(0.3, 100),
    seed=st.integers(0, 999),
)
def test_quantity_uses_every_record_once_and_keeps_the_minimum(
    records: int, clients: int, alpha: float, seed: int
) -> None:
    parts = quantity(
        records, clients=clients, alpha=alpha, minimum=3, stream=seeded_keystream(seed, "test")
    )
    assert len(parts) == clients
    assert once_each(parts, records)
    assert min(map(len, parts)) >= 3


@deterministic
@given(clients=st.integers(1, 20), classes=st.integers(1, 5), seed=st.integers(0, 999))
def test_pathological_uses_every_record_once(clients: int, classes: int, seed: int) -> None:
    parts = pathological(
        LABELS, clients=clients, classes=classes, stream=seeded_keystream(seed, "test")
    )
    assert len(parts) == clients
    assert once_each(parts, 1000)


def test_pathological_clients_hold_two_classes_where_shards_and_classes_match() -> None:
    # 20 shards of 50 over 10 classes of 100: no shard crosses a border.
    parts = pathological(LABELS, clients=10, classes=2, stream=seeded_keystream(0, "test"))
    assert {len(part) for part in parts} == {100}
    assert max(len(torch.unique(LABELS[part])) for part in parts) == 2
    assert [torch.unique(LABELS[part]).tolist() for part in parts] != [[i] for i in range(10)]


def test_a_small_alpha_is_skewed_and_a_large_one_is_not() -> None:
    def largest_share(alpha: float) -> float:
        parts = dirichlet(
            LABELS, clients=5, alpha=alpha, minimum=1, stream=seeded_keystream(1, "test")
        )
        counts = torch.stack([LABELS[part].bincount(minlength=10) for part in parts]).double()
        return float((counts.max(dim=0).values / 100).mean())

    assert largest_share(1e4) == pytest.approx(0.2, abs=0.02)
    assert largest_share(0.05) > 0.8


def test_dirichlet_shares_have_the_mean_and_variance_of_dirichlet() -> None:
    # A share of Dirichlet(alpha) over k clients: mean 1/k, variance (k - 1) / (k^2 (k alpha + 1)).
    labels = torch.zeros(10_000, dtype=torch.int64)
    alpha = 0.7
    k = 4
    draws = []
    for seed in range(400):
        stream = seeded_keystream(seed, "test")
        parts = dirichlet(labels, clients=k, alpha=alpha, minimum=0, stream=stream)
        draws.append([len(part) / 10_000 for part in parts])
    shares = torch.tensor(draws)
    expected = (k - 1) / (k**2 * (k * alpha + 1))
    assert shares.mean(dim=0).tolist() == pytest.approx(
        [1 / k] * k, abs=5 * (expected / 400) ** 0.5
    )
    assert float(shares.var()) == pytest.approx(expected, rel=0.15)


def test_the_tiniest_alpha_gives_a_class_to_one_client() -> None:
    # At alpha = 1e-3 a variate underflows to 0 with probability near 1/2, and both of two in a
    # quarter of the draws.
    labels = torch.zeros(50, dtype=torch.int64)
    for seed in range(40):
        stream = seeded_keystream(seed, "test")
        parts = dirichlet(labels, clients=2, alpha=1e-3, minimum=0, stream=stream)
        assert sorted(map(len, parts)) == [0, 50]


def test_dirichlet_deals_a_class_in_random_order() -> None:
    labels = torch.zeros(100, dtype=torch.int64)
    first = dirichlet(
        labels, clients=2, alpha=100.0, minimum=10, stream=seeded_keystream(0, "test")
    )[0]
    assert first.tolist() != list(range(len(first)))


def test_a_minimum_out_of_reach_is_refused() -> None:
    message = r"dirichlet with alpha=0\.01 left some of 10 clients below 90 records"
    with pytest.raises(ValueError, match=message):
        dirichlet(LABELS, clients=10, alpha=0.01, minimum=90, stream=seeded_keystream(0, "test"))
    with pytest.raises(ValueError, match="clients x classes <= 1000 records, got 600 x 2"):
        pathological(LABELS, clients=600, classes=2, stream=seeded_keystream(0, "test"))


@pytest.mark.parametrize("name", [name for name, entry in DATA.items() if entry.fetch is None])
@pytest.mark.parametrize(
    "how",
    ['"iid"', '"dirichlet", alpha = 0.3, minimum = 3', '"quantity"', '"pathological", classes = 3'],
)
def test_every_data_set_can_be_dealt_in_every_way(name: str, how: str) -> None:
    scenario = parse_scenario(
        f'data = {{ name = "{name}", clients = 6, partition = {how} }}',
        overrides=("training.kind=sgd", "weights=equal"),
    )
    data = load_data(scenario)
    assert len(data.sites) == scenario.clients == 6
    assert sum(len(site.train) for site in data.sites) == DATA[name].records
    features = torch.cat([site.train.features for site in data.sites])
    assert sorted(features.tolist()) == sorted(data.pooled().sites[0].train.features.tolist())
    again = load_data(scenario)
    for site, repeated in zip(data.sites, again.sites, strict=True):
        assert torch.equal(site.train.features, repeated.train.features)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            'data = { partition = "dirichlet", clients = 5 }',
            "partition 'dirichlet' has no published sizes: declare",
        ),
        (
            'data = { partition = "quantity", clients = 5 }\ntraining = { kind = "sgd" }',
            "partition 'quantity' has no published sizes: declare",
        ),
        ("data = { alpha = 0.5 }", "data.alpha has no effect with partition 'natural'; remove it"),
        (
            'data = { partition = "iid", minimum = 2 }',
            "data.minimum has no effect with partition 'iid'",
        ),
        (
            'data = { partition = "pathological", alpha = 0.1 }',
            "data.alpha has no effect with",
        ),
        ('data = { partition = "iid", clients = 491 }', "use at most 490 clients"),
        ('data = { partition = "pathological", clients = 250 }', "use at most 245 clients"),
        ('data = { name = "digits", clients = 2000000000 }', "use at most 1257 clients"),
    ],
)
def test_a_deal_that_is_impossible_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(ScenarioError) as refusal:
        parse_scenario(text)
    assert sentence in str(refusal.value)


def test_declared_records_make_a_claim_over_drawn_sizes() -> None:
    scenario = parse_scenario(
        'data = { partition = "dirichlet", clients = 3 }\nprivacy = { records = [150, 150, 190] }'
    )
    assert scenario.site_records == (150, 150, 190)
    assert scenario.resolved()["privacy"]["records"] == [150, 150, 190]
