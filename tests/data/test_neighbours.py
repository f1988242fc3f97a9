"""The attack on the claim: a client's record is removed, and one step's clipped sum compared.

A claim about one training example holds where the records that a client trains on change by one
record at most. Each test removes one record from a client's files, before anything of ours touches
them, and plays a round through the engine. The batch is full and the noise the same in both runs,
so the difference of the two updates is the difference of the two sums.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from securefl.audit.knowledge import Watcher
from securefl.audit.replay import replay
from securefl.audit.threats import THREATS
from securefl.data.coins import content_hashes
from securefl.data.task import Examples, FederatedData, Site
from securefl.errors import ScenarioError
from securefl.scenario import catalog
from securefl.scenario.assemble.data import load_data, pool_of
from securefl.scenario.scenario import Scenario, make_scenario, parse_scenario
from securefl.scenario.summary import summary

# Declared for each client; also the batch, and so the divisor of the sum.
RECORDS = 300
CLIENT = 0
HEART = f"""
rounds = 1
weights = "equal"
data = {{ name = "heart", partition = "natural" }}
training = {{ kind = "dp_sgd", batch = {RECORDS}, lr = 1.0, clip = 1.0 }}
[privacy]
noise = "seeded"
noise_multiplier = 1.0
records = [{RECORDS}, {RECORDS}, {RECORDS}, {RECORDS}]
"""
DIGITS = HEART.replace('name = "heart", partition = "natural"', 'name = "digits", clients = 4')
# The client's records by their place in the published file: three kinds of copies, some at both
# ends.
COPIES = (*range(60), 7, 7, 31, 0, *range(60, 90), 31, 59, 0)
REMOVED = {
    "first": 0,
    "middle": 45,
    "last": len(COPIES) - 1,
    "a first copy": 7,
    "a middle copy": 60,
    "a last copy": 95,
}
KEYS: dict[str, tuple[str, ...]] = {
    "label_noise": ("data.label_noise=0.3",),
    "share": ("data.share=0.5",),
    "rehearsal": ("rehearsal.client=0", "rehearsal.seed=3"),
    "all of them": (
        "data.label_noise=0.3",
        "data.share=0.6",
        "rehearsal.client=0",
        "rehearsal.seed=4",
    ),
    "none of them": (),
}
DEALS = {
    "iid": (),
    "dirichlet": ("data.minimum=20",),
    "quantity": ("data.minimum=20",),
    "pathological": (),
}

Change = Callable[[FederatedData], FederatedData]


def taken(examples: Examples, places: tuple[int, ...]) -> Examples:
    return Examples(examples.features[list(places)], examples.labels[list(places)])


def with_records(data: FederatedData, client: int, places: tuple[int, ...]) -> FederatedData:
    """Returns the same data, with a client's training records at these places only."""
    site = data.sites[client]
    sites = list(data.sites)
    sites[client] = Site(site.name, taken(site.train, places), site.test)
    return replace(data, sites=tuple(sites))


def without(data: FederatedData, client: int, place: int) -> FederatedData:
    n = len(data.sites[client].train)
    return with_records(data, client, tuple(at for at in range(n) if at != place))


def changing_files(monkeypatch: pytest.MonkeyPatch, name: str, change: Change) -> None:
    """Makes a data set's files hold other records."""
    entry = catalog.DATA[name]

    def load(**given: object) -> FederatedData:
        return change(entry.load(**given))

    monkeypatch.setitem(catalog.DATA, name, replace(entry, load=load))


def again(scenario: Scenario) -> Scenario:
    """Returns the same scenario, which finds the files as they are now."""
    return make_scenario(scenario.resolved())


def clipped_sum(scenario: Scenario, client: int = CLIENT) -> Tensor:
    """Returns a client's noisy sum of one round, (d,), in clips, as a plain server sees it."""
    watcher = Watcher(THREATS["server"], (), client, "plain")
    (sight,) = replay(again(scenario), [watcher], on_round=lambda record: None).knowledge[0].moves
    assert sight.alone
    assert sight.moved is not None
    return sight.moved.double() * -RECORDS / (scenario.training.lr * scenario.training.clip)


def moved(monkeypatch: pytest.MonkeyPatch, scenario: Scenario, place: int) -> float:
    """Returns how many clips the client's sum moves without the record at a place of its file."""
    sums = []
    for places in (COPIES, COPIES[:place] + COPIES[place + 1 :]):
        with monkeypatch.context() as patched:
            changing_files(patched, "heart", partial(with_records, client=CLIENT, places=places))
            sums.append(clipped_sum(scenario))
    return float((sums[0] - sums[1]).norm())


@pytest.mark.parametrize("place", REMOVED.values(), ids=REMOVED)
@pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS)
def test_removing_one_record_moves_a_steps_clipped_sum_by_one_clip_at_most(
    monkeypatch: pytest.MonkeyPatch, keys: tuple[str, ...], place: int
) -> None:
    assert moved(monkeypatch, parse_scenario(HEART, overrides=keys), place) <= 1 + 1e-4


@pytest.mark.parametrize("place", [0, 29, -1], ids=["first", "middle", "last"])
@pytest.mark.parametrize(("deal", "keys"), DEALS.items(), ids=DEALS)
def test_after_the_deal_removing_one_record_of_a_client_moves_its_sum_by_one_clip_at_most(
    monkeypatch: pytest.MonkeyPatch, deal: str, keys: tuple[str, ...], place: int
) -> None:
    partition = f"data.partition={deal}"
    scenario = parse_scenario(DIGITS, overrides=(partition, *keys, "data.label_noise=0.2"))
    sums = [clipped_sum(scenario)]
    dealt = FederatedData.dealt

    def one_less(data: FederatedData, parts: Sequence[Tensor]) -> FederatedData:
        whole = dealt(data, parts)
        return without(whole, CLIENT, place % len(whole.sites[CLIENT].train))

    monkeypatch.setattr(FederatedData, "dealt", one_less)
    sums.append(clipped_sum(scenario))
    assert 0 < float((sums[0] - sums[1]).norm()) <= 1 + 1e-4


def test_a_record_removed_before_the_deal_moves_others_which_validate_says() -> None:
    """This is why the deal is outside the claim: other records move between the clients."""
    scenario = parse_scenario(DIGITS)
    with pytest.MonkeyPatch.context() as patched:
        before = load_data(scenario).sites[CLIENT].train
        changing_files(patched, "digits", lambda data: without(data, 0, 0))
        after = load_data(again(scenario)).sites[CLIENT].train
    common = set(content_hashes(before)) & set(content_hashes(after))
    assert len(common) < len(before) - 50
    given = "taken as given by the claim: which records are for training"
    assert f"{given}, how 'iid' deals one data set to the clients" in summary(scenario)
    assert given in summary(parse_scenario(HEART))
    assert "deals" not in summary(parse_scenario(HEART))
    rehearsal = parse_scenario(HEART, overrides=("rehearsal.seed=1",))
    assert "which test records the rehearsal lends" in summary(rehearsal)
    assert given not in summary(parse_scenario(HEART, overrides=("privacy.epsilon=inf",)))


@pytest.mark.parametrize("place", [0, 29, 140], ids=["first", "middle", "last"])
def test_under_a_backdoor_an_honest_clients_record_moves_its_own_sum_alone_by_one_clip_at_most(
    monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    """No claim covers a corrupt client's poisoned records: it may send all it has."""
    attack = 'attack = { name = "backdoor", target = 1, share = 0.5, clients = [1] }'
    scenario = parse_scenario(HEART, overrides=(attack,))
    assert "not covered: records of the corrupt clients" in summary(scenario)
    assert "not covered" not in summary(parse_scenario(HEART))
    before = (clipped_sum(scenario), clipped_sum(scenario, client=1))
    changing_files(monkeypatch, "heart", lambda data: without(data, CLIENT, place))
    assert 0 < float((before[0] - clipped_sum(scenario)).norm()) <= 1 + 1e-4
    assert torch.equal(before[1], clipped_sum(scenario, client=1))


def test_under_a_claim_no_refusal_reveals_that_a_client_has_no_record() -> None:
    """With a share so small that nothing stays, plain SGD says so, and DP-SGD sends noise."""
    keys = ("data.share=1e-6",)
    with pytest.raises(ScenarioError, match=r"data\.share leaves client 0 without a record"):
        load_data(parse_scenario('training.kind = "sgd"', overrides=keys))
    scenario = parse_scenario(HEART, overrides=keys)
    assert [len(site.train) for site in load_data(scenario).sites] == [0] * 4
    noise = clipped_sum(scenario)
    assert 0 < float(noise.norm()) < 20


def test_the_same_record_at_two_clients_draws_coins_of_its_own_at_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def with_twins(data: FederatedData) -> FederatedData:
        return replace(data, sites=(data.sites[0],) * 2 + data.sites[2:])

    changing_files(monkeypatch, "heart", with_twins)
    shared = load_data(parse_scenario(HEART, overrides=("data.share=0.5",))).sites
    assert content_hashes(shared[0].train) != content_hashes(shared[1].train)
    noisy = load_data(parse_scenario(HEART, overrides=("data.label_noise=0.5",))).sites
    assert content_hashes(noisy[0].train) != content_hashes(noisy[1].train)


def test_under_a_claim_a_rehearsal_lends_the_declared_number_of_test_records() -> None:
    """The real number is never read: a removed record would take a test record along."""
    declared = "privacy.records=[90, 90, 90, 90]"
    for keys, lent in (((declared,), 90), (("privacy.epsilon=inf",), 200)):
        scenario = parse_scenario(HEART, overrides=keys)
        pool = pool_of(scenario, load_data(scenario), CLIENT)
        test = load_data(scenario).sites[CLIENT].test
        assert test is not None
        assert len(pool.examples) - pool.own == min(lent, len(test))


def test_under_a_claim_a_rehearsal_without_records_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    changing_files(monkeypatch, "heart", lambda data: with_records(data, CLIENT, (0,)))
    declared = f"privacy.records=[1, {RECORDS}, {RECORDS}, {RECORDS}]"
    overrides = [(declared, f"rehearsal.seed={seed}") for seed in range(0, 40, 2)]
    rehearsals = [parse_scenario(HEART, overrides=keys) for keys in overrides]
    empty = next(
        rehearsal for rehearsal in rehearsals if not len(load_data(rehearsal).sites[CLIENT].train)
    )
    assert bool(clipped_sum(empty).isfinite().all())


def test_an_exact_number_of_records_is_refused_under_a_claim_with_a_way_out() -> None:
    with pytest.raises(ScenarioError, match=r"data\.most keeps an exact number.*set data\.share"):
        parse_scenario(HEART, overrides=("data.most=300",))
    assert parse_scenario(HEART, overrides=("data.share=0.1",)).claims_dp
    unclaimed = parse_scenario(HEART, overrides=("data.most=300", "privacy.epsilon=inf"))
    assert unclaimed.data.most == 300
