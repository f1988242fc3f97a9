"""The lint of noise in shares, of sums of gradients, and of claims for whole clients."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from securefl.audit.lint import examine
from securefl.privacy.accounting.calibration import calibrate_event
from securefl.privacy.accounting.epsilon import epsilon
from securefl.privacy.events import (
    DiscreteGaussianSum,
    PrivacyEvent,
    SampledGaussian,
    event_to_json,
)
from securefl.privacy.lint.case import Case
from securefl.privacy.lint.lint import lint
from securefl.privacy.past import past_of
from securefl.runs import api
from securefl.scenario.scenario import parse_scenario

ROUNDS = 4
CLIENTS = 10
DELTA = 1e-5


def scenario(init_from: str | None = None, **tables: dict[str, Any]) -> dict[str, Any]:
    """Returns the resolved scenario of ten hospitals, of which one may be corrupt."""
    values: dict[str, Any] = {
        "rounds": ROUNDS,
        "init_from": init_from,
        "data": {"name": "digits", "clients": CLIENTS},
        "training": {"kind": "clipped_gradient", "clip": 1.0},
        "privacy": {
            "unit": "example",
            "place": "distributed",
            "epsilon": 8.0,
            "delta": DELTA,
            "noise": "system",
            "records": [100] * CLIENTS,
        },
        "channel": {"kind": "masked", "corrupt": 1, "min_cohort": 3},
        "cohort": {"size": CLIENTS},
        "weights": "equal",
        "practice": {
            "sampling": "full",
            "normaliser": "declared",
            "batches": "all",
            "statistics": "public",
            "layers": [],
        },
    }
    for name, table in tables.items():
        values[name] |= table
    return values


# The threshold of ten is six, and five of its shares are of honest clients.
def shares(noise: float, number: int = 5, *, sample_rate: float = 1.0) -> DiscreteGaussianSum:
    return DiscreteGaussianSum.of(
        noise / 0.01 / number**0.5,
        number,
        sensitivity=1.0,
        granularity=0.01,
        dimension=64,
        sample_rate=sample_rate,
    )


NOISE = calibrate_event(8.0, shares, ROUNDS, DELTA)


def linted(
    values: dict[str, Any],
    event: PrivacyEvent,
    *,
    survivors: int = CLIENTS,
    neighbours: str = "add_remove",
    rounds: Iterable[int] = range(ROUNDS),
    past: PrivacyEvent | None = None,
) -> dict[str, str]:
    """Returns the findings in a run whose clients booked the event in each round.

    The last client continues a past, if there is one.
    """
    privacy = values["privacy"]
    terms = {
        "unit": privacy["unit"],
        "neighbours": neighbours,
        "delta": DELTA,
        "budget": 8.0,
        "noise": "system",
        "place": [privacy["place"], 1 if privacy["place"] == "distributed" else 0],
    }
    lines = [
        {
            "kind": "reserve",
            "release": ["run", 0, round, 0],
            "event": event_to_json(event),
            "hash": f"{round}",
            "terms": terms,
        }
        for round in rounds
    ]
    ledgers = dict.fromkeys(range(CLIENTS), lines)
    booked = Counter({event: len(lines)})
    spent = dict.fromkeys(range(CLIENTS), epsilon(booked, delta=DELTA))
    if past is not None:
        before = {"before": {"events": [[event_to_json(past), 1]], "seeded": []}}
        ledgers[CLIENTS - 1] = [lines[0] | before, *lines[1:]]
        spent[CLIENTS - 1] = epsilon(booked + Counter([past]), delta=DELTA)
    records = [
        {
            "round": round,
            "survivors": list(range(survivors)),
            "absent": {},
            "ledger_heads": {str(client): f"{round}" for client in range(CLIENTS)},
        }
        for round in range(ROUNDS)
    ]
    case = Case(
        values,
        "done",
        ledgers,
        rounds=records,
        metrics={
            "epsilon": max(spent.values()),
            "epsilons": {str(client): cost for client, cost in spent.items()},
            "rounds": ROUNDS,
        },
    )
    return {finding.name: finding.message for finding in lint(case)}


# Nothing to find


def test_shares_that_are_sized_for_the_threshold_are_no_mistake() -> None:
    assert linted(scenario(), shares(NOISE)) == {}
    assert linted(scenario(), shares(NOISE), survivors=6) == {}


def test_full_batches_and_one_step_a_round_are_no_mistake() -> None:
    noise = calibrate_event(8.0, lambda z: SampledGaussian(1.0, z, 1), ROUNDS, DELTA)
    for place in ("local", "central"):
        assert linted(scenario(privacy={"place": place}), SampledGaussian(1.0, noise, 1)) == {}


def test_clipped_updates_of_whole_clients_are_no_mistake_however_they_train() -> None:
    values = scenario(
        privacy={"unit": "client", "records": None},
        training={"kind": "sgd", "batch": 16, "epochs": 2},
        practice={"sampling": "shuffled", "normaliser": "batch", "batches": "cut"},
    )
    assert linted(values, shares(NOISE), neighbours="replace_one") == {}
    values["cohort"] = {"size": 5, "sampling": "poisson"}
    values["privacy"]["noise_multiplier"] = 2 * NOISE
    # All ten are invited, of which five take part on average.
    assert linted(values, shares(2 * NOISE, sample_rate=0.5)) == {}
    more = linted(values, shares(2 * NOISE, 6, sample_rate=0.5))
    assert list(more) == ["shares-for-all-present"]


def test_clients_with_a_smaller_past_may_spend_less_than_the_target_of_a_sum() -> None:
    # The last client had spent something before: it alone reaches the target.
    past = shares(NOISE)
    noise = calibrate_event(8.0, shares, ROUNDS, DELTA, before={past: 1})
    values = scenario(init_from="first")
    assert linted(values, shares(noise), past=past) == {}
    found = linted(values, shares(1.5 * noise), past=past)
    assert found["noise-not-as-configured"].startswith("client 0: noise for epsilon 8 was asked")
    # Noise of its own is calibrated for each client.
    values["privacy"]["place"] = "local"
    own = SampledGaussian(1.0, noise, 1)
    assert "noise-not-as-configured" in linted(values, own, past=past)


def test_a_run_that_stopped_early_may_have_noise_for_more_rounds() -> None:
    less = linted(scenario(), shares(2 * NOISE), rounds=range(ROUNDS - 1))
    assert "noise-not-as-configured" not in less


# Mistakes


def test_a_gaussian_booked_for_shares_is_found() -> None:
    found = linted(scenario(), SampledGaussian(1.0, NOISE, 1))
    assert found["shares-as-gaussian"] == (
        "client 0: noise is added in shares, and its ledger books a Gaussian with noise multiplier"
        f" {NOISE:g}, whose epsilon is too low"
    )


def test_shares_of_all_who_are_present_are_found() -> None:
    found = linted(scenario(), shares(NOISE, 6))
    assert list(found) == ["shares-for-all-present"]
    assert found["shares-for-all-present"] == (
        f"client 0: round 0 books noise multiplier {NOISE:.4g} by 6 shares, and its sum may open"
        " with 6 updates, 1 of them of corrupt clients"
    )


@pytest.mark.parametrize(
    ("channel", "cohort", "enough"),
    [
        # Thresholds of six, seven, four; a minimum cohort above the threshold; one below.
        ({"corrupt": 1}, 10, 5),
        ({"corrupt": 3}, 10, 4),
        ({"corrupt": 1}, 6, 3),
        ({"corrupt": 1, "min_cohort": 8}, 10, 7),
        ({"corrupt": None, "min_cohort": None}, 10, 5),
    ],
)
def test_so_many_shares_count_for_sure_and_one_more_does_not(
    channel: dict[str, Any], cohort: int, enough: int
) -> None:
    values = scenario(channel=channel, cohort={"size": cohort})
    assert "shares-for-all-present" not in linted(values, shares(NOISE, enough))
    assert "shares-for-all-present" in linted(values, shares(NOISE, enough + 1))


def test_a_sum_that_opened_with_fewer_updates_than_it_may_is_found() -> None:
    found = linted(scenario(), shares(NOISE), survivors=5)
    assert "its sum may open with 5 updates, 1 of them" in found["shares-for-all-present"]
    # A round that was abandoned opened nothing.
    assert linted(scenario(), shares(NOISE), survivors=0) == {}


def test_shares_booked_where_no_sum_carries_them_are_found() -> None:
    found = linted(scenario(privacy={"place": "local"}), shares(NOISE))
    assert found == {
        "noise-not-as-configured": "client 0: local noise was asked for, its ledger books 5 shares"
        " of noise"
    }


def test_more_noise_by_shares_than_was_asked_for_is_found_and_rounding_is_not() -> None:
    noise = next(z for z in (NOISE + k / 7 for k in range(99)) if shares(z).noise_multiplier != z)
    assert linted(scenario(privacy={"noise_multiplier": noise}), shares(noise)) == {}
    values = scenario(privacy={"noise_multiplier": NOISE})
    assert linted(values, shares(NOISE)) == {}
    found = linted(values, shares(1.001 * NOISE))
    assert found["noise-not-as-configured"].startswith(
        f"client 0: noise multiplier {NOISE:g} was asked for, its ledger books"
    )


def test_a_rate_below_that_of_the_batches_is_found() -> None:
    values = scenario(training={"sample_rate": 0.5}, privacy={"noise_multiplier": NOISE})
    assert linted(values, shares(NOISE, sample_rate=0.5)) == {}
    for event, rate in ((shares(NOISE, sample_rate=0.4), 0.5),):
        found = linted(values, event)
        assert found == {
            "rate-over-all-data": "client 0 is accounted at a sampling rate of 0.4, too low; each"
            f" of its records takes part at a rate of {rate}"
        }
    full = scenario(privacy={"noise_multiplier": NOISE})
    assert (
        "takes part at a rate of 1"
        in linted(full, shares(NOISE, sample_rate=0.5))["rate-over-all-data"]
    )


def test_a_claim_for_clients_that_counts_on_the_draw_of_the_seed_is_found() -> None:
    values = scenario(
        privacy={"unit": "client", "noise_multiplier": NOISE},
        training={"kind": "sgd"},
        cohort={"size": 5},
    )
    found = linted(values, shares(NOISE, 2, sample_rate=0.5), neighbours="replace_one")
    assert found["draw-amplified"] == (
        "client 0 is accounted at a sampling rate of 0.5; by coins that only the clients see, it"
        " takes part at a rate of 1"
    )
    assert found["cohort-not-secret"].startswith("cohorts of 5 of 10 clients are drawn from the")
    values["cohort"]["sampling"] = "poisson"
    assert linted(values, shares(NOISE, 2, sample_rate=0.5)) == {}
    assert "draw-amplified" in linted(values, shares(NOISE, 2, sample_rate=0.4))


@pytest.mark.parametrize(
    ("unit", "sampling", "neighbours"),
    [
        ("example", None, "replace_one"),
        ("client", None, "add_remove"),
        ("client", "poisson", "replace_one"),
    ],
)
def test_a_ledger_about_other_neighbours_is_found(
    unit: str, sampling: str | None, neighbours: str
) -> None:
    values = scenario(privacy={"unit": unit}, cohort={"sampling": sampling})
    found = linted(values, shares(NOISE), neighbours=neighbours)
    assert found["ledger-edited"].startswith(
        f"client 0: its ledger was kept at neighbours {neighbours}, the scenario says"
    )


def test_a_delta_of_one_over_the_clients_is_found() -> None:
    values = scenario(privacy={"unit": "client", "delta": 0.1}, training={"kind": "sgd"})
    found = linted(values, shares(NOISE), neighbours="replace_one")
    assert found["delta-too-large"] == "delta 0.1 is not below 1 / 10, one over the clients"
    assert "delta-from-batches" not in found
    values["privacy"]["delta"] = 0.05
    assert "delta-too-large" not in linted(values, shares(NOISE), neighbours="replace_one")


def test_a_round_whose_sum_was_not_booked_is_found() -> None:
    found = linted(scenario(), shares(NOISE), rounds=[0, 1, 3])
    assert found["steps-not-accounted"] == (
        "client 0 took part in round 2, and its ledger books nothing for it"
    )


def test_records_with_groups_are_covered_by_a_claim_for_whole_clients() -> None:
    values = scenario(data={"grouped": True})
    assert "groups-not-covered" in linted(values, shares(NOISE))
    values["privacy"]["unit"] = "client"
    assert "groups-not-covered" not in linted(values, shares(NOISE))


# A run


def test_a_run_under_noise_in_shares_has_no_finding(tmp_path: Path) -> None:
    text = """
    rounds = 3
    data = { name = "heart" }
    training = { kind = "clipped_gradient", lr = 0.5 }
    privacy = { place = "distributed", epsilon = 8.0, delta = 1e-5 }
    channel = { kind = "masked" }
    simulate = { drop = [{ client = 3, round = 1, stage = 3 }] }
    """
    api.run(parse_scenario(text), tmp_path / "run", text=text)
    (verdict,) = examine(tmp_path / "run")
    assert verdict.findings == []
    counts = []
    for ledger in sorted((tmp_path / "run").rglob("ledgers/*.jsonl")):
        ((event, count),) = past_of(ledger).events
        assert isinstance(event, DiscreteGaussianSum)
        # The threshold of four is three, of which one may lie.
        assert event.shares == 2
        counts.append(count)
    # The client that dropped out of a round had not paid for it yet.
    assert counts == [3, 3, 3, 2]
    assert 0.995 * 8 <= epsilon({event: 3}, delta=DELTA) <= 8
