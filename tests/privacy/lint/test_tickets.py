"""Books of a run without lockstep: ledgers number trainings by tickets, not by rounds."""

from dataclasses import asdict
from typing import Any

from securefl.privacy.accounting.calibration import calibrate_noise
from securefl.privacy.events import SampledGaussian
from securefl.privacy.lint.books import noise_not_as_configured, steps_not_accounted
from securefl.privacy.lint.case import Case

ROUNDS, MOST = 2, 4


def case(tickets: list[int], *, buffer: int | None = 2) -> Case:
    """Client 0 gave two updates in round 0 and one in round 1."""
    noise = calibrate_noise(8.0, 0.5, 2 * MOST, 1e-5)
    event = asdict(SampledGaussian(0.5, noise, 2))
    lines: list[dict[str, Any]] = [
        {"kind": "reserve", "release": ["run", 0, ticket, 0], "event": event} for ticket in tickets
    ]
    rounds = [
        {"round": 0, "survivors": [0, 0], "absent": {}},
        {"round": 1, "survivors": [0, 1], "absent": {}},
    ]
    return Case(
        scenario={
            "rounds": ROUNDS,
            "training": {"batch": 1, "epochs": 1},
            "privacy": {"epsilon": 8.0, "delta": 1e-5, "records": [2]},
            "topology": {"buffer": buffer, "max_updates": MOST},
        },
        ledgers={0: lines},
        broken={1: "its ledger is not looked at here"},
        rounds=rounds,
    )


def test_each_update_is_backed_by_a_booking_whatever_its_number() -> None:
    assert steps_not_accounted(case([5, 7, 11])) is None
    # A kill has lost the training of ticket 6, which stays paid.
    assert steps_not_accounted(case([5, 6, 7, 11])) is None


def test_more_updates_than_bookings_are_found() -> None:
    message = "client 0 took part in round 1, and its ledger books nothing for it"
    assert steps_not_accounted(case([5, 7])) == message
    assert steps_not_accounted(case([5])) == message.replace("round 1", "round 0")


def test_noise_is_compared_with_all_updates_that_a_client_may_give() -> None:
    # As many bookings as rounds are not all that the noise is for.
    assert noise_not_as_configured(case([5, 7])) is None
    assert noise_not_as_configured(case([1, 2, 5, 7])) is None
    assert noise_not_as_configured(case([5, 7], buffer=None)) is not None
