"""How many clients are chosen, how many may be away, and how `validate` says so."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from securefl.channels.protocol import Selection
from securefl.scenario.scenario import parse_scenario
from securefl.scenario.sketches import Numbers, goes_on, needed_clients, numbers_of
from securefl.scenario.summary import summary
from tests.scenario.test_sketch import TEN
from tests.scenario.texts import refusal


def numbers(clients: int, corrupt: int, rule: str) -> Numbers:
    text = TEN.replace('{ name = "dnc", f = 2 }', rule)
    overrides = (f"data.clients={clients}", f"channel.corrupt={corrupt}")
    return numbers_of(parse_scenario(text, overrides=overrides).facts)


def ten_of(*overrides: str) -> Numbers:
    return numbers_of(parse_scenario(TEN, overrides=overrides).facts)


@pytest.mark.parametrize(
    ("clients", "corrupt", "rule", "expected"),
    [
        # By hand. A sum holds at least 2 c + 1 clients, and c + 2. The threshold is the least t
        # with 2 t > n + c: so many must answer, and f that lie may not.
        (20, 4, '{ name = "dnc", f = 4 }', Numbers(20, 16, 9, 3)),  # t = 13, 20 - 17 away
        (9, 2, '{ name = "dnc", f = 2 }', Numbers(9, 7, 5, 0)),
        (9, 2, '{ name = "mda", f = 2 }', Numbers(9, 7, 5, 0)),
        # t = 34 of 64, and two that lie.
        (64, 2, '{ name = "dnc", f = 2 }', Numbers(64, 62, 5, 28)),
        (64, 2, '{ name = "dnc", f = 2, filter = 2.0 }', Numbers(64, 60, 5, 28)),
        # It averages m of at least m + f clients: 34 + 2, while two are silent.
        (64, 2, '{ name = "multi_krum", f = 2, m = 34 }', Numbers(64, 34, 5, 26)),
        (10, 1, '{ name = "multi_krum", f = 1 }', Numbers(10, 9, 3, 3)),
        # dnc chooses among 2 f + 1 = 9 clients or more, while four are silent.
        (15, 1, '{ name = "dnc", f = 4 }', Numbers(15, 11, 3, 2)),
        # It removes 2 x 4, with four silent ones of 24 - 3, which leaves the 9 of a sum.
        (24, 4, '{ name = "dnc", f = 4, filter = 2.0 }', Numbers(24, 16, 9, 3)),
    ],
)
def test_the_numbers_of_a_choice_are_those_by_hand(
    clients: int, corrupt: int, rule: str, expected: Numbers
) -> None:
    assert numbers(clients, corrupt, rule) == expected


def test_clients_that_miss_the_set_up_are_counted_as_away() -> None:
    overrides = ("data.clients=20", "channel.corrupt=4", "defense.rule.f=4")
    text = parse_scenario(TEN, overrides=(*overrides, "simulate.missing=[0, 1, 0]"))
    # 18 are left: t = 12 of them, and 4 that lie, against 17.
    assert numbers_of(text.facts) == Numbers(18, 14, 9, 1)
    assert "dnc chooses 14 of 18 clients, whose sum opens; never fewer than 9" in summary(text)
    assert parse_scenario(TEN, overrides=(*overrides, "simulate.missing=[0, 1, 2]")).facts.selects
    assert refusal(TEN, *overrides, "simulate.missing=[0, 1, 2, 3]") == (
        "simulate.missing: 16 of 20 clients are left after the set-up, and with channel.corrupt = "
        "4 and f = 4 of dnc it takes 17; let fewer miss it"
    )


def test_a_rule_chooses_among_those_left_after_the_set_up() -> None:
    krum = 'defense.rule={ name = "multi_krum", f = 2, m = 5 }'
    assert ten_of(krum) == Numbers(10, 5, 5, 1)
    # Of eight, two liars may dispute with two honest clients, and four are left.
    assert "f = 2 of 9 clients could stop every round" in refusal(
        TEN, krum.replace("m = 5", "m = 6"), "simulate.missing=[9]"
    )


def test_a_rule_that_keeps_all_goes_on_with_those_that_are_in_no_dispute() -> None:
    keeps_all = Selection(lambda squared, f: np.ones(len(squared)), 2, fewest=lambda f: 1)
    kind = SimpleNamespace(least_chosen=lambda terms: 5)
    facts: Any = SimpleNamespace(selection=keeps_all, channel=kind, terms=None)
    # Two liars dispute with two honest clients: 5 of 9 are left, and 4 of 8.
    assert goes_on(facts, 9, liars=2)
    assert not goes_on(facts, 8, liars=2)


def test_distances_of_degree_2c_correct_f_wrong_answers_from_2c_2f_1_on() -> None:
    assert needed_clients(corrupt=4, liars=4) == 17
    assert needed_clients(corrupt=1, liars=2) == 7


def test_the_summary_says_what_is_chosen_and_what_that_withstands() -> None:
    lines = summary(parse_scenario(TEN, overrides=("data.clients=12", "channel.corrupt=1")))
    assert (
        "channel masked: the server sees the sum over the clients that the rule chose, the squared "
        "distances between all updates, who took part; no single update; one sum of 12"
    ) in lines
    assert "may drop out" not in lines
    assert (
        "channel.sketch = 64: by distances between sketches dnc chooses 10 of 12 clients, whose "
        "sum opens; never fewer than 3\n"
        "withstands 2 clients that lie to a server that keeps to the protocol, and 1 client that "
        "works together with one that does not, never both at once; 3 more may be away\n"
        "rule dnc (f=2), weights equal, server fedavg"
    ) in lines


def test_without_a_choice_the_summary_is_as_ever() -> None:
    lines = summary(parse_scenario('channel.kind = "masked"'))
    assert "withstands" not in lines
    assert "the sum over each block's survivors" in lines
    assert "1 may drop out" in lines


def test_the_summary_names_groups_and_reported_weights_only_where_there_are_some() -> None:
    text = (
        'data = { name = "digits", clients = 20 }\ntraining.kind = "sgd"\nchannel.kind = "masked"\n'
    )
    equal = ("weights='equal'",)
    lines = summary(parse_scenario(text, overrides=equal))
    assert "the sum over each block's survivors, who survived; no single update" in lines
    lines = summary(parse_scenario(text, overrides=(*equal, "channel.groups=4")))
    assert "the sum over each group's survivors, who survived; no single update" in lines
    shown = ("weights='reported'", "channel.reveal_counts=true")
    lines = summary(parse_scenario(text, overrides=shown))
    assert "who survived, reported weights; no single update" in lines
