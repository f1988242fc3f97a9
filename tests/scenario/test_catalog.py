"""Entries say all that code asks: a new name needs its own module and one line of the catalog."""

import inspect
import re
from dataclasses import replace
from pathlib import Path

import pytest

import attacks
from securefl.runs import api
from securefl.scenario import catalog
from securefl.scenario.entries import AttackEntry, Entry
from securefl.scenario.scenario import parse_scenario
from securefl.scenario.summary import summary

WITH_PARAMETERS: dict[str, Entry] = {
    **catalog.MODELS,
    **catalog.PREFILTERS,
    **catalog.RULES,
    **catalog.ATTACKS,
    **catalog.STEPS,
}
TEXT = """
rounds = 2
data = { name = "heart" }
training = { kind = "sgd", lr = 0.1 }
weights = "equal"
"""


@pytest.mark.parametrize("name", WITH_PARAMETERS)
def test_every_parameter_that_toml_cannot_hold_is_provided(name: str) -> None:
    settable = {int, float, str, int | None, float | None, bool | None}
    for parameter in WITH_PARAMETERS[name].parameters.values():
        is_list = re.search(r"Sequence\[(int|float)\]", str(parameter.annotation))
        assert parameter.annotation in settable or is_list, parameter


@pytest.mark.parametrize("name", catalog.ATTACKS)
def test_an_attack_needs_exactly_what_its_functions_take_from_the_run(name: str) -> None:
    entry = catalog.ATTACKS[name]
    taken = {
        parameter
        for function in entry.functions
        for parameter in list(inspect.signature(function).parameters)
    }
    own = {"rows", "features", "labels", "gradient", "offset"}
    assert taken - own - set(entry.parameters) == set(entry.needs)


def test_an_attack_goes_by_classes_where_its_goal_is_a_class_or_it_needs_their_number() -> None:
    assert AttackEntry(goal=attacks.backdoor_goal).needs_classes
    assert AttackEntry(records=attacks.label_flip, needs=("classes",)).needs_classes
    assert not AttackEntry(attacks.fang_krum, needs=("f", "krum")).needs_classes


def test_a_goal_is_measured_by_parameters_that_the_attack_has() -> None:
    for entry in catalog.ATTACKS.values():
        if entry.goal is not None:
            goal = list(inspect.signature(entry.goal).parameters)
            assert set(goal) - {"features", "labels"} <= set(entry.parameters)


def test_a_channel_of_another_name_runs_when_the_catalog_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = replace(catalog.CHANNELS["plain"], min_cohort=lambda **options: 2)
    monkeypatch.setitem(catalog.CHANNELS, "opened", opened)
    scenario = parse_scenario(TEXT, overrides=("channel.kind=opened",))
    assert scenario.facts.min_cohort == 2
    assert "channel opened: the server sees every update" in summary(scenario)
    assert api.run(scenario, tmp_path / "run")["rounds"] == 2


def test_a_way_of_training_of_another_name_runs_when_the_catalog_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(catalog.TRAINERS, "fast", catalog.TRAINERS["sgd"])
    monkeypatch.setitem(catalog.TRAINERS, "noisy", catalog.TRAINERS["dp_sgd"])
    scenario = parse_scenario(TEXT, overrides=("training.kind=fast",))
    assert scenario.repeatable
    assert scenario.privacy is None
    assert api.run(scenario, tmp_path / "run")["rounds"] == 2
    assert parse_scenario(TEXT, overrides=("training.kind=noisy",)).claims_dp


def test_an_attack_on_a_rule_takes_that_rules_f_and_no_others() -> None:
    against = {name: entry.against for name, entry in catalog.ATTACKS.items() if entry.against}
    assert against == {"fang_krum": "krum"}
    assert AttackEntry().against not in catalog.RULES
