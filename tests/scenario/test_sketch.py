"""Sums whose clients a rule chooses by sketches: what is accepted, and what is refused how."""

import pytest
import torch

from securefl.channels.masking.sketches.matrix import LARGEST_SKETCH, SMALLEST_SKETCH
from securefl.scenario import catalog
from securefl.scenario.checks.sketch import MAX_CLIENTS, MAX_WEIGHT
from securefl.scenario.making.rule import rule_of, weights_of
from securefl.scenario.scenario import Scenario, parse_scenario
from securefl.scenario.tables import Channel
from tests.scenario.texts import refusal

TEN = """
rounds = 3
data = { name = "digits", partition = "iid", clients = 10 }
training = { kind = "sgd" }
weights = "equal"
channel = { kind = "masked", sketch = 64, corrupt = 2 }
defense.rule = { name = "dnc", f = 2 }
"""


def ten(*overrides: str) -> Scenario:
    return parse_scenario(TEN, overrides=overrides)


def refused(*overrides: str) -> str:
    return refusal(TEN, *overrides)


def test_the_channel_chooses_by_the_rule_and_the_engine_takes_the_mean_of_one_row() -> None:
    facts = ten().facts
    assert facts.selects
    assert facts.rows == 1
    assert facts.selection is not None
    assert facts.selection.liars == 2
    assert facts.selection.fewest(2) == 5
    assert facts.selection.lies == {}
    rule = rule_of(facts)
    assert rule(torch.tensor([[3.0, 1.0]]), torch.tensor([7.0])).tolist() == [3.0, 1.0]
    assert weights_of(facts) is None


def test_without_a_sketch_nothing_is_chosen_and_no_plan_says_so() -> None:
    facts = parse_scenario("channel.kind = 'masked'").facts
    assert not facts.selects
    assert facts.selection is None


@pytest.mark.parametrize("name", ["multi_krum", "mda", "dnc"])
def test_rules_that_choose_by_distances_are_accepted(name: str) -> None:
    assert ten(f"defense.rule.name={name}").facts.selection is not None
    assert catalog.RULES[name].choose is not None


@pytest.mark.parametrize(
    ("rule", "given"),
    [
        ("mean", "mean"),
        ("krum", '{ name = "krum", f = 2 }'),
        ("geometric_median", "geometric_median"),
        ("centered_clipping", '{ name = "centered_clipping", radius = 1.0 }'),
        ("median", "median"),
        ("trimmed_mean", '{ name = "trimmed_mean", f = 2 }'),
        ("bulyan", '{ name = "bulyan", f = 2 }'),
    ],
)
def test_a_rule_that_chooses_no_set_of_clients_by_distances_is_refused(
    rule: str, given: str
) -> None:
    text = TEN.replace('{ name = "dnc", f = 2 }', given if given != rule else f'"{rule}"')
    assert refusal(text) == (
        f"channel.sketch needs a rule that chooses several clients by the distances between them, "
        f"and {rule!r} is none: use 'multi_krum' or 'mda' or 'dnc' with an f, or remove "
        "channel.sketch"
    )


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("channel.groups=2",), "channel.groups and channel.sketch are two ways to apply a"),
        (
            ("channel.sketch=15",),
            "channel.sketch: input should be greater than or equal to 16, got 15",
        ),
        (
            ("channel.sketch=1025",),
            "channel.sketch: input should be less than or equal to 1024, got 1025",
        ),
        (("channel.ring=64",), "channel.ring = 64: sketches add up words of 32 bits; use"),
        (("channel.ring=16",), "channel.ring = 16: sketches add up words of 32 bits; use"),
        (
            ('weights="reported"', "channel.reveal_counts=true"),
            "weights = 'reported': distances are of weighted updates",
        ),
        (
            ('defense.prefilters=[{ name = "clip_norms", radius = 1.0 }]',),
            "defense.prefilters: clip_norms takes every update, and channel.sketch shows",
        ),
        (("defense.rule.f=0",), "defense.rule: f must be 1 or more with channel.sketch, got 0"),
        (("defense.rule.f=-1",), "defense.rule: f must be 1 or more with channel.sketch, got -1"),
        (("defense.rule.f=0.5",), "defense.rule: f of dnc must be an integer, got 0.5"),
        (("defense.rule.g=1",), "defense.rule: dnc takes f, filter, at_once, got 'g'"),
        (
            ("defense.rule.f=3",),
            "channel.sketch with channel.corrupt = 2 and f = 3 of dnc needs 2 x 2 + 2 x 3 + 1 = 11 "
            "clients in a round, and there are 10; lower one of the two, or use more clients",
        ),
        (("channel.corrupt=3",), "needs 2 x 3 + 2 x 2 + 1 = 11 clients in a round"),
        (("cohort.size=8",), "needs 2 x 2 + 2 x 2 + 1 = 9 clients in a round, and there are 8"),
        (
            ("data.clients=65",),
            "channel.sketch compares at most 64 clients in a round, and 65 are invited; set "
            "cohort.size = 64 or less",
        ),
        (
            ("defense.rule.filter=3.0",),
            "defense.rule: dnc would choose 4 of 10 clients, which open no sum of fewer than 5; "
            "let the rule keep more of them",
        ),
        (
            ("defense.rule.filter=2.0",),
            "defense.rule: f = 2 of 10 clients could stop every round, since dnc opens no sum of 5 "
            "or more while they are silent; use more clients, lower f, let the rule keep more, or "
            "lower channel.min_cohort if it is set",
        ),
        (("channel.min_cohort=7",), "could stop every round, since dnc opens no sum of 7 or more"),
        (
            ('defense.rule={ name = "multi_krum", f = 1 }', "channel.corrupt=1", "data.clients=5"),
            "f = 1 of 5 clients could stop every round, since multi_krum opens no sum of 3 or more",
        ),
        (("channel.min_cohort=9",), "dnc would choose 8 of 10 clients, which open no sum of"),
        (
            ('training.algorithm="scaffold"',),
            "training.algorithm = 'scaffold' needs more than the mean of some changes of the model",
        ),
        (
            ('training.algorithm="fedbn"',),
            "training.algorithm = 'fedbn' needs more than the mean of some changes of the model",
        ),
        (
            ('topology={ kind = "hierarchical", regions = [[0,1,2,3,4],[5,6,7,8,9]] }',),
            "channel.sketch needs one server, and topology.kind = 'hierarchical': remove the table",
        ),
        (('topology="peer"',), "channel.sketch needs one server, and topology.kind = 'peer'"),
        (('topology="cyclic"',), "channel.sketch needs one server, and topology.kind = 'cyclic'"),
        (('channel.kind="plain"', "channel.corrupt=1"), "has no effect with plain; remove it"),
        (
            ("simulate.drop=[{ client = 0, round = 0, stage = 9 }]",),
            "simulate.drop: masked has 8 stages, got stage 9",
        ),
        (
            ("simulate.lie=[{ client = 10, factor = 2.0 }]",),
            "simulate.lie: there is no client 10 among 10",
        ),
        (
            ("simulate.lie=[{ client = 1, factor = 2.0 }, { client = 1, factor = 3.0 }]",),
            "simulate.lie: each client once, got client 1 2 times",
        ),
        (
            ("simulate.lie=[{ client = 1, factor = 1.0, hide = true }]",),
            "a lie needs a factor other than 1, or it is the truth",
        ),
        (("simulate.lie=[{ client = 1 }]",), "simulate.lie.0.factor"),
        (("simulate.lie=[{ client = 1, factor = nan }]",), "simulate.lie.0.factor"),
        (("simulate.lie=[]",), "simulate.lie"),
        (
            ('attack={ name = "sign_flip", clients = [0, 1, 2] }',),
            "attack.clients: 3 clients are corrupt, channel.corrupt declares 2, and f of "
            "defense.rule is 2; raise one of them",
        ),
        (
            (
                'attack={ name = "sign_flip", scale = 5.0, clients = [0, 1] }',
                "simulate.lie=[{ client = 2, factor = 2.0 }]",
            ),
            "simulate.lie: 3 clients attack or lie, and channel.corrupt and f of dnc allow 2",
        ),
    ],
)
def test_what_goes_with_no_choice_is_refused_with_a_way_out(
    overrides: tuple[str, ...], sentence: str
) -> None:
    assert sentence in refused(*overrides)


@pytest.mark.parametrize("place", ["distributed", "central"])
def test_noise_that_adds_up_in_the_sum_does_not_cover_distances(place: str) -> None:
    text = TEN.replace("sgd", "clipped_gradient").replace('weights = "equal"', "")
    said = refusal(text, f'privacy.place="{place}"', "privacy.epsilon=8.0")
    assert said == (
        f"privacy.place = {place!r}: noise that adds up in the sum does not cover the distances "
        "between updates; use place = 'local', or remove channel.sketch"
    )


def test_local_noise_goes_with_a_choice() -> None:
    text = TEN.replace("sgd", "dp_sgd")
    scenario = parse_scenario(text)
    assert scenario.claims_dp
    assert scenario.facts.selects


def test_whole_clients_under_local_noise_may_be_chosen_and_coins_may_not() -> None:
    text = TEN.replace("clients = 10", "clients = 20") + 'privacy = { unit = "client" }\n'
    assert parse_scenario(text).facts.selects
    assert "cohort.sampling = 'poisson' has clients send zeros" in refusal(
        text, 'cohort={ size = 15, sampling = "poisson" }'
    )


def test_a_lie_needs_sketches() -> None:
    said = refusal("simulate.lie = [{ client = 0, factor = 2.0 }]")
    assert said == (
        "simulate.lie makes clients lie about sketches, and there are none: set channel.sketch, "
        "or remove it"
    )


def test_a_client_that_misses_the_set_up_cannot_lie() -> None:
    lie = "simulate.lie=[{ client = 0, factor = 2.0 }]"
    assert refused(lie, "simulate.missing=[0]") == (
        "simulate.lie: client 0 is in simulate.missing, too, and takes no part in which it could "
        "lie; remove it from one of the two"
    )
    assert ten(lie, "simulate.missing=[1]").facts.missing == {1}


def test_weights_are_at_most_what_the_field_has_room_for() -> None:
    assert MAX_WEIGHT == 1 << 20
    records = ", ".join(["1048577"] + 9 * ["100"])
    text = TEN.replace('weights = "equal"', f"privacy = {{ epsilon = inf, records = [{records}] }}")
    text = text.replace('"sgd"', '"dp_sgd"')
    assert "takes weights of at most 1048576, and one client has 1048577; use" in refusal(text)
    assert parse_scenario(text.replace("1048577", "1048576")).facts.max_weight == MAX_WEIGHT


def test_the_largest_cohort_and_the_largest_sketch_are_accepted() -> None:
    scenario = ten(f"data.clients={MAX_CLIENTS}", f"channel.sketch={LARGEST_SKETCH}")
    assert scenario.facts.selects


def test_a_scenario_takes_the_sketches_that_a_matrix_makes() -> None:
    assert ten(f"channel.sketch={SMALLEST_SKETCH}").facts.selects
    of_key = Channel.model_json_schema()["properties"]["sketch"]["anyOf"][0]
    assert (of_key["minimum"], of_key["maximum"]) == (SMALLEST_SKETCH, LARGEST_SKETCH)


def test_more_may_attack_than_work_with_the_server_or_the_other_way_round() -> None:
    clients = 'attack={ name = "sign_flip", scale = 5.0, clients = [0, 1] }'
    assert ten("channel.corrupt=1", clients).attack is not None
    assert ten("defense.rule.f=1", clients).attack is not None
    assert "f of defense.rule is 1; raise one of them" in refused(
        "channel.corrupt=1", "defense.rule.f=1", clients
    )


def test_the_lies_of_a_scenario_reach_the_channel() -> None:
    selection = ten(
        "simulate.lie=[{ client = 3, factor = -0.2 }, { client = 1, factor = 0.0, hide = true }]"
    ).facts.selection
    assert selection is not None
    lies = {client: (lie.factor, lie.hide) for client, lie in selection.lies.items()}
    assert lies == {3: (-0.2, False), 1: (0.0, True)}
