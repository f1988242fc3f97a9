"""The noise multiplier of a claim: given, none, or what its epsilon needs."""

import pytest

from securefl.scenario.release import multiplier_of
from securefl.scenario.scenario import parse_scenario
from securefl.scenario.tables import Privacy
from tests.scenario.test_place import HEART, LOCAL
from tests.scenario.texts import SGD


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ((), 7.5),
        (("privacy.noise_multiplier=4.5",), 4.5),
        (("privacy.epsilon=inf",), 0.0),
        # Noise may be added without a claim.
        (("privacy.epsilon=inf", "privacy.noise_multiplier=4.5"), 4.5),
    ],
)
def test_a_given_multiplier_comes_before_a_claim(
    overrides: tuple[str, ...], expected: float
) -> None:
    asked: list[float] = []

    def calibrated(privacy: Privacy) -> float:
        asked.append(privacy.epsilon)
        return 7.5

    scenario = parse_scenario(HEART, overrides=(LOCAL, *overrides))
    assert multiplier_of(scenario, calibrated) == expected
    assert asked == ([] if overrides else [8.0])


def test_without_a_claim_there_is_no_noise() -> None:
    scenario = parse_scenario(SGD + 'data = { name = "heart" }')
    assert multiplier_of(scenario, lambda privacy: 1.0) == 0.0
