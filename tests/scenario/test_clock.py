"""Simulated speeds, over-selection and deadlines: what they mean, and what is refused."""

import json

import pytest

from securefl.runs.names import cell_hash
from securefl.scenario.scenario import Scenario, parse_scenario
from securefl.scenario.summary import summary
from tests.scenario.texts import SGD, digits, refusal

TEN = digits("clients = 10")
SPEED = "simulate = { speed = [1, 1, 1, 1, 1, 1, 1, 2, 4, 8] }\n"


def given(cohort: str, more: str = "") -> Scenario:
    return parse_scenario(f"{TEN}{SPEED}cohort = {{ {cohort} }}\n{more}")


@pytest.mark.parametrize(
    ("size", "factor", "invited"), [(7, 1.3, 10), (5, 1.3, 7), (10, 1.0, 10), (6, 1.5, 9)]
)
def test_a_round_invites_so_many_times_as_many_rounded_up(
    size: int, factor: float, invited: int
) -> None:
    facts = given(f"size = {size}, over_select = {factor}").facts
    assert (facts.invited, facts.cohort_size, facts.rows) == (invited, size, size)


def test_a_factor_is_the_decimal_that_was_written() -> None:
    # In binary fractions 50 x 1.1 is above 55, and would invite 56.
    text = f"{digits('clients = 60')}simulate = {{ speed = [{', '.join(['1'] * 60)}] }}\n"
    scenario = parse_scenario(text + "cohort = { size = 50, over_select = 1.1 }")
    assert scenario.facts.invited == 55


def test_the_channel_carries_all_that_are_invited_and_a_rule_gets_the_rows_that_count() -> None:
    scenario = given("size = 5, over_select = 1.3", 'channel = { kind = "masked" }')
    assert scenario.facts.terms.cohort == 7
    assert scenario.facts.rows == 1
    four = 'defense = { rule = { name = "trimmed_mean", f = 2 } }'
    cohort = "cohort = { size = 4, over_select = 1.5 }\n"
    assert "needs 5 rows, plain with 4 clients reveals 4" in refusal(TEN + SPEED + cohort + four)


def test_keys_that_are_off_change_no_name() -> None:
    off = parse_scenario(f"{TEN}cohort = {{ size = 5 }}").resolved()
    assert off["cohort"] == {"size": 5}
    values = json.loads(json.dumps(off))
    del values["simulate"]["speed"]
    assert cell_hash(off) == cell_hash(values)


def test_they_are_resolved_and_come_back() -> None:
    scenario = given("size = 5, over_select = 1.3, deadline = 4")
    resolved = json.loads(json.dumps(scenario.resolved()))
    assert resolved["cohort"] == {"size": 5, "over_select": 1.3, "deadline": 4}
    assert resolved["simulate"]["speed"] == [1, 1, 1, 1, 1, 1, 1, 2, 4, 8]
    again = Scenario.model_validate(resolved)
    assert again.facts.invited == 7
    assert cell_hash(again.resolved()) == cell_hash(scenario.resolved())
    assert cell_hash(again.resolved()) != cell_hash(given("size = 5, deadline = 4").resolved())


def test_the_summary_says_in_one_line_what_the_clock_does() -> None:
    lines = summary(given("size = 5, over_select = 1.3, deadline = 4")).splitlines()
    assert (
        "simulated clock: one training takes 1 to 8, 7 are invited, the first 5 count, nobody is "
        "waited for after 4"
    ) in lines
    assert "channel plain: the server sees every update and its client, 5 rows" in lines
    assert not [line for line in summary(parse_scenario(TEN)).splitlines() if "clock" in line]


def test_who_is_in_a_cohort_is_outside_the_claim_where_not_all_are_invited() -> None:
    heart = "simulate = { speed = [1, 2, 3, 4] }\ncohort = { size = 2, over_select = SHARE }\n"
    line = "outside the claim: who is in a cohort"
    assert line in summary(parse_scenario(heart.replace("SHARE", "1.5")))
    assert line not in summary(parse_scenario(heart.replace("SHARE", "2")))


REFUSED = [
    (
        f"{SPEED}cohort = {{ size = 5, over_select = 0.9 }}",
        "cohort.over_select: input should be greater than or equal to 1, got 0.9",
    ),
    (f"{SPEED}cohort = {{ size = 5, over_select = nan }}", "cohort.over_select: input should be"),
    (
        f"{SPEED}cohort = {{ size = 9, over_select = 1.2 }}",
        "cohort.over_select = 1.2 of size 9 invites 11 of 10 clients; lower one of them",
    ),
    (
        "cohort = { size = 5, over_select = 1.2 }",
        "cohort.over_select needs a simulated clock: set simulate.speed, one number a client",
    ),
    ("cohort = { size = 5, deadline = 2 }", "cohort.deadline needs a simulated clock"),
    (
        "simulate = { speed = [1, 2] }",
        "simulate.speed has one number a client: 10 clients, got 2 numbers",
    ),
    ("simulate = { speed = [0] }", "simulate.speed.0: input should be greater than or equal to 1"),
    ("simulate = { speed = [1.5] }", "simulate.speed.0: input should be a valid integer"),
    (
        f"{SPEED.replace('1, ', '3, ')}cohort = {{ size = 5, deadline = 1 }}",
        "cohort.deadline = 1: no clients are in time by their simulate.speed, and a round needs 1; "
        "raise it",
    ),
    (
        f"{SPEED}cohort = {{ size = 9, deadline = 1 }}\n"
        'channel = { kind = "masked", min_cohort = 8 }',
        "cohort.deadline = 1: 7 clients are in time by their simulate.speed, and a round needs 8",
    ),
    (
        f'{SPEED}cohort = {{ size = 4, over_select = 2.5 }}\nchannel = {{ kind = "masked" }}',
        "cohort.over_select: of 10 invited clients channel 'masked' needs 6 updates, and a round "
        "takes 4; lower over_select",
    ),
]


@pytest.mark.parametrize(("lines", "sentence"), REFUSED)
def test_what_cannot_be_is_refused(lines: str, sentence: str) -> None:
    assert sentence in refusal(f"{TEN}{lines}\n")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("simulate = { speed = [1, 1, 1, 1] }", "simulate.speed has no effect with topology.kind"),
        (
            "cohort = { size = 2, deadline = 3 }",
            "cohort.deadline has no effect with topology.kind = 'cyclic'; remove it",
        ),
        ("cohort = { size = 2, over_select = 2 }", "cohort.over_select has no effect with"),
    ],
)
def test_a_model_that_is_handed_on_has_no_such_clock(line: str, sentence: str) -> None:
    assert sentence in refusal(f'{SGD}topology = "cyclic"\n{line}\n')


def test_a_deadline_that_leaves_the_rule_too_few_rows_is_refused() -> None:
    said = refusal(
        'rounds = 2\ndata = { name = "digits", clients = 9 }\ntraining = { kind = "sgd" }\n'
        "simulate = { speed = [1, 1, 1, 1, 1, 1, 1, 8, 8] }\n"
        'cohort = { size = 9, deadline = 4 }\ndefense = { rule = { name = "krum", f = 3 } }\n'
    )
    assert "cohort.deadline = 4: 7 clients are in time" in said
    assert "a round needs 9" in said
