"""Data sets as a scenario names them: splits, folds, public sizes, sites left out."""

from collections import Counter
from collections.abc import Callable

import pytest
import torch

from securefl.data.heart import load_heart
from securefl.data.task import FederatedData
from securefl.errors import ScenarioError
from securefl.scenario.assemble.data import load_data
from securefl.scenario.scenario import parse_scenario
from tests.data.sets import Records, bag, digits, halves, natural


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
    training = bag(*(site.train for site in usual.sites))
    assert bag(*(site.train for site in tuning.sites), tuning.test) == training
    # The two halves of a hospital are dealt afresh, so they do not keep their records.
    if "halves" not in keys:
        for site, whole in zip(tuning.sites, usual.sites, strict=True):
            if site.test is not None:
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
    # Each fold is a quarter of each of 8 classes of hospitals, or of all digits, rounded.
    quarters = 8 if name == "heart" else 1
    rounding = 2 * quarters
    assert (training - judged).total() <= rounding
    assert (judged - training).total() <= rounding
    default = scenario_data(f'{keys}, test_on = "validation"')
    first = scenario_data(f'{keys}, test_on = "validation", fold = 0')
    assert torch.equal(default.test.features, first.test.features)


def test_a_fold_without_validation_records_is_refused() -> None:
    without = r"data\.fold has no effect unless data\.test_on = 'validation'; remove it"
    with pytest.raises(ScenarioError, match=without):
        scenario_data('name = "heart", fold = 1')
    published = r"data\.fold has no effect with medmnist:breastmnist; remove it"
    with pytest.raises(ScenarioError, match=published):
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
        data = f"data = {{ name = '{name}'{keys}, test_on = 'validation' }}"
        scenario = parse_scenario(f"{data}\nprivacy = {{ delta = 1e-14 }}")
        assert scenario.site_records == tuple(len(site.train) for site in load_data(scenario).sites)
    pooled = parse_scenario(
        "data = { name = 'heart', partition = 'pooled', held_out = 0, test_on = 'validation' }"
    )
    assert pooled.site_records == (217,)
    assert len(load_data(pooled).sites[0].train) == 217


def test_a_site_left_out_chooses_no_learning_rate() -> None:
    sites = natural().sites
    inside = bag(*(site.train for site in (sites[0], *sites[2:])))
    # Records of the site left out that no other hospital has a copy of.
    outside = bag(sites[1].train, sites[1].test) - inside
    for keys in ("", ', partition = "pooled"', ", only = 2"):
        data = scenario_data(f'name = "heart", held_out = 1, test_on = "validation"{keys}')
        used = bag(*(site.train for site in data.sites), data.test)
        assert not used & outside
        judged = natural_validation(2) if "only" in keys else natural_validation(0, 2, 3)
        assert bag(data.test) == judged


def natural_validation(*sites: int) -> Records:
    """Returns the validation records of some hospitals."""
    data = load_heart(partition="natural", split_seed=0, test_on="validation")
    return bag(*(data.sites[site].test for site in sites))


@pytest.mark.parametrize("load", [natural, halves, lambda seed: digits(10, seed)])
def test_split_seeds_repeat_and_differ(load: Callable[[int], FederatedData]) -> None:
    data = load(0)
    same = load(0)
    other = load(1)
    for site, repeated in zip(data.sites, same.sites, strict=True):
        assert torch.equal(site.train.features, repeated.train.features)
        assert torch.equal(site.train.labels, repeated.train.labels)
    assert torch.equal(data.test.features, same.test.features)
    assert bag(data.test) != bag(other.test)
    for site, differing in zip(data.sites, other.sites, strict=True):
        assert len(site.train) == len(differing.train)
        assert bag(site.train) != bag(differing.train)


@pytest.mark.parametrize(
    "data",
    ['partition = "halves"', 'partition = "iid", clients = 7', 'name = "digits"', "only = 2"],
)
def test_the_published_sizes_are_the_sizes_that_are_dealt(data: str) -> None:
    scenario = parse_scenario(f"data = {{ {data}, split_seed = 4 }}")
    assert tuple(len(site.train) for site in load_data(scenario).sites) == scenario.site_records


@pytest.mark.parametrize("site", range(4))
def test_no_record_of_a_hospital_held_out_trains_and_all_are_tested(site: int) -> None:
    whole = load_data(parse_scenario(""))
    data = load_data(parse_scenario(f"data = {{ held_out = {site} }}"))
    out = whole.sites[site]
    remaining = [*whole.sites[:site], *whole.sites[site + 1 :]]
    assert out.test is not None
    assert [trained.name for trained in data.sites] == [other.name for other in remaining]
    assert all(trained.test is None for trained in data.sites)
    sizes = [len(other.train) for other in remaining]
    assert [len(trained.train) for trained in data.sites] == sizes
    assert torch.equal(data.test.features, torch.cat([out.train.features, out.test.features]))
    assert torch.equal(data.test.labels, torch.cat([out.train.labels, out.test.labels]))
    pooled = load_data(parse_scenario(f'data = {{ held_out = {site}, partition = "pooled" }}'))
    assert len(pooled.sites[0].train) == sum(sizes)
    assert torch.equal(pooled.test.features, data.test.features)
    for place, other in enumerate(whole.sites):
        if place == site:
            continue
        alone = load_data(parse_scenario(f"data = {{ held_out = {site}, only = {place} }}"))
        (trained,) = alone.sites
        assert trained.name == other.name
        assert torch.equal(trained.train.features, other.train.features)
        assert torch.equal(alone.test.features, data.test.features)
