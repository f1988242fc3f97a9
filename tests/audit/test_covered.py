"""Whom a claim of central or distributed noise does not hold against."""

import pytest

from securefl.audit.covered import knows_shares, sees_before_noise
from securefl.audit.inquiry import Inquiry
from securefl.errors import ScenarioError
from securefl.scenario.scenario import Scenario, parse_scenario
from tests.audit.test_sum_canaries import SUMS

GIVEN = "privacy.noise_multiplier=4.0"


def sums(*overrides: str) -> Scenario:
    return parse_scenario(SUMS, overrides=(GIVEN, *overrides))


@pytest.mark.parametrize(
    ("channel", "adversary", "shown"),
    [
        ("plain", "server", "update in the clear"),
        ("plain", "network", "update in the clear"),
        ("masked", "server", "sum of updates"),
        ("ckks", "clients", "opened sum"),
        ("masked", "clients", ""),
        ("ckks", "server", ""),
        ("plain", "outsider-weights", ""),
    ],
)
def test_an_adversary_that_sees_more_than_models_is_not_covered_by_central_noise(
    channel: str, adversary: str, shown: str
) -> None:
    scenario = sums('privacy.place="central"', f'channel.kind="{channel}"')
    why = sees_before_noise(scenario, adversary)
    assert bool(why) is bool(shown)
    assert shown in why
    if shown:
        with pytest.raises(ScenarioError, match="before central noise is added"):
            Inquiry(scenario, adversary)


@pytest.mark.parametrize("place", ["local", "distributed"])
def test_other_noise_is_added_before_anybody_sees_a_sum(place: str) -> None:
    assert sees_before_noise(sums(f'privacy.place="{place}"'), "server") == ""


@pytest.mark.parametrize(
    ("place", "corrupt", "adversary", "colluders", "refused"),
    [
        ("distributed", 1, "server+clients", 1, False),
        ("distributed", 1, "server+clients", 2, True),
        ("distributed", 1, "clients", 2, True),
        ("distributed", 2, "server+clients", 2, False),
        ("distributed", 2, "server+clients", 3, True),
        # It has no clients on its side, whatever the option says.
        ("distributed", 1, "server", 2, False),
        ("local", 1, "server+clients", 2, False),
    ],
)
def test_no_more_clients_know_their_shares_than_noise_was_sized_against(
    place: str, corrupt: int, adversary: str, colluders: int, refused: bool
) -> None:
    scenario = sums(f'privacy.place="{place}"', f"channel.corrupt={corrupt}")
    why = knows_shares(scenario, adversary, colluders)
    assert bool(why) is refused
    if refused:
        assert f"the claim holds against channel.corrupt = {corrupt}; take fewer" in why
        with pytest.raises(ScenarioError, match=f"{colluders} clients know their shares"):
            Inquiry(scenario, adversary, colluders)
