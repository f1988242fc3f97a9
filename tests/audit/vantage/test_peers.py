"""Peers: who hears all rows that a node hears knows its updates exactly; others, their mixture."""

import pytest
import torch
from torch import Tensor

from securefl.audit.inquiry import Inquiry
from securefl.audit.inside import why_unseen
from securefl.channels.protocol import Seen
from securefl.errors import ScenarioError
from securefl.scenario.scenario import Scenario, parse_scenario
from tests import normed
from tests.audit.vantage.looks import Looked, differ, equal, look
from tests.values import present

NNA = 'defense.rule = { name = "nna", f = 1 }\n'
MONNA = 'defense.rule = { name = "monna", f = 1 }\n'
FLIP = 'attack = { name = "sign_flip", scale = 5.0, clients = [3] }\n'


def scenario(
    graph: str = "ring",
    more: str = "",
    *,
    order: str = "train_then_mix",
    rounds: int = 4,
    model: str = "logistic",
) -> Scenario:
    return parse_scenario(
        f'rounds = {rounds}\ndata = {{ name = "digits", partition = "iid", clients = 6 }}\n'
        f'model = {{ name = "{model}" }}\n'
        'training = { kind = "sgd", batch = 64, lr = 0.1 }\n'
        f'topology = {{ kind = "peer", graph = "{graph}", order = "{order}" }}\n{more}'
    )


def silent(*places: tuple[int, int]) -> str:
    drops = ", ".join(f"{{ client = {c}, round = {r}, stage = 1 }}" for c, r in places)
    return f"simulate = {{ drop = [{drops}] }}\n"


def sent(looked: Looked) -> list[Tensor]:
    """The rows of the target, one a round in which it sent one."""
    target = looked.inquiry.target
    (first, *_) = [
        one.party
        for one in looked.oracle.seen
        if one.kind == Seen.PEER_MODEL and one.about == (target,) and one.party != "network"
    ]
    return [
        present(one.values)
        for one in looked.oracle.seen
        if (one.kind, one.about, one.party) == (Seen.PEER_MODEL, (target,), first)
    ]


def check_exact(looked: Looked, rounds: list[int], *, atol: float = 1e-6) -> None:
    target = looked.inquiry.target
    assert [sight.round for sight in looked.moves] == rounds
    for training, sight in enumerate(looked.moves):
        real = looked.real(target, training)
        torch.testing.assert_close(present(sight.moved), real, rtol=0, atol=atol)
        assert sight.alone
        assert sight.counts == {target: 1.0}


def check_mixed(looked: Looked) -> None:
    """The first sight is the update, the others are the way from one row to the next."""
    target = looked.inquiry.target
    rows = sent(looked)
    first, *later = looked.moves
    equal(first.moved, looked.real(target, 0))
    assert first.alone
    for round, sight in enumerate(later, start=1):
        assert sight.round == round
        assert torch.equal(present(sight.moved), rows[round] - rows[round - 1])
        assert torch.equal(present(sight.model), rows[round - 1])
        assert differ(sight.moved, looked.real(target, round))
        assert not sight.alone
        assert sight.counts is None


@pytest.mark.parametrize("target", [0, 2])
def test_on_a_ring_a_neighbour_knows_the_first_update_and_then_a_mixture(target: int) -> None:
    looked = look(scenario(), "neighbour", target=target)
    assert looked.inquiry.coalition == (min((target - 1) % 6, (target + 1) % 6),)
    check_mixed(looked)


@pytest.mark.parametrize("rule", ["", NNA])
@pytest.mark.parametrize("target", [0, 4])
def test_where_all_hear_all_one_neighbour_knows_every_update(rule: str, target: int) -> None:
    check_exact(look(scenario("complete", rule), "neighbour", target=target), [0, 1, 2, 3])


@pytest.mark.parametrize("order", ["train_then_mix", "d_psgd"])
def test_both_neighbours_on_a_ring_know_every_update_by_their_own_rows(order: str) -> None:
    looked = look(scenario(order=order), "neighbour", colluders=2)
    assert looked.inquiry.coalition == (1, 5)
    # In the order of D-PSGD the last update is sent to nobody.
    check_exact(looked, [0, 1, 2, 3] if order == "train_then_mix" else [0, 1, 2])


@pytest.mark.parametrize(("graph", "more"), [("ring", ""), ("ring", FLIP), ("complete", NNA)])
def test_the_network_knows_every_update_also_where_nodes_lie(graph: str, more: str) -> None:
    looked = look(scenario(graph, more), "network", target=2)
    check_exact(looked, [0, 1, 2, 3])


@pytest.mark.parametrize("adversary", ["neighbour", "network"])
def test_updates_are_taken_out_of_momenta(adversary: str) -> None:
    check_exact(look(scenario("complete", MONNA), adversary, target=1), [0, 1, 2, 3], atol=2e-5)


@pytest.mark.parametrize("adversary", ["neighbour", "network"])
def test_running_statistics_have_no_momentum_that_an_update_is_taken_out_of(
    adversary: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    normed.add_to_catalog(monkeypatch)
    given = scenario("complete", MONNA, model="normed")
    check_exact(look(given, adversary, target=1), [0, 1, 2, 3], atol=2e-5)


@pytest.mark.parametrize("colluders", [1, 2])
def test_in_the_order_of_d_psgd_an_update_is_in_the_next_row(colluders: int) -> None:
    looked = look(scenario(order="d_psgd"), "neighbour", colluders=colluders)
    rows = sent(looked)
    for sight in looked.moves:
        assert torch.equal(present(sight.model), rows[sight.round])
    if colluders == 1:
        first, *later = looked.moves
        equal(first.moved, looked.real(0, 0))
        assert first.alone
        for sight in later:
            moved = rows[sight.round + 1] - rows[sight.round]
            assert torch.equal(present(sight.moved), moved)
            assert not sight.alone
            assert sight.counts is None
        assert [sight.round for sight in looked.moves] == [0, 1, 2]


@pytest.mark.parametrize("order", ["train_then_mix", "d_psgd"])
@pytest.mark.parametrize("adversary", ["neighbour", "network"])
def test_a_silent_neighbour_or_node_leaves_the_others_exact(order: str, adversary: str) -> None:
    """Node 3 misses round 1, and the target round 2: their models stay."""
    more = silent((3, 1), (0, 2))
    looked = look(scenario("complete", more, order=order, rounds=5), adversary)
    expected = [0, 1, 3, 4] if order == "train_then_mix" else [0, 1, 3]
    check_exact(looked, expected)


def test_what_a_silent_neighbour_did_not_hear_it_does_not_know() -> None:
    looked = look(scenario("complete", silent((1, 1))), "neighbour")
    assert [sight.round for sight in looked.moves] == [0, 2, 3]
    assert [sight.alone for sight in looked.moves] == [True, False, True]
    equal(looked.moves[0].moved, looked.real(0, 0))
    # It missed the row of round 1.
    of_round_0, of_round_2, _ = sent(looked)
    assert torch.equal(present(looked.moves[1].moved), of_round_2 - of_round_0)
    equal(looked.moves[2].moved, looked.real(0, 3))


def test_after_a_gap_a_momentum_is_known_a_round_later_and_the_update_after_it() -> None:
    more = MONNA + silent((1, 1))
    looked = look(scenario("complete", more, rounds=5), "neighbour")
    assert [sight.round for sight in looked.moves] == [0, 2, 3, 4]
    assert [sight.alone for sight in looked.moves] == [True, False, False, True]
    assert [sight.counts is None for sight in looked.moves] == [False, True, True, False]
    torch.testing.assert_close(present(looked.moves[3].moved), looked.real(0, 4), rtol=0, atol=2e-5)


def test_where_neighbours_lie_the_rows_that_a_node_hears_are_unknown() -> None:
    looked = look(scenario("complete", FLIP), "neighbour")
    check_mixed(looked)
    away = look(scenario("ring", FLIP), "neighbour", colluders=2)
    check_exact(away, [0, 1, 2, 3])


def test_an_abandoned_round_changes_no_model() -> None:
    more = "channel.min_cohort = 5\n" + silent((3, 1), (4, 1))
    looked = look(scenario("complete", more), "neighbour")
    assert [record.abandoned for record in looked.oracle.records] == [False, True, False, False]
    assert [sight.round for sight in looked.moves] == [0, 2, 3]
    for sight in looked.moves:
        equal(sight.moved, looked.real(0, sight.round))
        assert sight.alone


def test_until_a_round_counts_all_nodes_have_the_public_model() -> None:
    """In the order of D-PSGD a neighbour on a ring knows the rows of the first round unheard."""
    more = "channel.min_cohort = 5\n" + silent((3, 0), (4, 0))
    looked = look(scenario(more=more, order="d_psgd"), "neighbour")
    assert [sight.round for sight in looked.moves] == [1, 2]
    assert [sight.alone for sight in looked.moves] == [True, False]
    equal(looked.moves[0].moved, looked.real(0, 1))


@pytest.mark.parametrize("adversary", ["neighbour", "network"])
def test_they_end_with_the_last_model_that_the_target_sent(adversary: str) -> None:
    looked = look(scenario(rounds=2), adversary)
    assert torch.equal(present(looked.knowledge.final), sent(looked)[-1])
    assert not torch.equal(present(looked.knowledge.final), looked.played.weights)
    assert not looked.inquiry.compares


def test_an_outsider_has_the_mean_of_the_nodes() -> None:
    looked = look(scenario(rounds=2), "outsider-weights")
    assert torch.equal(present(looked.knowledge.final), looked.played.weights)
    assert looked.inquiry.compares


def test_a_node_that_is_no_neighbour_is_not_seen() -> None:
    assert not look(scenario(), "neighbour", client=3).moves


@pytest.mark.parametrize(
    ("adversary", "colluders", "sentence"),
    [
        ("server", 1, "with topology = 'peer' nobody is 'server'; use one of neighbour, network, "),
        ("clients", 1, "nobody is 'clients'"),
        ("server\\+clients", 1, "nobody is"),
        ("malicious-server", 1, "nobody is 'malicious-server'"),
        ("next-site", 1, "nobody is 'next-site'"),
        ("top", 1, "nobody is 'top'"),
        ("neighbour", 3, "client 0 has 2 neighbours, got 3"),
        ("neighbour", 0, "0 of 6 clients cannot look at another one"),
    ],
)
def test_who_cannot_look_is_refused(adversary: str, colluders: int, sentence: str) -> None:
    with pytest.raises(ScenarioError, match=sentence):
        Inquiry(scenario(), adversary.replace("\\", ""), colluders)


def test_without_a_topology_nobody_is_a_neighbour() -> None:
    with pytest.raises(ScenarioError, match="with topology = 'server' nobody is 'neighbour'; use"):
        Inquiry(parse_scenario(""), "neighbour")


def test_from_inside_it_is_looked_at_where_updates_are_seen_by_themselves() -> None:
    assert not why_unseen(Inquiry(scenario(), "network"))
    assert not why_unseen(Inquiry(scenario(), "neighbour", 2))
    assert not why_unseen(Inquiry(scenario("complete"), "neighbour"))
    assert "take more --colluders" in why_unseen(Inquiry(scenario(), "neighbour"))
    assert "take more --colluders" in why_unseen(Inquiry(scenario("complete", FLIP), "neighbour"))
    assert "too much rounding" in why_unseen(Inquiry(scenario("complete", MONNA), "network"))
    assert "nobody is sent the last" in why_unseen(Inquiry(scenario(order="d_psgd"), "network"))
