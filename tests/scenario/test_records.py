"""Records for audits: pools, coins, rehearsals and labels that are wrong on purpose."""

import pytest
import torch

from securefl.data.rehearsal import Pool, drawn
from securefl.errors import ScenarioError
from securefl.scenario.assemble.data import load_data, pool_of
from securefl.scenario.scenario import Scenario, parse_scenario

DIGITS = """
training.kind = "sgd"
weights = "equal"
data.name = "digits"
data.partition = "iid"
"""


def digits(*overrides: str) -> Scenario:
    return parse_scenario(f"{DIGITS}data.clients = 4\n", overrides=overrides)


def pool(scenario: Scenario, client: int = 0) -> Pool:
    return pool_of(scenario, load_data(scenario), client)


def test_a_pool_is_the_clients_own_records_and_as_many_test_records() -> None:
    data = load_data(digits())
    records = pool(digits(), 2)
    own = data.sites[2].train
    assert records.own == len(own)
    assert len(records.examples) == 2 * len(own)
    assert torch.equal(records.examples.features[: records.own], own.features)
    test = {tuple(row.tolist()) for row in data.test.features}
    lent = records.examples.features[records.own :]
    assert all(tuple(row.tolist()) in test for row in lent)
    assert not torch.equal(lent, data.test.features[: len(lent)])


def test_a_hospitals_pool_has_its_own_test_records_as_far_as_they_go() -> None:
    scenario = parse_scenario("training.kind = 'sgd'")
    data = load_data(scenario)
    records, site = pool(scenario, 1), data.sites[1]
    assert site.test is not None
    assert len(records.examples) == len(site.train) + min(len(site.train), len(site.test))


def test_of_two_rehearsals_of_a_pair_each_record_is_in_one() -> None:
    records = pool(digits())
    assert torch.equal(drawn(records, 6), ~drawn(records, 7))
    assert not torch.equal(drawn(records, 6), drawn(records, 8))
    shares = torch.stack([drawn(records, 2 * seed) for seed in range(50)]).double().mean()
    assert float(shares) == pytest.approx(0.5, abs=4 * 0.5 / (50 * len(records.examples)) ** 0.5)


def test_a_rehearsal_trains_its_client_on_what_the_coins_say_and_leaves_the_others() -> None:
    plain = load_data(digits())
    data = load_data(digits("rehearsal.client=1", "rehearsal.seed=5"))
    records = pool(digits(), 1)
    inside = drawn(records, 5)
    assert torch.equal(data.sites[1].train.features, records.examples.features[inside])
    assert torch.equal(data.sites[1].train.labels, records.examples.labels[inside])
    for client in (0, 2, 3):
        assert torch.equal(data.sites[client].train.features, plain.sites[client].train.features)
    assert torch.equal(data.test.features, plain.test.features)


def test_label_noise_makes_its_share_of_training_labels_wrong_and_no_test_label() -> None:
    plain, noisy = load_data(digits()), load_data(digits("data.label_noise=0.3"))
    wrong = [
        before.train.labels != after.train.labels
        for before, after in zip(plain.sites, noisy.sites, strict=True)
    ]
    n = sum(map(len, wrong))
    assert float(torch.cat(wrong).double().mean()) == pytest.approx(0.3, abs=4 * (0.21 / n) ** 0.5)
    assert not torch.equal(wrong[0][:300], wrong[1][:300])
    assert torch.equal(plain.test.labels, noisy.test.labels)
    labels = torch.cat([site.train.labels for site in noisy.sites])
    assert set(labels.tolist()) == set(range(10))
    moved = torch.cat(
        [
            (a.train.labels - b.train.labels) % 10
            for a, b in zip(noisy.sites, plain.sites, strict=True)
        ]
    )
    assert set(moved.tolist()) == set(range(10))


def test_the_other_half_of_a_pool_is_mislabelled_as_often() -> None:
    clean, noisy = pool(digits()), pool(digits("data.label_noise=0.3"))
    assert torch.equal(clean.examples.features, noisy.examples.features)
    wrong = (clean.examples.labels != noisy.examples.labels).double()
    for half in (wrong[: clean.own], wrong[clean.own :]):
        assert float(half.mean()) == pytest.approx(0.3, abs=4 * (0.21 / len(half)) ** 0.5)


def test_a_rehearsal_of_no_client_and_noise_on_several_labels_are_refused() -> None:
    with pytest.raises(ScenarioError, match=r"rehearsal\.client: there is no client 4 among 4"):
        digits("rehearsal.client=4")
    with pytest.raises(
        ScenarioError, match=r"data\.label_noise: the records bear several labels each"
    ):
        digits("data.name=medmnist:chestmnist", "data.label_noise=0.1")


def test_a_rehearsal_into_which_nothing_comes_is_refused() -> None:
    few = f"{DIGITS}data.clients = 1257\n"
    records = pool(parse_scenario(few))
    empty = next(seed for seed in range(0, 100, 2) if not drawn(records, seed).any())
    with pytest.raises(ScenarioError, match="no record came in; use another seed"):
        load_data(parse_scenario(f"{few}rehearsal = {{ seed = {empty} }}"))
    assert (
        len(load_data(parse_scenario(f"{few}rehearsal = {{ seed = {empty + 1} }}")).sites[0].train)
        == 2
    )


def test_most_keeps_so_many_records_of_each_client_at_random_and_says_so() -> None:
    whole, thin = load_data(digits()), load_data(digits("data.most=7"))
    assert [len(site.train) for site in thin.sites] == [7] * 4
    for before, after in zip(whole.sites, thin.sites, strict=True):
        places = [
            int((before.train.features == row).all(dim=1).nonzero()[0])
            for row in after.train.features
        ]
        assert places == sorted(places)
        assert places != list(range(7))
        assert torch.equal(before.train.labels[places], after.train.labels)
    assert torch.equal(whole.test.features, thin.test.features)
    again = load_data(digits("data.most=7"))
    assert torch.equal(thin.sites[1].train.features, again.sites[1].train.features)
    assert [len(site.train) for site in load_data(digits("data.most=9999")).sites] == [
        len(s.train) for s in whole.sites
    ]


def test_published_sizes_know_of_most() -> None:
    assert digits("data.most=7").facts.published_records == (7, 7, 7, 7)
    hospitals = parse_scenario("training.kind = 'sgd'\ndata.most = 100")
    sizes = hospitals.facts.published_records
    assert sizes is not None
    assert sizes == tuple(len(site.train) for site in load_data(hospitals).sites)
    assert max(sizes) == 100 > min(sizes)
    pooled = parse_scenario(
        "training.kind = 'sgd'\ndata = { name = 'digits', partition = 'pooled', most = 5 }"
    )
    assert pooled.facts.published_records == (5,)
    dealt = digits("data.partition=dirichlet", "data.most=5", "privacy.epsilon=inf")
    assert dealt.facts.published_records is None


def test_share_keeps_each_record_by_a_coin_and_leaves_the_order_and_test_records() -> None:
    whole, thin = load_data(digits()), load_data(digits("data.share=0.3"))
    n = 1257
    remaining = sum(len(site.train) for site in thin.sites)
    assert remaining == pytest.approx(0.3 * n, abs=4 * (n * 0.3 * 0.7) ** 0.5)
    for before, after in zip(whole.sites, thin.sites, strict=True):
        rows = [
            int((before.train.features == row).all(dim=1).nonzero()[0])
            for row in after.train.features
        ]
        assert rows == sorted(rows)
        assert torch.equal(before.train.labels[rows], after.train.labels)
    assert torch.equal(whole.test.features, thin.test.features)
    again, other = (
        load_data(digits("data.share=0.3")),
        load_data(digits("data.share=0.3", "data.split_seed=1")),
    )
    assert torch.equal(again.sites[0].train.features, thin.sites[0].train.features)
    assert len(other.sites[0].train) != len(thin.sites[0].train)


def test_published_sizes_after_share_are_what_is_expected() -> None:
    assert digits("data.share=0.1").facts.published_records == (32, 31, 31, 31)
    assert digits("data.share=1e-6").facts.published_records == (1, 1, 1, 1)
    assert digits("data.share=0.1", "data.most=31").facts.published_records == (31, 31, 31, 31)
    assert digits("data.share=0.1", "data.partition=dirichlet").facts.published_records is None


def test_no_client_declares_more_than_most() -> None:
    with pytest.raises(
        ScenarioError, match=r"declares 200 for a client, of which data\.most keeps 100 at the most"
    ):
        parse_scenario(
            "data.most = 100\nprivacy.records = [100, 200, 31, 86]\nprivacy.epsilon = inf"
        )
    declared = "data.most = 200\nprivacy.records = [100, 200, 31, 86]\nprivacy.epsilon = inf"
    assert parse_scenario(declared).data.most == 200
