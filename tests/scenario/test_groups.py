"""Groups in a scenario: their sizes, the rules over them, and what validate says."""

import pytest
import torch

from securefl.scenario.making.rule import over_groups, weighing_groups
from securefl.scenario.scenario import parse_scenario
from securefl.scenario.summary import summary
from tests.scenario.texts import refusal

TWENTY = """
seed = 1
rounds = 3
data = { name = "digits", clients = 20 }
training = { kind = "sgd", lr = 0.3 }
weights = "equal"
channel = { kind = "masked", groups = 5, corrupt = 2 }
defense = { rule = "median" }
"""
ATTACK = "attack={{name='sign_flip', scale=5.0, clients={}}}"
SHARED = (
    "privacy={unit='client', place='distributed', epsilon=50.0, delta=1e-3}",
    "training.clip=1.0",
    "training.batch=32",
)


@pytest.mark.parametrize(
    ("f", "clients"), [(1, 9), (2, 20), (3, 35)], ids=["one liar", "two liars", "three liars"]
)
def test_f_liars_among_whom_any_f_work_with_the_server_take_so_many_clients(
    f: int, clients: int
) -> None:
    # 2 f + 1 groups of f + 2 clients.
    rule = f"defense.rule={{name='trimmed_mean', f={f}}}"
    options = (rule, f"channel.corrupt={f}")
    enough = (f"channel.groups={2 * f + 1}", f"data.clients={clients}")
    assert parse_scenario(TWENTY, overrides=(*options, *enough)).facts.rows == 2 * f + 1
    too_few = refusal(
        TWENTY, *options, f"channel.groups={2 * f + 1}", f"data.clients={clients - 1}"
    )
    assert f"takes {f + 2}; use" in too_few
    assert "or channel.sketch, which needs no groups" in too_few
    fewer = refusal(TWENTY, *options, f"channel.groups={2 * f}", f"data.clients={clients - 1}")
    assert f"more than {2 * f} groups, and channel.groups = {2 * f}" in fewer
    assert f"channel.groups = {2 * f + 1} with {clients} clients or more" in fewer
    assert fewer.endswith("or channel.sketch instead of groups")


@pytest.mark.parametrize(
    "chosen",
    [
        "defense.rule={{name='trimmed_mean'{}}}",
        "defense.rule={{name='nna'{}}}",
        "defense.prefilters=[{{name='nearest_neighbor_mixing'{}}}]",
        "defense.prefilters=[{{name='adaptive_clipping'{}}}]",
    ],
    ids=["trimmed_mean", "nna", "nearest_neighbor_mixing", "adaptive_clipping"],
)
def test_an_f_that_is_missing_or_no_integer_is_refused_before_it_is_compared(chosen: str) -> None:
    assert refusal(TWENTY, chosen.format("")).endswith(" needs f")
    for f in ("'2'", "[2]", "2.0"):
        assert " must be an integer, got" in refusal(TWENTY, chosen.format(f", f={f}"))


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (("channel.groups=1",), "channel.groups = 1 is the one sum that there is without it"),
        (
            ("channel.groups=6",),
            "the smallest group of 20 clients has 3, and a sum with channel.corrupt = 2 takes 4; "
            "use channel.groups = 5 or fewer",
        ),
        (
            ("channel.corrupt=9",),
            "a sum with channel.corrupt = 9 takes 11; use 22 clients or more",
        ),
        (
            ("channel.min_cohort=6",),
            "a sum with min_cohort = 6 takes 6; use channel.groups = 3 or fewer",
        ),
        (
            ("data.clients=300", "channel.groups=2", "defense.rule='mean'"),
            "a group has up to 150 clients, and a sum takes 128; use channel.groups = 3 or more",
        ),
        (("channel.sketch=64",), "channel.groups and channel.sketch are two ways"),
        (
            ("channel={kind='masked', regroup='never'}", "defense.rule='mean'"),
            "channel.regroup has an effect with channel.groups only",
        ),
        (("channel={kind='plain', groups=4}",), "channel.groups has no effect with plain"),
        (("channel={kind='ckks', groups=4}",), "channel.groups has no effect with ckks"),
        (
            ("channel={kind='plain', regroup='never'}",),
            "channel.regroup has no effect with plain",
        ),
        (
            ("cohort={size=15}",),
            "with 15 of 20 clients in a round, each round has other groups",
        ),
        (
            ("defense.rule={name='krum', f=2}",),
            "krum with f=2 needs 7 rows, masked with 20 clients reveals 5 groups: use a smaller "
            "f, channel.groups = 7 with 28 clients or more",
        ),
        (
            ("defense.rule={name='krum', f=2}", "channel.corrupt=1", "channel.groups=6"),
            "reveals 6 groups: use a smaller f, channel.groups = 7 with 21 clients or more",
        ),
        (
            ("defense.rule={name='krum', f=1}", "channel.groups=3"),
            "krum with f=1 needs 5 rows, masked with 20 clients reveals 3 groups: use a smaller "
            "f, channel.groups = 5 or more",
        ),
        (
            ("defense.prefilters=[{name='nearest_neighbor_mixing', f=3}]",),
            "defense.prefilters: nearest_neighbor_mixing with f=3 withstands 3 liars",
        ),
        (
            ("topology={kind='cyclic'}", "defense.rule='mean'"),
            "channel.kind = 'masked' hides updates from a server",
        ),
        (
            ("topology={kind='fedbuff', buffer=20, concurrency=20, max_updates=3}",),
            "a buffer holds updates of several",
        ),
    ],
)
def test_groups_that_cannot_be_are_refused_with_the_ways_out(
    overrides: tuple[str, ...], reason: str
) -> None:
    assert reason in refusal(TWENTY, *overrides)


def test_one_group_less_and_one_client_more_are_taken() -> None:
    just = parse_scenario(TWENTY, overrides=("channel.groups=5",))
    assert (just.facts.rows, just.facts.terms.sums) == (5, 5)
    most = ("data.clients=256", "channel.groups=2", "defense.rule='mean'")
    assert parse_scenario(TWENTY, overrides=most).facts.terms.code.most == 128


def test_prefilters_and_rules_of_rows_take_groups() -> None:
    mixed = "defense.prefilters=[{name='nearest_neighbor_mixing', f=1}]"
    assert parse_scenario(TWENTY, overrides=(mixed,)).facts.rows == 5


def test_as_many_clients_may_lie_as_work_with_the_server_or_as_the_rule_withstands() -> None:
    rule = "defense.rule={name='trimmed_mean', f=2}"
    one = "channel.corrupt=1"
    parse_scenario(TWENTY, overrides=(ATTACK.format([0, 1]),))
    parse_scenario(TWENTY, overrides=(rule, one, ATTACK.format([0, 1])))
    assert "channel.corrupt declares 1, and f of defense.rule is 2; raise one of them" in refusal(
        TWENTY, rule, one, ATTACK.format([0, 1, 2])
    )
    assert "channel.corrupt declares 2; raise it" in refusal(TWENTY, ATTACK.format([0, 1, 2]))


def test_without_groups_a_rule_of_rows_is_refused_as_before() -> None:
    masked = "channel={kind='masked', corrupt=2}"
    assert refusal(TWENTY, masked).endswith(
        "median of the one sum that masked reveals would be the mean: use rule = 'mean', or "
        "channel.kind = 'plain', which shows every update, or channel.groups, whose sums are the "
        "rows"
    )
    ckks = refusal(TWENTY, "channel={kind='ckks'}")
    assert ckks.endswith("which shows every update")
    lying = ("defense.rule='mean'", "channel={kind='masked', corrupt=1}", ATTACK.format([0, 1]))
    assert "channel.corrupt declares 1; raise it" in refusal(TWENTY, *lying)


def test_validate_says_how_many_sums_the_server_sees_and_of_how_many_clients() -> None:
    words = summary(parse_scenario(TWENTY))
    assert "5 sums of 4 clients, each a row of the rule" in words
    assert "0 of a group may drop out" in words
    assert "regroup" not in words
    assert "another run of this seed has other groups" in words
    seeded = summary(parse_scenario(TWENTY, overrides=("channel.secrets='seeded'",)))
    assert "another run of this seed" not in seeded
    assert "SEEDED set-up" in seeded
    assert "4 sums of 5 to 6 clients" in summary(
        parse_scenario(TWENTY, overrides=("data.clients=22", "channel.groups=4"))
    )


def test_validate_warns_of_groups_that_are_dealt_anew() -> None:
    # 20 clients, and at most 5 equations a round.
    words = summary(parse_scenario(TWENTY, overrides=("channel.regroup='each_round'",)))
    assert "every client's mean update" in words
    assert "at the earliest after 4 rounds" in words
    part = ("channel.regroup='each_round'", "channel.groups=3", "cohort={size=15}")
    assert "at the earliest after 7 rounds" in summary(parse_scenario(TWENTY, overrides=part))
    members = [list(range(8)), list(range(8, 20))]
    regions = f"topology={{kind='hierarchical', regions={members}}}"
    inside = ("channel.regroup='each_round'", "channel.groups=2", "defense.rule='mean'", regions)
    words = summary(parse_scenario(TWENTY, overrides=inside))
    assert "at the earliest after 6 rounds" in words  # of the region of twelve
    assert "the server of a region of 8 sees" in words
    assert "2 sums of 4 clients" in words
    assert "2 sums of 6 clients" in words


# Privacy.


def test_noise_in_shares_covers_each_group_and_so_any_rule_over_them() -> None:
    scenario = parse_scenario(TWENTY, overrides=SHARED)
    # Four clients in a group, of which two may be corrupt.
    assert scenario.facts.n_min == 2
    mixed = "defense.prefilters=[{name='nearest_neighbor_mixing', f=1}]"
    assert parse_scenario(TWENTY, overrides=(*SHARED, mixed)).facts.n_min == 2
    words = summary(scenario)
    assert "for 2 honest shares of the 4 clients of the smallest group" in words
    one_sum = ("channel={kind='masked', corrupt=2}", "defense.rule='mean'")
    whole = parse_scenario(TWENTY, overrides=(*SHARED, *one_sum))
    # The claim of a sum does not depend on how many others are in it.
    assert scenario.facts.common_noise == pytest.approx(whole.facts.common_noise, rel=0.01)
    assert "does not cover median" in refusal(TWENTY, *SHARED, one_sum[0])


def test_noise_is_sized_for_the_smallest_group() -> None:
    uneven = (*SHARED, "data.clients=23")  # groups of 4 and 5
    scenario = parse_scenario(TWENTY, overrides=uneven)
    assert scenario.facts.n_min == 2
    assert scenario.facts.terms.code.most == 5
    assert "2 honest shares of the 4 clients of the smallest group" in summary(scenario)


def test_clients_that_fail_under_shared_noise_cost_their_group_and_not_the_scenario() -> None:
    drop = "simulate.drop=[{client=3, round=1, stage=3}]"
    assert parse_scenario(TWENTY, overrides=(*SHARED, drop)).facts.n_min == 2
    one_sum = ("channel={kind='masked', min_cohort=20}", "defense.rule='mean'")
    assert "19 of 20 clients are left" in refusal(TWENTY, *SHARED, *one_sum, drop)


def test_noise_that_a_server_adds_to_one_sum_is_refused_with_groups() -> None:
    central = (SHARED[0].replace("distributed", "central"), *SHARED[1:], "defense.rule='mean'")
    assert "channel.groups opens several; remove groups, or set place = 'distributed'" in refusal(
        TWENTY, *central
    )


# The adversary's picture of the rule.


def test_an_adversary_plans_against_the_means_of_groups() -> None:
    # Dealt one by one: 1, 3, 5 and 2, 4, 60.
    rows = torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0], [60.0]])
    weights = torch.ones(6)
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def rule(means: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
        seen.append((means, sizes))
        return means[0]

    assert over_groups(rule, 2)(rows, weights).tolist() == [3.0]
    means, sizes = seen[0]
    assert (means.tolist(), sizes.tolist()) == ([[3.0], [22.0]], [3.0, 3.0])
    # With fewer rows than groups each row is a group.
    over_groups(rule, 9)(rows, weights)
    assert seen[1][0].tolist() == rows.tolist()


def test_the_weight_of_a_group_is_shared_among_its_clients() -> None:
    weigh = weighing_groups(lambda means: torch.tensor([0.75, 0.25]), 2)
    weights = weigh(torch.zeros(5, 1))
    assert weights.tolist() == pytest.approx([0.25, 0.125, 0.25, 0.125, 0.25])
    assert float(weights.sum()) == pytest.approx(1.0)


def test_a_liar_in_each_of_f_groups_is_the_worst_deal() -> None:
    # The last f rows are an adversary's own: they meet in f groups of five.
    rows = torch.zeros(20, 1)
    rows[-2:] = 1.0
    spoiled: list[int] = []

    def rule(means: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
        spoiled.append(int((means > 0).sum()))
        return means[0]

    over_groups(rule, 5)(rows, torch.ones(20))
    assert spoiled == [2]
