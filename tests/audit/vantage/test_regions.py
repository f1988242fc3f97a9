"""Regions: their servers see what a server sees, and the top sees changes of the model."""

import pytest
import torch
from torch import Tensor

from securefl.audit.inquiry import Inquiry
from securefl.audit.inside import why_unseen
from securefl.channels.protocol import Seen
from securefl.errors import ScenarioError
from securefl.scenario.scenario import Scenario, parse_scenario
from tests.audit.vantage.looks import Looked, differ, equal, look
from tests.values import present

HALVES = "[[0, 2, 4], [1, 3, 5]]"
SINGLES = "[[1], [0, 2, 4], [3], [5]]"
MASKS = 'channel = { kind = "masked" }\n'


def scenario(regions: str = HALVES, *, inner: int = 1, more: str = "", rounds: int = 3) -> Scenario:
    return parse_scenario(
        f'rounds = {rounds}\ndata = {{ name = "heart", partition = "iid", clients = 6 }}\n'
        'training = { kind = "sgd", batch = 32, lr = 0.2 }\n'
        f'topology = {{ kind = "hierarchical", regions = {regions}, inner_rounds = {inner} }}\n'
        f"{more}"
    )


def models_of(looked: Looked, client: int) -> list[Tensor]:
    """The models that a client was sent, one a training."""
    return [
        present(one.values)
        for one in looked.oracle.seen
        if (one.party, one.kind) == (f"client {client}", Seen.GLOBAL_MODEL)
    ]


def check_exact(looked: Looked, trainings: range) -> None:
    """Each sight is the target's update of a training, with the model that it is of."""
    target = looked.inquiry.target
    assert [sight.round for sight in looked.moves] == list(trainings)
    models = models_of(looked, target)
    for sight in looked.moves:
        equal(sight.moved, looked.real(target, sight.round))
        assert torch.equal(present(sight.model), models[sight.round])
        assert sight.alone
        assert sight.counts == {target: 1.0}


@pytest.mark.parametrize("adversary", ["region", "network"])
@pytest.mark.parametrize(("target", "regions"), [(0, HALVES), (3, HALVES), (1, SINGLES)])
def test_a_regions_server_and_the_network_see_each_training_by_itself(
    adversary: str, target: int, regions: str
) -> None:
    looked = look(scenario(regions, inner=2), adversary, target=target)
    check_exact(looked, range(6))
    assert torch.equal(present(looked.knowledge.final), looked.played.weights)


@pytest.mark.parametrize("adversary", ["region", "network"])
def test_under_masks_they_see_the_sum_of_the_regions_clients(adversary: str) -> None:
    looked = look(scenario(inner=2, more=MASKS), adversary, target=3)
    assert [sight.round for sight in looked.moves] == list(range(6))
    for sight in looked.moves:
        counts = present(sight.counts)
        assert set(counts) == {1, 3, 5}
        total = sum(count * looked.real(client, sight.round) for client, count in counts.items())
        torch.testing.assert_close(present(sight.moved), total, rtol=0, atol=5e-5)
        assert not sight.alone
        assert differ(sight.moved, looked.real(3, sight.round))
        assert torch.equal(present(sight.model), models_of(looked, 3)[sight.round])


@pytest.mark.parametrize("target", [0, 1])
def test_under_masks_updates_count_by_the_largest_weight_of_their_region(target: int) -> None:
    looked = look(
        parse_scenario(
            'rounds = 1\ndata = { name = "heart", partition = "iid", clients = 6 }\n'
            "training = { batch = 32, lr = 0.2 }\n"
            'privacy = { noise = "seeded", noise_multiplier = 2.0, '
            "records = [200, 90, 150, 85, 85, 85] }\n"
            f'topology = {{ kind = "hierarchical", regions = {HALVES} }}\n{MASKS}'
        ),
        "region",
        target=target,
    )
    (sight,) = looked.moves
    counts = present(sight.counts)
    assert max(counts.values()) == 1
    total = sum(count * looked.real(client, 0) for client, count in counts.items())
    torch.testing.assert_close(present(sight.moved), total, rtol=0, atol=5e-5)


@pytest.mark.parametrize("channel", ["", MASKS])
def test_the_top_sees_the_mean_of_a_regions_clients(channel: str) -> None:
    looked = look(scenario(more=channel), "top", target=3)
    assert [sight.round for sight in looked.moves] == [0, 1, 2]
    for sight in looked.moves:
        counts = present(sight.counts)
        assert set(counts) == {1, 3, 5}
        assert sum(counts.values()) == pytest.approx(1)
        total = sum(count * looked.real(client, sight.round) for client, count in counts.items())
        torch.testing.assert_close(present(sight.moved), total, rtol=0, atol=5e-5)
        assert not sight.alone
        assert torch.equal(present(sight.model), models_of(looked, 3)[sight.round])


def test_the_top_sees_the_update_of_a_region_of_one_client() -> None:
    looked = look(scenario(SINGLES), "top", target=1)
    check_exact(looked, range(3))


def test_of_several_inner_rounds_the_top_sees_the_sum_of_a_regions_steps() -> None:
    looked = look(scenario(SINGLES, inner=2), "top", target=1)
    assert [sight.round for sight in looked.moves] == [0, 2, 4]
    for sight in looked.moves:
        total = looked.real(1, sight.round) + looked.real(1, sight.round + 1)
        equal(sight.moved, total)
        assert not sight.alone
        assert sight.counts is None


def test_of_a_rule_that_is_no_mean_the_top_knows_no_counts() -> None:
    looked = look(scenario(more='defense.rule = "median"\n', rounds=1), "top", target=1)
    (sight,) = looked.moves
    assert sight.counts is None
    assert not sight.alone


def test_a_client_that_is_silent_is_not_seen_in_that_round() -> None:
    drop = "simulate = { drop = [{ client = 1, round = 1, stage = 1 }] }\n"
    for adversary in ("region", "network", "top"):
        looked = look(scenario(inner=2, more=drop), adversary, target=1)
        seen = [sight.round for sight in looked.moves]
        assert seen == ([0, 4] if adversary == "top" else [0, 1, 4, 5])
    other = look(scenario(more=drop), "top", target=3)
    assert [set(present(sight.counts)) for sight in other.moves] == [{1, 3, 5}, {3, 5}, {1, 3, 5}]


def test_the_row_of_a_region_of_one_is_not_taken_for_a_training_that_it_missed() -> None:
    """The network sees the row to the top as well, which may be about the same client."""
    looked = look(scenario(SINGLES, inner=3), "network", target=1)
    check_exact(looked, range(9))


def test_a_regions_server_sees_nothing_of_the_clients_of_others() -> None:
    looked = look(scenario(), "region", target=0, client=1)
    assert not looked.moves


@pytest.mark.parametrize(
    "adversary",
    ["server", "malicious-server", "clients", "server+clients", "server+key-holder", "next-site"],
)
def test_who_is_not_there_is_refused_with_those_that_are(adversary: str) -> None:
    there = "use one of region, top, network, outsider, outsider-weights"
    with pytest.raises(ScenarioError, match=there):
        Inquiry(scenario(), adversary)


def test_from_inside_it_is_looked_at_where_updates_are_seen_by_themselves() -> None:
    assert not why_unseen(Inquiry(scenario(), "region"))
    assert not why_unseen(Inquiry(scenario(), "network"))
    assert not why_unseen(Inquiry(scenario(SINGLES), "top", target=1))
    assert "changes of a region's model" in why_unseen(Inquiry(scenario(), "top"))
    assert why_unseen(Inquiry(scenario(SINGLES, inner=2), "top", target=1))
    assert "sums are seen only" in why_unseen(Inquiry(scenario(more=MASKS), "region"))
