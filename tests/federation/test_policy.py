"""A site's policy: each bound, on its edge and beyond it; a file that is wrong is refused."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from securefl.errors import PolicyRefused, ScenarioError
from securefl.federation.policy import Policy, load_policy, parse_policy
from securefl.federation.policy_text import STRICT, with_code
from securefl.federation.proposal import Proposal
from securefl.privacy.terms import LOCAL, Place

SHARES = Place("distributed", 2)
PINNED = with_code(STRICT, code="9f3a", layout="sha256:11")
# On the edge of every bound of the strict policy.
EDGE = Proposal(
    epsilon=8.0,
    delta=1e-5,
    total_epsilon=8.0,
    channel="masked",
    min_cohort=4,
    corrupt=1,
    code="9f3a",
    layout="sha256:11",
    rounds=700,
    days=7.5,
)


def test_the_default_policy_is_the_strict_one() -> None:
    assert parse_policy(STRICT) == parse_policy("") == Policy()


def test_a_proposal_on_the_edge_of_every_bound_is_allowed() -> None:
    parse_policy(PINNED).check(EDGE)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"epsilon": 8.1}, "budget.epsilon = 8 does not allow epsilon 8.1"),
        ({"epsilon": math.inf}, "budget.epsilon = 8 does not allow no claim"),
        ({"total_epsilon": 8.01}, "does not allow epsilon 8.01, which this federation and all"),
        ({"total_epsilon": math.nan}, "does not allow epsilon nan"),
        ({"delta": 1.1e-5}, "budget.delta = 1e-05 does not allow delta 1.1e-05"),
        ({"channel": "plain"}, "channel.allowed does not list 'plain', only masked"),
        ({"channel": "ckks"}, "channel.allowed does not list 'ckks'"),
        ({"min_cohort": 3}, "channel.min_cohort = 4 does not allow sums of 3 updates"),
        ({"corrupt": 0}, "channel.corrupt = 1 does not allow masks that withstand 0"),
        ({"code": "9f3b"}, "code.allowed does not list 9f3b"),
        ({"layout": "sha256:12"}, "code.layouts does not list sha256:12"),
        ({"rounds": 701}, "rounds.a_day = 100 allows 700 rounds until the charter ends"),
        ({"rounds": 101, "days": 0.5}, "rounds.a_day = 100 allows 100 rounds"),
        (
            {"place": SHARES},
            "budget.places does not list .distributed.: .* more than 2 of the",
        ),
        ({"earlier": (LOCAL, SHARES)}, "budget.places does not list 'distributed', and an earlier"),
        (
            {"total_epsilon": math.inf},
            "budget.epsilon = 8 bounds all federations on the data set together, and an earlier "
            "one claimed no epsilon",
        ),
        ({"evaluation": "noisy"}, "evaluation.leave = 'never' does not allow 'noisy'"),
        ({"evaluation": "sums"}, "evaluation.leave = 'never' does not allow 'sums'"),
    ],
)
def test_every_bound_refuses_what_goes_beyond_it(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(PolicyRefused, match=sentence) as refusal:
        parse_policy(PINNED).check(replace(EDGE, **change))
    assert refusal.value.exit_code == 4
    assert len(str(refusal.value).splitlines()) == 1


def test_all_violations_are_said_at_once_one_a_line() -> None:
    proposal = replace(EDGE, epsilon=9.0, min_cohort=3, corrupt=0, code="x", rounds=10**6)
    with pytest.raises(PolicyRefused) as refusal:
        parse_policy(PINNED).check(proposal)
    keys = [line.split(" ")[0] for line in str(refusal.value).splitlines()]
    assert keys == [
        *("budget.epsilon", "channel.min_cohort", "channel.corrupt", "code.allowed"),
        "rounds.a_day",
    ]


def test_noisy_figures_have_a_budget_and_sums_have_none() -> None:
    noisy = parse_policy('budget = { test_epsilon = 0.5 }\nevaluation = { leave = "noisy" }')
    noisy.check(replace(EDGE, evaluation="noisy", test_epsilon=0.5), pins=True)
    with pytest.raises(PolicyRefused, match=r"budget\.test_epsilon = 0\.5 does not allow figures"):
        noisy.check(replace(EDGE, evaluation="noisy", test_epsilon=0.6), pins=True)
    with pytest.raises(PolicyRefused, match="'noisy' does not allow 'sums'"):
        noisy.check(replace(EDGE, evaluation="sums"), pins=True)
    sums = parse_policy('budget = { test_epsilon = 1.0 }\nevaluation = { leave = "sums" }')
    for evaluation in ("never", "noisy", "sums"):
        sums.check(replace(EDGE, evaluation=evaluation, test_epsilon=1.0), pins=True)


def test_a_channel_without_masks_that_is_listed_has_no_threshold() -> None:
    policy = parse_policy('channel = { allowed = ["plain", "masked"] }')
    policy.check(replace(EDGE, channel="plain", corrupt=None, min_cohort=1), pins=True)


def test_noise_in_shares_needs_a_site_that_lists_it() -> None:
    policy = parse_policy('budget = { places = ["local", "distributed"] }')
    proposal = replace(EDGE, place=SHARES, corrupt=2, earlier=(LOCAL, Place("distributed", 1)))
    policy.check(proposal, pins=True)
    # How many sites the noise has to withstand is the channel's bound, as for masks.
    with pytest.raises(PolicyRefused, match=r"channel\.corrupt = 3 does not allow masks that"):
        parse_policy('budget = { places = ["distributed"] }\nchannel = { corrupt = 3 }').check(
            proposal, pins=True
        )
    with pytest.raises(PolicyRefused, match=r"budget\.places does not list 'local'"):
        parse_policy('budget = { places = ["distributed"] }').check(EDGE, pins=True)


def test_earlier_noise_in_shares_withstands_as_many_sites_as_the_policy_asks() -> None:
    policy = parse_policy(
        'budget = { places = ["local", "distributed"] }\nchannel = { corrupt = 2 }'
    )
    earlier = (LOCAL, SHARES, Place("distributed", 3))
    for place in (SHARES, LOCAL):
        proposal = replace(EDGE, corrupt=2, place=place)
        policy.check(replace(proposal, earlier=earlier), pins=True)
        sentence = (
            r"^channel\.corrupt = 2 does not allow noise that withstands 1 corrupt site\(s\), and "
            "an earlier federation on the data set had such noise: their total holds against no "
            "more$"
        )
        with pytest.raises(PolicyRefused, match=sentence):
            policy.check(replace(proposal, earlier=(*earlier, Place("distributed", 1))), pins=True)


def test_a_runs_own_place_in_the_ledger_is_refused_once() -> None:
    proposal = replace(EDGE, place=SHARES, corrupt=2, earlier=(SHARES,))
    text = 'budget = { places = ["distributed"] }\nchannel = { corrupt = 3 }'
    with pytest.raises(
        PolicyRefused, match=r"^channel\.corrupt = 3 does not allow masks .* sites$"
    ):
        parse_policy(text).check(proposal, pins=True)


def test_a_budget_without_a_bound_asks_for_no_place() -> None:
    parse_policy("budget = { epsilon = inf }").check(replace(EDGE, place=SHARES), pins=True)


def test_a_total_holds_against_no_more_sites_than_each_federation_does() -> None:
    assert EDGE.helpers is None
    assert replace(EDGE, earlier=(LOCAL,)).helpers is None
    assert replace(EDGE, place=SHARES).helpers == 2
    assert replace(EDGE, earlier=(LOCAL, SHARES)).helpers == 2
    assert replace(EDGE, place=SHARES, earlier=(Place("distributed", 1),)).helpers == 1


def test_training_without_a_claim_takes_an_infinite_budget() -> None:
    policy = parse_policy("budget = { epsilon = inf }")
    policy.check(replace(EDGE, epsilon=math.inf, total_epsilon=math.inf, delta=0.1), pins=True)


def test_only_the_first_approval_takes_code_that_nobody_listed() -> None:
    Policy().check(EDGE, pins=True)
    with pytest.raises(PolicyRefused, match=r"code\.allowed does not list 9f3a"):
        Policy().check(EDGE)
    with pytest.raises(PolicyRefused, match=r"code\.allowed does not list other"):
        parse_policy(PINNED).check(replace(EDGE, code="other"), pins=True)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("budget = { epsilon = ", "the policy is not valid TOML"),
        ("budget = { epsylon = 1.0 }", "unknown key 'budget.epsylon'; did you mean 'epsilon'?"),
        ("budget = { epsilon = '8' }", "budget.epsilon: input should be a valid number, got '8'"),
        ("budget = { epsilon = nan }", "budget.epsilon: input should be greater than 0, got nan"),
        ("budget = { epsilon = 0.0 }", "budget.epsilon: input should be greater than 0"),
        ("budget = { test_epsilon = -1.0 }", "budget.test_epsilon: input should be greater than"),
        ("budget = { places = [] }", "budget.places: list should have at least 1 item"),
        ("budget = { places = ['central'] }", "input should be 'local' or 'distributed', got 'cen"),
        ("budget = { delta = 1.0 }", "budget.delta: input should be less than 1"),
        ("channel = { allowed = [] }", "channel.allowed: list should have at least 1 item"),
        (
            "channel = { allowed = ['masqued'] }",
            "input should be 'plain' or 'masked', got 'masqued'",
        ),
        ("channel = { min_cohort = 3.5 }", "channel.min_cohort: input should be a valid integer"),
        ("channel = { corrupt = true }", "channel.corrupt: input should be a valid integer"),
        ("rounds = { a_day = 0 }", "rounds.a_day: input should be greater than or equal to 1"),
        ("evaluation = { leave = 'all' }", "evaluation.leave: input should be 'never'"),
        ("epsilon = 8.0", "unknown key 'epsilon'; known keys here: budget, channel, code"),
    ],
)
def test_a_policy_that_is_wrong_is_refused_in_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ScenarioError) as refusal:
        parse_policy(text)
    assert sentence in str(refusal.value)


def test_a_policy_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"policy\.toml: No such file"):
        load_policy(tmp_path / "policy.toml")


def test_what_was_approved_is_listed_and_all_else_stays() -> None:
    again = with_code(PINNED, code="aa", layout="sha256:11")
    code = parse_policy(again).code
    assert code.allowed == ("9f3a", "aa")
    assert code.layouts == ("sha256:11",)
    assert again.replace("code = ", "", 1).splitlines()[0] == STRICT.splitlines()[0]
    assert "# kept" in with_code("# kept\n[budget]\nepsilon = 4.0\n", code="a", layout="b")
    tables = with_code("[budget]\nepsilon = 4.0\n", code="a", layout="b")
    assert parse_policy(tables).budget.epsilon == 4.0


def test_a_table_of_code_on_several_lines_is_left_alone() -> None:
    with pytest.raises(ScenarioError, match="on several lines; write it as one: code = "):
        with_code("[code]\nallowed = []\n", code="a", layout="b")


def test_a_mistake_in_a_policy_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("budget = { detla = 1e-5 }", encoding="utf-8")
    with pytest.raises(ScenarioError, match=r"policy\.toml: unknown key 'budget\.detla'"):
        load_policy(path)
    path.write_text("budget = {", encoding="utf-8")
    with pytest.raises(ScenarioError, match=r"policy\.toml is not valid TOML"):
        load_policy(path)
