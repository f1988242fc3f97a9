"""How long a privacy budget lasts: the calculation agrees with the runs."""

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from securefl.errors import BudgetExceeded
from securefl.federation.record import RoundRecord
from securefl.privacy.accounting import allowance
from securefl.privacy.events import SampledGaussian
from securefl.privacy.past import NO_PAST
from securefl.runs import api
from securefl.runs.folder import Request, RunFolder
from securefl.scenario.budget import Outlook, outlook, require_lasting
from securefl.scenario.scenario import Scenario, parse_scenario
from securefl.ui.validate import explain

# Four hospitals of different sizes: the smallest, client 2, pays most and leaves first.
HEART = """
seed = 3
rounds = 9
data = { name = "heart" }
training = { kind = "dp_sgd", batch = 32 }
privacy = { noise = "seeded", epsilon = 3.0, noise_multiplier = 3.0 }
"""


def heart(*overrides: str) -> Scenario:
    return parse_scenario(HEART, overrides=overrides)


def absent_for_budget(scenario: Scenario, folder: Path) -> dict[int, int]:
    """Plays a scenario; client -> the first round in which its ledger refused to pay."""
    leaves: dict[int, int] = {}

    def note(record: RoundRecord) -> None:
        for client, reason in record.absent.items():
            if "would exceed epsilon" in reason:
                leaves.setdefault(client, record.round)

    api.run(scenario, folder, on_round=note)
    return leaves


def test_clients_leave_in_the_round_that_was_calculated(tmp_path: Path) -> None:
    scenario = heart()
    calculated = require_lasting(scenario)
    assert calculated.ends is None
    assert set(calculated.leaves) == {2}
    assert absent_for_budget(scenario, tmp_path / "run") == calculated.leaves
    assert calculated.lines() == [
        f"client 2 leaves in round {calculated.leaves[2]} (from 0): its budget is spent"
    ]


def test_cohorts_that_are_drawn_are_part_of_the_calculation(tmp_path: Path) -> None:
    scenario = heart("cohort.size=2", "rounds=12", "privacy.noise_multiplier=2.5")
    calculated = outlook(scenario)
    assert calculated.leaves
    assert calculated.leaves != outlook(heart("rounds=12", "privacy.noise_multiplier=2.5")).leaves
    assert absent_for_budget(scenario, tmp_path / "run") == calculated.leaves


def test_a_run_that_would_end_early_is_refused_with_the_round_in_which_it_ends(
    tmp_path: Path,
) -> None:
    scenario = heart("channel.min_cohort=4")
    ends = outlook(scenario).ends
    assert ends == outlook(heart()).leaves[2] > 0
    sentence = (
        rf"^privacy\.noise_multiplier = 3 ends the run in round {ends} of 9 \(from 0\): "
        "fewer than 4 clients can pay for it within epsilon 3; raise noise_multiplier, "
        "set fewer rounds, or remove the key"
    )
    with pytest.raises(BudgetExceeded, match=sentence) as refused:
        require_lasting(scenario)
    assert refused.value.exit_code == 3
    with pytest.raises(BudgetExceeded, match=sentence):
        api.run(scenario, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    # Without the sum's refusal the ledgers end it, in the round that was calculated.
    folder = RunFolder.create(tmp_path / "run", Request.of({"run": scenario}, ""))
    with pytest.raises(BudgetExceeded, match=f"^round {ends}: 3 of 4 clients may still spend"):
        api.run_cells(folder, {"run": scenario}, on_round=lambda label, record: None)


@pytest.mark.parametrize(
    "overrides",
    [
        ("privacy.noise_multiplier=",),  # calibrated
        ("privacy.epsilon=inf",),
        ("training.kind=sgd", "privacy="),
        ("privacy.noise_multiplier=50.0",),
    ],
)
def test_noise_that_lasts_or_promises_nothing_is_not_refused(overrides: tuple[str, ...]) -> None:
    assert require_lasting(heart(*overrides)) == Outlook({}, None)


def test_a_run_that_goes_on_from_another_has_less_to_spend() -> None:
    scenario = heart("rounds=2")
    assert outlook(scenario).leaves == {}
    event = SampledGaussian(1.0, 3.0, 1)
    past = NO_PAST._replace(events=((event, 3),))
    assert outlook(scenario, {2: past}).leaves == {2: 1}


def test_validate_refuses_before_anything_runs(tmp_path: Path) -> None:
    file = tmp_path / "scenario.toml"
    file.write_text(HEART, encoding="utf-8")
    text, facts = explain(file, ())
    assert "client 2 leaves in round " in text
    assert facts.valid
    with pytest.raises(BudgetExceeded, match="no client can pay for it within epsilon 3"):
        explain(file, ("privacy.noise_multiplier=0.5",))


def test_a_client_that_is_silent_in_a_round_may_not_pay_for_it(tmp_path: Path) -> None:
    silent = heart("channel.min_cohort=4", "simulate.drop=[{client=2, round=0}]")
    steady = heart("channel.min_cohort=4")
    assert outlook(steady).ends is not None
    first = outlook(steady).leaves[2]
    assert outlook(silent).leaves[2] == first + 1
    lasting = heart(f"rounds={first + 1}", "simulate.drop=[{client=2, round=0}]")
    assert require_lasting(lasting) == Outlook({}, None)
    assert absent_for_budget(lasting, tmp_path / "run") == {}


def test_a_session_without_members_has_no_budget_to_end() -> None:
    nobody = heart("channel.kind=masked", "simulate.missing=[0, 1, 2, 3]")
    assert outlook(nobody) == Outlook({}, None)


def test_a_budget_that_lasts_is_known_after_one_sum_of_losses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []

    def fits(segments: Mapping[SampledGaussian, int], *, delta: float, budget: float) -> bool:
        asked.append(sum(segments.values()))
        return sum(segments.values()) <= 40

    monkeypatch.setattr(allowance, "fits", fits)
    event = SampledGaussian(0.1, 5.0, 1)
    for most, count in ((9, 9), (40, 40), (41, 40), (1000, 40)):
        largest = allowance.largest_count(event, Counter(), delta=1e-5, budget=1.0, most=most)
        assert largest == count
    assert asked[:2] == [9, 40]
    assert allowance.largest_count(event, Counter(), delta=1e-5, budget=math.inf, most=7) == 7
