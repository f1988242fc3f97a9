"""The claim that an audit prints names whom it holds against."""

import pytest

from securefl.audit.inquiry import Inquiry
from securefl.audit.notes import claimed
from securefl.scenario.scenario import parse_scenario

SUM = """
rounds = 2
training = { kind = "clipped_gradient", lr = 1.0, clip = 1.0 }
privacy = { epsilon = 3.0 }
channel = { kind = "masked" }
"""


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("local", "everybody else"),
        ("distributed", "the server together with up to 1 client of a sum"),
        (
            "central",
            "those who see models only, and NOT against the server, which opens the sum and adds "
            "the noise",
        ),
    ],
)
def test_the_claim_names_its_adversary(place: str, said: str) -> None:
    scenario = parse_scenario(SUM, overrides=(f"privacy.place={place}",))
    assert claimed(Inquiry(scenario, "outsider", target=2), None) == (
        "epsilon 3 at delta 1e-05: one training example of client 2, "
        f"{place} noise; the claim holds against {said}"
    )


def test_no_claim_holds_against_nobody() -> None:
    scenario = parse_scenario(SUM, overrides=("privacy.epsilon=inf",))
    assert claimed(Inquiry(scenario, "outsider", target=2), None) == "no claim for client 2"
