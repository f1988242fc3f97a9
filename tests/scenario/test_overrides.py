"""Values that --set writes, replaces and takes away."""

from typing import Any

import pytest

from securefl.scenario.scenario import Scenario, parse_scenario
from tests.scenario.texts import AS_BUILT, DIGITS, HEART, refusal

# key.path=value -> where it ends up in what is resolved
SET: list[tuple[str, tuple[str, ...], object]] = [
    ("seed=7", ("seed",), 7),
    ("training.lr=0.25", ("training", "lr"), 0.25),
    ("training.lr = 1e-2", ("training", "lr"), 0.01),
    ("privacy.epsilon=inf", ("privacy", "epsilon"), "inf"),
    ("privacy.records=[9, 8, 7, 6]", ("privacy", "records"), [9, 8, 7, 6]),
    ("cohort.size=2", ("cohort", "size"), 2),
    ("cohort={ size = 3 }", ("cohort", "size"), 3),
    ("weights=equal", ("weights",), "equal"),
    (" weights =  equal ", ("weights",), "equal"),
    ('weights="equal"', ("weights",), "equal"),
    ("weights='equal'", ("weights",), "equal"),
    ("data.partition=halves", ("data", "partition"), "halves"),
    ("defense.rule=median", ("defense", "rule"), {"name": "median"}),
    ('defense.rule={ name = "krum", f = 0 }', ("defense", "rule"), {"name": "krum", "f": 0}),
    (
        "simulate.late=[{ client = 1, round = 2 }]",
        ("simulate", "late"),
        [{"client": 1, "round": 2}],
    ),
    (
        "server.step=fedadam",
        ("server",),
        {"step": "fedadam", "lr": 0.1, "beta1": 0.9, "beta2": 0.99, "tau": 1e-3},
    ),
    ("model=mlp", ("model",), {"name": "mlp", "hidden": [32], **AS_BUILT}),
]


@pytest.mark.parametrize(
    ("override", "path", "value"), SET, ids=[override for override, _, _ in SET]
)
def test_an_override_sets_one_key(override: str, path: tuple[str, ...], value: object) -> None:
    resolved: Any = parse_scenario("", overrides=(override,)).resolved()
    for key in path:
        resolved = resolved[key]
    assert resolved == value
    assert type(resolved) is type(value)


def test_an_override_replaces_what_the_text_says_and_a_later_one_an_earlier_one() -> None:
    scenario = parse_scenario(HEART, overrides=("seed=5", "training.lr=2.0", "seed=6"))
    assert (scenario.seed, scenario.training.lr, scenario.training.clip) == (6, 2.0, 1.0)


def test_an_override_reaches_into_a_rule_or_model_given_by_its_name() -> None:
    rule = 'defense = { rule = "trimmed_mean" }'
    assert parse_scenario(rule, overrides=("defense.rule.f=1",)).defense.rule.parameters == {"f": 1}
    scenario = parse_scenario('model = "mlp"', overrides=("model.hidden=[8, 4]",))
    assert (scenario.model.name, scenario.model.parameters) == ("mlp", {"hidden": [8, 4]})


def test_overrides_are_checked_like_the_text() -> None:
    assert "krum with f=1 needs 5 rows" in refusal(
        'defense = { rule = "krum" }', "defense.rule.f=1"
    )
    assert "defense.rule.name: field required" in refusal("", "defense.rule.f=1")
    assert "unknown key 'sed'; did you mean 'seed'?" in refusal("", "sed=1")
    assert "channel.kind = 'bfv' is not available yet" in refusal(
        "", "channel.kind=bfv", "channel.ring=32"
    )
    assert "seed: input should be a valid integer" in refusal("", "seed=x")


@pytest.mark.parametrize("override", ["seed", "=3", "", "a..b=3", ".seed=3", "data.=3"])
def test_an_override_without_key_or_value_is_refused(override: str) -> None:
    assert refusal("", override) == f"--set takes key.path=value, got {override!r}"


def test_an_override_that_lies_too_deep_is_refused() -> None:
    assert "--set takes a path of 32 names at most" in refusal("", ".".join("a" * 33) + "=1")
    assert "unknown key 'a'" in refusal("", ".".join("a" * 32) + "=1")


@pytest.mark.parametrize(
    ("text", "override", "sentence"),
    [
        ("seed = 1", "seed.x=3", "--set seed.x: seed is not a table"),
        (DIGITS, "simulate.drop.client=1", "--set simulate.drop.client: drop is not a table"),
        (HEART, "privacy.epsilon.x=1", "--set privacy.epsilon.x: epsilon is not a table"),
    ],
)
def test_an_override_below_what_is_no_table_is_refused(
    text: str, override: str, sentence: str
) -> None:
    assert refusal(text, override) == sentence


def test_an_empty_override_takes_a_key_away() -> None:
    text = 'rounds = 3\ntraining = { kind = "sgd", lr = 0.5 }\n'
    scenario = parse_scenario(text, overrides=("training.lr=", "rounds="))
    assert (scenario.training.lr, scenario.rounds) == (Scenario().training.lr, Scenario().rounds)
    for path in ("training.batch", "model.hidden", "rounds.more"):
        assert (
            refusal(text, f"{path}=")
            == f"--set {path}=: it is not set, so there is nothing to take away"
        )
