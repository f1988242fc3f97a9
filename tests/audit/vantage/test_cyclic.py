"""Sites in turn: the sites next to a client know its update exactly, or in a sum."""

import pytest
import torch

from securefl.audit.inquiry import Inquiry, misfit
from securefl.audit.inside import why_unseen
from securefl.errors import ScenarioError
from securefl.scenario.scenario import Scenario, parse_scenario
from tests.audit.vantage.looks import Looked, equal, look
from tests.values import present

SGD = 'training = { kind = "sgd", batch = 64, lr = 0.2 }\n'


def scenario(more: str = "", rounds: int = 3) -> Scenario:
    heart = f'rounds = {rounds}\ndata = {{ name = "heart" }}\ntopology = "cyclic"\n'
    return parse_scenario(heart + SGD + more)


def two_sites() -> Scenario:
    return parse_scenario(
        'rounds = 3\ndata = { name = "heart", partition = "iid", clients = 2 }\n'
        'topology = "cyclic"\n' + SGD
    )


def check_exact(looked: Looked, rounds: list[int]) -> None:
    """Each sight is the target's update of its round, seen by itself."""
    target = looked.inquiry.target
    assert [sight.round for sight in looked.moves] == rounds
    for sight in looked.moves:
        equal(sight.moved, looked.real(target, sight.round))
        assert sight.alone
        assert sight.counts == {target: 1.0}


@pytest.mark.parametrize("target", range(4))
def test_the_next_site_sees_the_sum_of_the_sites_since_its_last_visit(target: int) -> None:
    looked = look(scenario(), "next-site", target=target)
    after = (target + 1) % 4
    assert looked.inquiry.coalition == (after,)
    assert [sight.round for sight in looked.moves] == [0, 1, 2]
    for sight in looked.moves:
        # Sites behind the adversary's place in the order were visited a round earlier.
        between = {
            site: sight.round - (site > target)
            for site in range(4)
            if site != after and sight.round - (site > target) >= 0
        }
        total = sum(looked.real(site, round) for site, round in between.items())
        equal(sight.moved, total if isinstance(total, torch.Tensor) else torch.zeros(()))
        assert sight.counts == dict.fromkeys(between, 1.0)
        assert sight.alone == (set(between) == {target})


@pytest.mark.parametrize("target", range(4))
def test_the_sites_before_and_after_see_the_update_by_itself(target: int) -> None:
    looked = look(scenario(), "next-site", colluders=2, target=target)
    assert set(looked.inquiry.coalition) == {(target + 1) % 4, (target - 1) % 4}
    check_exact(looked, [0, 1, 2])


@pytest.mark.parametrize("target", [0, 1])
def test_of_two_sites_each_knows_the_others_update(target: int) -> None:
    check_exact(look(two_sites(), "next-site", target=target), [0, 1, 2])


@pytest.mark.parametrize("order", ["fixed", "random"])
def test_the_network_sees_every_update_by_itself_and_the_model_it_is_of(order: str) -> None:
    more = f'topology = {{ kind = "cyclic", order = "{order}" }}\n'
    text = 'rounds = 3\ndata = { name = "heart" }\n'
    looked = look(parse_scenario(text + SGD + more), "network", target=2)
    check_exact(looked, [0, 1, 2])
    handed = [
        present(one.values)
        for one in looked.oracle.seen
        if (one.party, one.kind) == ("client 2", "global model")
    ]
    for sight, model in zip(looked.moves, handed, strict=True):
        assert torch.equal(present(sight.model), model)


def test_the_model_that_an_adversary_ends_with_is_that_of_the_run() -> None:
    for adversary in ("next-site", "network", "outsider-weights"):
        looked = look(scenario(rounds=1), adversary)
        assert torch.equal(present(looked.knowledge.final), looked.played.weights)
    asked = look(scenario(rounds=1), "outsider").knowledge
    assert asked.final is None
    assert not asked.moves


def test_a_silent_site_is_in_no_sum_and_what_a_silent_adversary_was_handed_counts() -> None:
    drop = "simulate = { drop = [{ client = 0, round = 1, stage = 1 }] }\n"
    looked = look(scenario(drop), "next-site", target=1)
    second = looked.moves[1]
    # Client 2 hands on in round 0, sites 3 and 1 train, and it is handed the model of round 1.
    assert second.counts == {3: 1.0, 1: 1.0}
    equal(second.moved, looked.real(3, 0) + looked.real(1, 1))
    drop = "simulate = { drop = [{ client = 2, round = 1, stage = 1 }] }\n"
    looked = look(scenario(drop), "next-site", target=1)
    counts = [sight.counts for sight in looked.moves]
    assert counts == [{0: 1.0, 1: 1.0}, {3: 1.0, 0: 1.0, 1: 1.0}, {3: 1.0, 0: 1.0, 1: 1.0}]
    equal(looked.moves[2].moved, looked.real(3, 1) + looked.real(0, 2) + looked.real(1, 2))


def test_after_an_abandoned_round_the_model_is_the_one_from_before_it() -> None:
    def without(*sites: int) -> Scenario:
        silent = ", ".join(f"{{ client = {site}, round = 1, stage = 1 }}" for site in sites)
        return scenario(f"channel.min_cohort = 3\nsimulate = {{ drop = [{silent}] }}\n")

    looked = look(without(0, 3), "next-site", colluders=2, target=1)
    assert [record.abandoned for record in looked.oracle.records] == [False, True, False]
    # What was handed on in the abandoned round was seen all the same.
    check_exact(looked, [0, 1, 2])
    alone = look(without(0, 1), "network", target=3)
    # The last site of an abandoned round hands its model to nobody.
    check_exact(alone, [0, 2])


def test_a_sight_is_of_all_that_trained_between_two_visits_of_the_adversary() -> None:
    """With cohorts of two, the target may come twice in between, or not at all."""
    looked = look(scenario("cohort.size = 2\n", rounds=12), "next-site", target=1)
    trainings = dict.fromkeys(range(4), 0)
    stretches: list[list[tuple[int, int, torch.Tensor]]] = [[]]  # round, site, its update
    for record in looked.oracle.records:
        for site in record.survivors:
            if site == 2:
                stretches.append([])
            else:
                real = looked.real(site, trainings[site])
                stretches[-1].append((record.round, site, real))
            trainings[site] += 1
    seen = [stretch for stretch in stretches if any(site == 1 for _, site, _ in stretch)]
    twice = [stretch for stretch in seen if [site for _, site, _ in stretch].count(1) > 1]
    assert twice
    for sight, stretch in zip(looked.moves, seen, strict=True):
        sites = [site for _, site, _ in stretch]
        assert sight.round == next(round for round, site, _ in stretch if site == 1)
        equal(sight.moved, torch.stack([update for _, _, update in stretch]).sum(dim=0))
        # Two updates of one site are no multiple of either.
        once = len(set(sites)) == len(sites)
        assert sight.counts == (dict.fromkeys(sites, 1.0) if once else None)
        assert sight.alone == (sites == [1])


@pytest.mark.parametrize(
    ("more", "adversary", "colluders", "sentence"),
    [
        ("", "server", 1, "with topology = 'cyclic' nobody is 'server'; use one of next-site, "),
        ("", "clients", 1, "nobody is 'clients'; use one of next-site, network, outsider, outs"),
        ("", "region", 1, "nobody is 'region'"),
        ("", "neighbour", 1, "nobody is 'neighbour'"),
        ("", "malicious-server", 1, "nobody is 'malicious-server'"),
        ("", "server+clients", 1, "nobody is 'server\\+clients'"),
        ("", "next-site", 3, "at most 2, got 3"),
        ("", "next-site", 4, "4 of 4 clients cannot look at another one"),
        ("", "next-site", 0, "0 of 4 clients cannot look at another one"),
    ],
)
def test_who_cannot_look_is_refused(
    more: str, adversary: str, colluders: int, sentence: str
) -> None:
    with pytest.raises(ScenarioError, match=sentence):
        Inquiry(scenario(more), adversary, colluders)


def test_a_random_order_has_no_next_site() -> None:
    text = 'data.name = "heart"\ntopology = { kind = "cyclic", order = "random" }\n'
    drawn = parse_scenario(text + SGD)
    with pytest.raises(ScenarioError, match="another one is next in each round; use order"):
        Inquiry(drawn, "next-site")
    assert misfit(drawn, "next-site")
    assert not misfit(drawn, "network")


def test_from_inside_it_is_looked_at_where_updates_are_seen_by_themselves() -> None:
    assert not why_unseen(Inquiry(scenario(), "network"))
    assert not why_unseen(Inquiry(scenario(), "next-site", 2))
    assert not why_unseen(Inquiry(two_sites(), "next-site"))
    assert "with --colluders=2" in why_unseen(Inquiry(scenario(), "next-site"))
    assert why_unseen(Inquiry(scenario(), "outsider-weights"))
