"""Inquiries: the coins of rehearsals and shadows."""

from securefl.audit.inquiry import Inquiry, shadow_scenarios
from securefl.scenario.scenario import parse_scenario
from tests.audit.asking import SGD


def test_shadows_know_neither_the_seed_nor_the_coins_nor_the_channel() -> None:
    scenario = parse_scenario(SGD, overrides=("channel.kind=masked", "seed=3"))
    inquiry = Inquiry(scenario, "server", seed=2)
    shadows = shadow_scenarios(inquiry, 4)
    assert [shadow.rehearsal.seed for shadow in shadows.values() if shadow.rehearsal] == [
        6,
        7,
        8,
        9,
    ]
    assert inquiry.rehearsal.rehearsal is not None
    assert inquiry.rehearsal.rehearsal.seed == 4
    assert len({each.seed for each in [scenario, *shadows.values()]}) == 5
    assert {shadow.channel.kind for shadow in shadows.values()} == {"plain"}


def test_shadows_are_the_same_for_every_adversary() -> None:
    scenario = parse_scenario(SGD)
    server, outsider = (Inquiry(scenario, name, seed=2) for name in ("server", "outsider"))
    assert shadow_scenarios(server, 4) == shadow_scenarios(outsider, 4)
