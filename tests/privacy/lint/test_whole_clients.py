"""Mistakes in claims about whole clients, and what is none there."""

from typing import Any

import pytest

from securefl.privacy.events import SampledGaussian, event_to_json
from securefl.privacy.lint.case import Case
from securefl.privacy.lint.lint import lint
from securefl.scenario.scenario import parse_scenario

TEXT = """
rounds = 3
data = { name = "digits", partition = "iid", clients = 40 }
training = { kind = "sgd", batch = 8 }
privacy = { unit = "client", epsilon = 8.0, delta = 1e-3, noise_multiplier = 2.0 }
"""
POISSON = 'cohort={ size = 10, sampling = "poisson" }'


def case(*overrides: str, rate: float = 1.0, **privacy: Any) -> Case:
    resolved = parse_scenario(TEXT, overrides=overrides).resolved()
    resolved["privacy"] |= privacy
    terms = {
        "unit": resolved["privacy"]["unit"],
        "neighbours": "add_remove" if resolved["cohort"].get("sampling") else "replace_one",
        "delta": resolved["privacy"]["delta"],
        "budget": 8.0,
    }
    line = {
        "event": event_to_json(SampledGaussian(rate, 2.0, 1)),
        "release": ["run", 0, 0, 0],
        "hash": "",
        "terms": terms,
    }
    return Case(resolved, "running", ledgers={0: [line]})


def names(case: Case) -> set[str]:
    return {finding.name for finding in lint(case)}


def test_what_a_client_does_with_its_records_is_no_mistake() -> None:
    assert names(case()) == set()
    assert case().practice("sampling", "poisson") == "poisson"
    of_records = case(unit="example")
    assert of_records.practice("sampling", "poisson") == "shuffled"


@pytest.mark.parametrize(("rate", "found"), [(0.25, set()), (0.2, {"draw-amplified"})])
def test_a_rate_below_that_of_the_coins_is_found(rate: float, found: set[str]) -> None:
    assert names(case(POISSON, rate=rate)) == found


def test_a_rate_without_coins_is_found() -> None:
    looked = case(rate=0.25)
    assert names(looked) == {"draw-amplified"}
    (finding,) = lint(looked)
    assert finding.message.endswith("at a rate of 1")


def test_a_cohort_from_the_seed_is_remarked_and_coins_are_not() -> None:
    (finding,) = lint(case("cohort.size=10"))
    assert finding.name == "cohort-not-secret"
    assert "cohorts of 10 of 40 clients are drawn from the scenario's seed" in finding.message
    assert not finding.grave


@pytest.mark.parametrize(("delta", "found"), [(0.024, set()), (0.025, {"delta-too-large"})])
def test_delta_is_compared_with_the_number_of_clients(delta: float, found: set[str]) -> None:
    assert names(case(delta=delta)) == found


def test_groups_of_records_are_covered() -> None:
    looked = case()
    looked.scenario["data"]["grouped"] = True
    assert names(looked) == set()
