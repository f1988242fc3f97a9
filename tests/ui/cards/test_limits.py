"""Limits follow from the facts of a run."""

from dataclasses import replace
from typing import Any

import pytest

from securefl.runs.metrics import checked_metrics
from securefl.ui.cards.limits import Ground, limits

SCENARIO: dict[str, Any] = {
    "data": {"name": "heart"},
    "channel": {"kind": "masked"},
    "attack": None,
}
METRICS: dict[str, Any] = {
    "accuracy": 0.8,
    "records": 500,
    "rounds": 9,
    "abandoned": 0,
    "epsilon": 2.0,
}
METRICS |= {"noise": "system", "sites": {"a": {"records": 300}, "b": {"records": 99}}}
GROUND = Ground(SCENARIO, checked_metrics(METRICS), "", True, False, ())


def of(ground: Ground) -> str:
    return "\n".join(limits(ground))


def with_metrics(**changes: object) -> Ground:
    return replace(GROUND, metrics=checked_metrics({**METRICS, **changes}))


def with_scenario(**changes: object) -> Ground:
    return replace(GROUND, scenario={**SCENARIO, **changes})


@pytest.mark.parametrize(
    ("ground", "sentence"),
    [
        (with_metrics(epsilon=None), "No differential privacy is claimed"),
        (with_metrics(noise="seeded"), "Noise came from a seed"),
        (with_metrics(abandoned=2), "2 of 9 rounds were abandoned."),
        (with_metrics(left_out={"3": "no key"}), "Client 3 took no part: no key."),
        (with_metrics(not_chosen={"3": 2, "4": 0}), "The rule left out: client 3 2 x."),
        (with_metrics(named={"3": "no sketch"}), "Client 3 was found lying and took no further"),
        (with_metrics(sites={}), "Test records belong to no site"),
        (replace(GROUND, end="no budget"), "The run ended early: no budget."),
        (replace(GROUND, is_audited=False), "No adversary was measured"),
        (replace(GROUND, later=True), "Later versions of this model have spent more"),
        (replace(GROUND, mistakes=("x is wrong",)), "The lint says: x is wrong."),
        (with_scenario(channel={"kind": "plain"}), "the server sees every update"),
        (with_scenario(channel={"kind": "masked", "sketch": 64}), "has not been reviewed"),
        (with_scenario(channel={"kind": "ckks"}), "shows its key to the server"),
        (with_scenario(data={"test_on": "validation"}), "Judged on validation records"),
        (with_scenario(data={"grouped": True}), "not for a whole group"),
        (with_scenario(attack={"name": "zero"}), "An attack was simulated: zero."),
    ],
    ids=range(17),
)
def test_a_fact_makes_its_sentence_and_its_absence_does_not(ground: Ground, sentence: str) -> None:
    assert sentence in of(ground)
    assert sentence not in of(GROUND)


def test_epsilon_of_clients_is_not_called_that_of_records() -> None:
    grouped = with_scenario(data={"grouped": True})
    whole = replace(grouped, metrics=checked_metrics({**METRICS, "unit": "client"}))
    assert "Epsilon is for everything that one client trains on, over this version" in of(whole)
    assert "Somebody with records at several clients is protected less." in of(whole)
    assert "one record" not in of(whole)
    assert "groups" not in of(whole)
    single = with_metrics(unit="example")
    assert "Epsilon is for one record, over this version and all before it" in of(single)
    assert "Somebody with several records is protected less." in of(single)


def test_few_test_records_are_named_at_their_site() -> None:
    assert "Only 99 test records at b" in of(GROUND)
    assert "test records at a" not in of(GROUND)
    assert "test records at all sites" not in of(GROUND)


def test_a_held_out_site_takes_a_limit_away() -> None:
    assert "No site was held out" in of(GROUND)
    assert "No site was held out" not in of(with_scenario(data={"held_out": 1}))


def test_one_abandoned_round_is_said_in_the_singular() -> None:
    assert "1 of 9 rounds was abandoned." in limits(with_metrics(abandoned=1))
