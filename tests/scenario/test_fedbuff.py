"""Scenarios of a server without lockstep: what they mean, and what is refused."""

import json

import pytest

from securefl.runs.names import cell_hash
from securefl.scenario import budget
from securefl.scenario.checks import fedbuff
from securefl.scenario.scenario import Scenario, parse_scenario
from securefl.scenario.summary import summary
from tests.scenario.texts import SGD, refusal

TEN = 'rounds = 6\ndata = { name = "digits", clients = 10 }\n'


def table(buffer: int = 3, concurrency: int = 5, most: int = 4) -> str:
    numbers = f"buffer = {buffer}, concurrency = {concurrency}, max_updates = {most}"
    return f'topology = {{ kind = "fedbuff", {numbers} }}\n'


def test_a_rule_gets_the_rows_of_a_buffer_and_noise_is_for_all_updates_of_a_client() -> None:
    facts = parse_scenario(TEN + SGD + table()).facts
    assert (facts.buffer, facts.rows, facts.cohort_size) == (3, 3, 3)
    assert facts.trainings == 4
    # A round that a kill cut short is played again: clients refuse the tickets they have paid for.
    assert list(facts.numbers_of(2)) == []


def test_it_is_resolved_and_comes_back() -> None:
    scenario = parse_scenario(f"{TEN}{SGD}{table()}simulate = {{ speed = {[1] * 10} }}\n")
    resolved = json.loads(json.dumps(scenario.resolved()))
    assert resolved["cohort"] is None
    again = Scenario.model_validate(resolved)
    assert again.resolved() == scenario.resolved()
    assert cell_hash(again.resolved()) == cell_hash(scenario.resolved())


def test_the_summary_says_what_it_does() -> None:
    lines = summary(parse_scenario(TEN + SGD + table())).splitlines()
    assert (
        "fedbuff: nobody is waited for; 5 clients train at any time, every 3 updates make a step, "
        "a client gives at most 4"
    ) in lines
    assert "channel plain: the server sees every update and its client, 3 rows" in lines


@pytest.mark.parametrize(
    ("rounds", "ends"),
    # Each of four clients can pay for two updates: eight of them, four steps.
    [(4, None), (5, 4)],
)
def test_it_is_foreseen_when_no_buffer_can_be_filled(
    rounds: int, ends: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "largest_count", lambda *_, **__: 2)
    text = (
        f'rounds = {rounds}\ndata = {{ name = "heart" }}\ntraining = {{ batch = 64 }}\n'
        "privacy = { noise_multiplier = 2.0 }\n"
    )
    assert budget.outlook(parse_scenario(text + table(2, 3, 10))).ends == ends


REFUSED = [
    ('topology = "fedbuff"', "topology.kind = 'fedbuff' needs topology.buffer"),
    (
        'topology = { kind = "fedbuff", buffer = 2 }',
        "topology.kind = 'fedbuff' needs topology.concurrency",
    ),
    (
        'topology = { kind = "fedbuff", buffer = 2, concurrency = 2 }',
        "topology.kind = 'fedbuff' needs topology.max_updates",
    ),
    (table(buffer=6), "topology.buffer = 6 is above the 5 clients that train at any time"),
    (table(concurrency=11), "topology.concurrency = 11 is above the 10 clients; lower it"),
    (
        table(buffer=2, most=1),
        "topology.max_updates = 1 lets 10 clients give 10 updates, and 6 rounds of 2 need 12; "
        "raise it",
    ),
    (
        table().replace(" }", ', order = "fixed" }'),
        "topology.order has no effect with 'fedbuff'; remove it",
    ),
    (table() + "cohort = { size = 3 }", "no round invites a cohort; remove the table [cohort]"),
    (
        f"{table()}cohort = {{ size = 3, deadline = 2 }}\nsimulate = {{ speed = {[1] * 10} }}",
        "cohort.deadline has no effect with topology.kind = 'fedbuff'; remove it",
    ),
    (
        f"{table()}cohort = {{ size = 3, over_select = 2 }}",
        "cohort.over_select has no effect with topology.kind = 'fedbuff'; remove it",
    ),
    (
        table() + "simulate = { drop = [{ client = 0, round = 0 }] }",
        "simulate.drop names rounds, and clients train across rounds; remove it",
    ),
    (
        table() + "simulate = { late = [{ client = 0, round = 0 }] }",
        "simulate.late names rounds, and clients train across rounds; remove it",
    ),
    (
        table() + "simulate = { speed = [1, 2] }",
        "simulate.speed has one number a client: 10 clients, got 2 numbers",
    ),
    (
        table() + 'channel = { kind = "masked" }\nweights = "equal"',
        "channel.kind = 'masked' sums updates of one model, and a buffer holds updates of several; "
        "use 'plain'",
    ),
    (
        table() + 'channel = { kind = "ckks" }\nweights = "equal"',
        "channel.kind = 'ckks' sums updates of one model",
    ),
    (
        table() + "channel = { min_cohort = 2 }",
        "channel.min_cohort has no effect, as topology.buffer updates make a step; remove it",
    ),
    (
        table() + 'training = { kind = "sgd", schedule = "cosine" }',
        "training.schedule = 'cosine' goes by rounds, and clients train across rounds; remove it",
    ),
    (
        table() + 'training = { kind = "sgd", algorithm = "scaffold" }',
        "training.algorithm = 'scaffold' needs one server, of whose model",
    ),
    (
        table() + SGD + 'weights = "reported"',
        "weights = 'reported' could change from one update of a client to the next",
    ),
    (
        table() + SGD + "engine = { stack = 4 }",
        "engine.stack has no effect, as clients begin at different times; remove it",
    ),
    (
        table() + 'defense = { rule = { name = "krum", f = 1 } }',
        "krum with f=1 needs 5 rows, a buffer has 3: use a smaller f, a larger topology.buffer, or",
    ),
    (
        # One fast client may have a majority of a buffer.
        table() + 'attack = { name = "a_little_is_enough", knows = "omniscient", clients = [0] }',
        "corrupt clients that are fast may give 3 of the 3 rows of a buffer, for which attack.name "
        "= 'a_little_is_enough' is not defined",
    ),
]


@pytest.mark.parametrize(("lines", "sentence"), REFUSED)
def test_what_needs_lockstep_or_cannot_be_is_refused(lines: str, sentence: str) -> None:
    training = "" if "training" in lines else SGD
    assert sentence in refusal(f"{TEN}{training}{lines}\n")


def test_more_updates_than_messages_can_number_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fedbuff, "MAX_ROUND", 45)
    sentence = "6 rounds of 3 updates are more than messages can number, 22; lower it, or rounds"
    assert sentence in refusal(TEN + SGD + table())
    monkeypatch.setattr(fedbuff, "MAX_ROUND", 46)
    assert parse_scenario(TEN + SGD + table()).facts.buffer == 3


def test_what_changes_nothing_may_stay() -> None:
    constant = (
        'training = { kind = "sgd", schedule = "constant", algorithm = "fedprox", mu = 0.1 }\n'
    )
    off = 'engine = { stack = "off" }\nchannel = { kind = "plain", min_cohort = 1 }\n'
    assert parse_scenario(TEN + table() + constant + off).facts.buffer == 3
