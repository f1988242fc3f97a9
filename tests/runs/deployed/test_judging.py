"""Evaluation at the sites: the central figures, no trip of their own, and nothing else leaves."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from securefl import vector
from securefl.channels.apart import Membership, ServerSetUp
from securefl.channels.monotonic import MemoryMonotonic
from securefl.errors import BudgetExceeded, ClientFailure, PolicyRefused, ScenarioError
from securefl.federation.policy import Budget, EvaluationRules
from securefl.files import read_lines
from securefl.learning.evaluate import evaluate
from securefl.learning.protocol import Metrics, Trained
from securefl.privacy.accounting.epsilon import epsilon
from securefl.runs.cell import CellState
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.deployed.audit_log import AuditLog, Event
from securefl.runs.deployed.charter import envelope_limit
from securefl.runs.deployed.counting import METRICS, counting_speaker
from securefl.runs.deployed.deployable import check_deployable
from securefl.runs.deployed.envelope import COUNTS_LANE, Kind, Part
from securefl.runs.deployed.judging import FIGURES, metrics_of
from securefl.runs.deployed.rules import Rules
from securefl.runs.deployed.sessions import _take
from securefl.runs.deployed.speaker import Speaker
from securefl.scenario.assemble.data import load_data
from securefl.scenario.assemble.evaluation import (
    CountingParts,
    counts_cost,
    counts_layout,
    judging_shares,
    open_figures_ledger,
)
from securefl.scenario.assemble.public import public_parts
from securefl.scenario.scenario import parse_scenario
from tests.runs.deployed.parties import (
    DP,
    MASKED,
    SGD,
    Deployment,
    MemoryLink,
    deployment,
    free_policy,
)
from tests.runs.deployed.test_coordinator import COHORT, simulated
from tests.runs.deployed.test_resume import DeadlyLink, Killed, resumed, started

SUMS = 'evaluate = { leave = "sums" }\n'
NOISY = 'evaluate = { leave = "noisy", epsilon = 20.0 }\n'
BEST = 'evaluate = { leave = "sums", keep = "best" }\n'
# The third model is the best of four.
STEEP = """
seed = 1
rounds = 4
data = { name = "heart", partition = "natural", test_on = "validation" }
training = { kind = "sgd", batch = 64, epochs = 1, lr = 20.0 }
weights = "equal"
"""
DIGITS = """
seed = 2
rounds = 2
data = { name = "digits", partition = "iid", clients = 4 }
training = { kind = "sgd", batch = 64, epochs = 1, lr = 0.5 }
weights = "equal"
"""


def on_validation(text: str) -> str:
    return text.replace('partition = "natural"', 'partition = "natural", test_on = "validation"')


def central(text: str, weights: torch.Tensor) -> Metrics:
    """The figures of a model on all records in one place."""
    scenario = parse_scenario(text)
    data = load_data(scenario)
    model = public_parts(scenario, run="0" * 16).model
    vector.load_vector(model, weights)
    return evaluate(model, data.task, data.test)


def lines(parties: Deployment) -> list[dict[str, object]]:
    return [dict(line) for line in read_lines(parties.cell.folder / FIGURES)]


def exact(metrics: Metrics) -> dict[str, object]:
    return {
        key: getattr(metrics, key)
        for key in ("records", "accuracy", "balanced_accuracy", "majority")
    }


@pytest.mark.parametrize(
    "text",
    [SGD + SUMS, SGD + MASKED + SUMS, SGD + COHORT + SUMS, DIGITS + MASKED + SUMS],
    ids=["plain", "masked", "cohort", "digits"],
)
def test_the_figures_of_the_last_model_are_the_central_ones(text: str, tmp_path: Path) -> None:
    parties = deployment(text, tmp_path)
    weights = parties.play().weights
    (line,) = lines(parties)
    expected = central(text, weights)
    assert {key: line[key] for key in exact(expected)} == exact(expected)
    assert line["auc"] == pytest.approx(expected.auc, abs=1e-3)
    assert (line["model"], line["judging"], line["sites"]) == (2, "test", [0, 1, 2, 3])
    assert line["noise_std"] is None
    metrics = parties.cell.metrics()
    assert metrics is not None
    assert (metrics["accuracy"], metrics["rounds"]) == (expected.accuracy, 2)


def test_each_model_is_judged_on_validation_records(tmp_path: Path) -> None:
    text = on_validation(SGD) + MASKED + SUMS
    parties = deployment(text, tmp_path)
    last = parties.play().weights
    first, second = lines(parties)
    assert (first["model"], second["model"]) == (1, 2)
    assert {first["judging"], second["judging"]} == {"validation"}
    once = simulated(text.replace("rounds = 2", "rounds = 1"), tmp_path / "simulation").weights
    for line, weights in ((first, once), (second, last)):
        expected = exact(central(text, weights))
        assert {key: line[key] for key in expected} == expected


@pytest.mark.parametrize("text", [SGD, SGD + MASKED, SGD + COHORT], ids=["plain", "masked", "few"])
def test_counting_changes_no_model(text: str, tmp_path: Path) -> None:
    parties = deployment(on_validation(text) + SUMS, tmp_path)
    weights = parties.play().weights
    expected = simulated(on_validation(text), tmp_path / "simulation").weights
    assert torch.equal(weights.view(torch.int32), expected.view(torch.int32))


@pytest.mark.parametrize(
    ("text", "without", "last"),
    [(SGD, 2, 1), (SGD + MASKED, 3 + 5 + 3, 3)],
    ids=["plain", "masked"],
)
def test_counts_take_no_trip_of_their_own_before_the_last_model(
    text: str, without: int, last: int, tmp_path: Path
) -> None:
    for name, whole in (("test", text), ("validation", on_validation(text))):
        parties = deployment(whole + SUMS, tmp_path / name)
        parties.play()
        assert parties.link.trips == [[0, 1, 2, 3]] * (without + last)


def test_a_site_outside_the_cohort_gets_the_model_to_judge_it(tmp_path: Path) -> None:
    parties = deployment(on_validation(SGD) + COHORT + SUMS, tmp_path)
    parties.play()
    assert [line["sites"] for line in lines(parties)] == [[0, 1, 2, 3]] * 2
    assert all(len(record.cohort) == 3 for record in parties.cell.rounds())


def test_a_site_that_does_not_count_is_absent_from_the_counts_and_from_nothing_else(
    tmp_path: Path,
) -> None:
    text = on_validation(SGD) + MASKED + SUMS
    parties = deployment(text, tmp_path)
    stop_counting(parties, 2)
    weights = parties.play().weights
    assert [line["sites"] for line in lines(parties)] == [[0, 1, 3]] * 2
    assert [record.survivors for record in parties.cell.rounds()] == [(0, 1, 2, 3)] * 2
    assert torch.equal(weights, simulated(text, tmp_path / "simulation").weights)


def stop_counting(parties: Deployment, *sites: int) -> None:
    for site in sites:
        speaker = parties.link.agents[site]._speaker
        assert isinstance(speaker, Speaker)
        speaker._counting = None


def test_sites_that_stop_counting_end_the_counts_and_not_the_updates(tmp_path: Path) -> None:
    text = on_validation(SGD) + MASKED + SUMS
    parties = deployment(text, tmp_path)

    def tampered(site: int, reply: bytes) -> list[bytes]:
        # After the set-up and the first trip of round 1, of which nothing is left to count.
        if len(parties.link.trips) == 3 + 5:
            stop_counting(parties, 1, 2)
        return [reply]

    parties.link.tamper = tampered
    weights = parties.play().weights
    assert not (parties.cell.folder / FIGURES).exists()
    assert [record.survivors for record in parties.cell.rounds()] == [(0, 1, 2, 3)] * 2
    assert torch.equal(weights, simulated(text, tmp_path / "simulation").weights)


def test_a_run_whose_last_model_nobody_judged_has_no_metrics(tmp_path: Path) -> None:
    parties = deployment(on_validation(SGD) + MASKED + SUMS, tmp_path)
    parties.link.tamper = lambda site, reply: [reply] if len(parties.link.trips) < 12 else []
    parties.play()
    assert [line["model"] for line in lines(parties)] == [1]
    assert parties.cell.metrics() is None
    assert parties.cell.status().state == "done"


@pytest.mark.parametrize("channel", ["", MASKED, COHORT], ids=["plain", "masked", "cohort"])
def test_the_run_ends_with_the_model_that_the_simulation_keeps(
    channel: str, tmp_path: Path
) -> None:
    text = STEEP + channel + BEST
    parties = deployment(text, tmp_path)
    weights = parties.play().weights
    expected = simulated(text, tmp_path / "simulation").weights
    assert torch.equal(weights.view(torch.int32), expected.view(torch.int32))
    kept = load_checkpoint(parties.cell.checkpoint).state
    assert torch.equal(kept.weights, weights)
    assert (kept.round, kept.step_state) == (4, {})
    judged = [line["accuracy"] for line in lines(parties)]
    assert len(judged) == 4
    best = judged.index(max(judged))  # type: ignore[type-var]
    assert best < 3
    metrics: dict[str, object] = {**(parties.cell.metrics() or {})}
    assert metrics["kept_round"] == best
    assert {key: metrics[key] for key in exact(central(text, weights))} == exact(
        central(text, weights)
    )
    assert not parties.cell.best.exists()


def test_a_model_that_nobody_judged_is_not_kept(tmp_path: Path) -> None:
    parties = deployment(STEEP + BEST, tmp_path)
    stop_counting(parties, *range(4))
    last = parties.play().weights
    expected = simulated(STEEP, tmp_path / "simulation").weights
    assert torch.equal(last, expected)
    assert parties.cell.metrics() is None


def test_the_best_model_outlives_the_coordinator(tmp_path: Path) -> None:
    # Plain rounds are trips 0 to 3, and trip 4 judges the last model.
    text = STEEP + BEST
    expected = deployment(text, tmp_path / "undisturbed").play().weights
    parties = deployment(text, tmp_path / "killed")
    state = resumed(parties, fatal=4)
    assert torch.equal(state.weights, expected)
    metrics = parties.cell.metrics() or {}
    assert metrics["kept_round"] == 2
    assert metrics["accuracy"] == central(text, expected).accuracy


def test_noisy_figures_choose_as_they_are(tmp_path: Path) -> None:
    text = STEEP + MASKED + NOISY.replace("}", ', keep = "best" }')
    parties = deployment(text, tmp_path)
    parties.play()
    judged = [line["accuracy"] for line in lines(parties)]
    metrics = parties.cell.metrics() or {}
    assert metrics["kept_round"] == judged.index(max(judged))  # type: ignore[type-var]
    assert metrics["accuracy"] == max(judged)  # type: ignore[type-var]


def test_the_best_model_needs_figures(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="needs figures of the models"):
        check_deployable(parse_scenario(STEEP + 'evaluate = { keep = "best" }\n'))
    check_deployable(parse_scenario(STEEP + BEST))


@pytest.mark.parametrize(
    ("channel", "seen"),
    [
        ("", {"counts in the clear": [[0], [1], [2], [3]]}),
        (MASKED, {"masked counts": [[0], [1], [2], [3]], "sum of counts": [[0, 1, 2, 3]]}),
    ],
    ids=["plain", "masked"],
)
def test_the_transcript_says_who_saw_counts_and_holds_none(
    channel: str, seen: dict[str, list[list[int]]], tmp_path: Path
) -> None:
    parties = deployment(on_validation(SGD) + channel + SUMS, tmp_path)
    parties.play()
    transcript = read_lines(parties.cell.folder / "transcript.jsonl")
    length = counts_layout(parties.charter.scenario()).length
    # The last model is judged after the last round, and is found under its number.
    by_round: dict[str, list[list[int]]] = {}
    for line in transcript:
        assert set(line) == {"round", "party", "kind", "about", "shape", "bytes"}
        is_of_counts = "counts" in line["kind"]
        # Of messages under masks the shape is their size.
        assert (line["bytes"] >= 4 * length) is is_of_counts
        if is_of_counts and line["party"] == "server":
            assert line["round"] == 1
            by_round.setdefault(line["kind"], []).append(line["about"])
    assert {kind: sorted(about) for kind, about in by_round.items()} == {
        kind: sorted(about * 2) for kind, about in seen.items()
    }


POOR = (
    DP.replace("noise_multiplier = 2.0", "noise_multiplier = 1.5")
    .replace("rounds = 2", "rounds = 300")
    .replace("epsilon = 8.0", "epsilon = 6.0")
)


@pytest.mark.parametrize("channel", ["", MASKED], ids=["plain", "masked"])
def test_a_run_that_its_budget_ends_has_its_last_model_judged(channel: str, tmp_path: Path) -> None:
    text = POOR + channel + SUMS
    parties = deployment(text, tmp_path)
    with pytest.raises(BudgetExceeded):
        parties.play()
    assert parties.cell.status().state is CellState.OUT_OF_BUDGET
    weights = load_checkpoint(parties.cell.checkpoint).state.weights
    expected = exact(central(text, weights))
    (line,) = lines(parties)
    played = len(parties.cell.rounds())
    assert 1 < played < 300
    assert (line["model"], line["sites"]) == (played, [0, 1, 2, 3])
    assert {key: line[key] for key in expected} == expected
    metrics = parties.cell.metrics() or {}
    assert (metrics["rounds"], metrics["accuracy"]) == (played, line["accuracy"])
    # Started again, it says so, asks nobody, and changes nothing.
    trips = len(parties.link.trips)
    with pytest.raises(BudgetExceeded, match="may still spend"):
        parties.play()
    assert len(parties.link.trips) == trips
    assert parties.cell.metrics() == metrics


def test_a_coordinator_that_is_killed_while_its_last_model_is_judged_stays_out_of_budget(
    tmp_path: Path,
) -> None:
    parties = deployment(POOR + SUMS, tmp_path / "undisturbed")
    with pytest.raises(BudgetExceeded):
        parties.play()
    last = len(parties.link.trips) - 1
    killed = deployment(POOR + SUMS, tmp_path / "killed")
    agents = killed.link.agents
    with pytest.raises(Killed):
        started(killed, DeadlyLink(agents, fatal=last))
    link = MemoryLink(agents)
    with pytest.raises(BudgetExceeded, match="may still spend"):
        started(killed, link)
    assert link.trips == []
    assert len(killed.cell.rounds()) == len(parties.cell.rounds())
    assert killed.cell.status().state is CellState.OUT_OF_BUDGET
    assert killed.cell.metrics() is None


def test_a_run_that_its_budget_ends_keeps_its_best_model(tmp_path: Path) -> None:
    text = on_validation(POOR) + BEST
    parties = deployment(text, tmp_path)
    with pytest.raises(BudgetExceeded):
        parties.play()
    judged = [line["accuracy"] for line in lines(parties)]
    weights = load_checkpoint(parties.cell.checkpoint).state.weights
    assert central(text, weights).accuracy == max(judged)  # type: ignore[type-var]


def test_sites_that_are_gone_judge_nothing_at_the_end_of_the_budget(tmp_path: Path) -> None:
    parties = deployment(POOR + SUMS, tmp_path)
    stop_counting(parties, *range(4))
    with pytest.raises(BudgetExceeded):
        parties.play()
    assert parties.cell.metrics() is None
    assert parties.cell.status().state is CellState.OUT_OF_BUDGET


def test_figures_from_before_a_crash_are_in_the_metrics(tmp_path: Path) -> None:
    parties = deployment(SGD + SUMS, tmp_path)
    parties.play()
    rounds = parties.cell.rounds()
    metrics = metrics_of(parties.cell.folder, rounds)
    assert metrics == parties.cell.metrics()
    # Those of an earlier model are not.
    assert metrics_of(parties.cell.folder, rounds[:1]) is None


def test_a_site_that_cannot_train_still_judges_the_model(tmp_path: Path) -> None:
    parties = deployment(on_validation(SGD) + MASKED + SUMS, tmp_path)
    trainer = parties.parts[1].trainer

    def fit(weights: torch.Tensor, *, round: int) -> Trained:
        raise ClientFailure("its disk is full")

    object.__setattr__(trainer, "fit", fit)
    parties.play()
    assert [record.survivors for record in parties.cell.rounds()] == [(0, 2, 3)] * 2
    assert [line["sites"] for line in lines(parties)] == [[0, 1, 2, 3]] * 2


def test_a_site_that_is_lost_to_the_updates_gets_the_model_in_the_lane_of_counts(
    tmp_path: Path,
) -> None:
    parties = deployment(on_validation(SGD) + MASKED + SUMS, tmp_path)
    speaker = parties.link.agents[3]._speaker
    assert isinstance(speaker, Speaker)

    def receive(request: bytes) -> bytes:
        raise ClientFailure("it cannot take part")

    set_up = speaker._join

    def join(agreed: object) -> None:
        set_up(agreed)
        object.__setattr__(speaker._client, "receive", receive)

    object.__setattr__(speaker, "_join", join)
    parties.play()
    assert [record.survivors for record in parties.cell.rounds()] == [(0, 1, 2)] * 2
    assert [line["sites"] for line in lines(parties)] == [[0, 1, 2, 3]] * 2


@pytest.mark.parametrize("text", [SGD, SGD + MASKED], ids=["plain", "masked"])
def test_a_model_goes_to_each_site_once_and_its_counts_are_among_the_bytes(
    text: str, tmp_path: Path
) -> None:
    text = on_validation(text)
    parties = deployment(text + SUMS, tmp_path / "with")
    parties.play()
    first = simulated(text.replace("rounds = 2", "rounds = 1"), tmp_path / "once").weights
    passed = b"".join(parties.link.passed)
    assert passed.count(first.numpy().tobytes()) == 4
    without = deployment(text, tmp_path / "without")
    without.play()
    records = zip(parties.cell.rounds(), without.cell.rounds(), strict=True)
    more = [counted.bytes_up - alone.bytes_up for counted, alone in records]
    # Four sites send 2054 words in round 1, and besides not much.
    assert more[0] == 0
    assert 4 * 4 * 2054 < more[1] < 1.2 * 4 * 4 * 2054


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"evaluation": EvaluationRules(leave="noisy")}, "evaluation.leave = 'noisy' does not"),
        ({"evaluation": EvaluationRules(leave="never")}, "evaluation.leave = 'never' does not"),
    ],
)
def test_a_policy_that_became_stricter_lets_the_site_do_nothing(
    changed: dict[str, EvaluationRules], sentence: str, tmp_path: Path
) -> None:
    parties = deployment(SGD + SUMS, tmp_path)
    policy = free_policy(parties.charter)
    log = AuditLog.opened(tmp_path / "audit.jsonl")
    Rules(policy, parties.charter, log).check()
    with pytest.raises(PolicyRefused, match=sentence):
        Rules(policy.model_copy(update=changed), parties.charter, log).check()


def test_each_model_that_sites_judge_is_judged_once(tmp_path: Path) -> None:
    parties = deployment(SGD + SUMS, tmp_path)
    parties.play()
    log = AuditLog.opened(tmp_path / "site-0" / "audit.jsonl")
    assert [line.round for line in log.lines if line.event is Event.JUDGING] == [2]
    again = Rules(free_policy(parties.charter), parties.charter, log)
    with pytest.raises(PolicyRefused, match="the model of round 2 was judged before"):
        again.permit_counting(2)
    # Test records judge the last model, and no other.
    with pytest.raises(PolicyRefused, match="round 1 is not one that sites judge"):
        again.permit_counting(1)


def test_noisy_figures_beyond_the_test_budget_are_refused(tmp_path: Path) -> None:
    parties = deployment(SGD + NOISY, tmp_path)
    policy = free_policy(parties.charter)
    policy = policy.model_copy(update={"budget": Budget(test_epsilon=19.0)})
    rules = Rules(policy, parties.charter, AuditLog.opened(tmp_path / "audit.jsonl"))
    with pytest.raises(PolicyRefused, match="test_epsilon = 19 does not allow figures that cost"):
        rules.check()


def test_a_site_keeps_its_own_figures(tmp_path: Path) -> None:
    text = SGD + NOISY
    parties = deployment(text, tmp_path)
    public = parties.parts[1].public
    own = judging_shares(load_data(parse_scenario(text)))[1]
    member = Membership(1, parties.keys[1], {}, b"", MemoryMonotonic())
    ledger = open_figures_ledger(public.scenario, tmp_path / "figures.jsonl")
    options: dict[str, Any] = {"ledger": ledger, "permit": lambda round: None}
    assert counting_speaker(tmp_path, public, member, None, **options) is None
    speaker = counting_speaker(tmp_path, public, member, own, **options)
    assert speaker is not None
    parts = speaker._parts
    assert isinstance(parts, CountingParts)
    weights = vector.to_vector(public.model)
    parts.tally.fit(weights, round=2)
    (line,) = read_lines(tmp_path / METRICS)
    vector.load_vector(public.model, weights)
    expected = evaluate(public.model, public.scenario.facts.task, own)
    assert (line["run"], line["model"]) == (public.run, 2)
    assert (line["records"], line["accuracy"]) == (expected.records, expected.accuracy)
    assert parts.ledger is ledger is not None


def test_an_answer_in_a_lane_that_is_not_set_up_changes_nothing() -> None:
    set_ups: dict[int, ServerSetUp] = {}
    _take(set_ups, 0, Part(Kind.ANSWER, content=b"forged", lane=COUNTS_LANE))
    assert set_ups == {}


def test_an_envelope_has_room_for_counts() -> None:
    none, sums = (envelope_limit(parse_scenario(text)) for text in (SGD, SGD + SUMS))
    assert sums - none == 16 * 2054


@pytest.mark.parametrize("lie", [2.0**32, -(2.0**40), 3e38, math.nan, math.inf])
@pytest.mark.parametrize("text", [SGD, SGD + MASKED], ids=["plain", "masked"])
def test_a_site_that_sends_impossible_counts_does_not_end_the_run(
    text: str, lie: float, tmp_path: Path
) -> None:
    parties = deployment(on_validation(text) + SUMS, tmp_path)
    speaker = parties.link.agents[1]._speaker
    assert isinstance(speaker, Speaker)
    assert isinstance(speaker._counting, Speaker)
    tally = speaker._counting._parts.tally  # type: ignore[union-attr]
    honest = tally.fit

    def fit(weights: torch.Tensor, *, round: int) -> Trained:
        trained = honest(weights, round=round)
        trained.delta[:6] = lie
        return trained

    object.__setattr__(tally, "fit", fit)
    parties.play()
    assert [line["model"] for line in lines(parties)] == [1, 2]
    assert parties.cell.status().state == "done"


def test_without_enough_sites_that_count_the_run_goes_on_unjudged(tmp_path: Path) -> None:
    text = SGD + MASKED + SUMS
    parties = deployment(text, tmp_path)
    stop_counting(parties, 1, 2)
    weights = parties.play().weights
    assert not (parties.cell.folder / FIGURES).exists()
    assert parties.cell.metrics() is None
    assert torch.equal(weights, simulated(text, tmp_path / "simulation").weights)


def test_noisy_figures_are_paid_for_in_a_ledger_of_their_own(tmp_path: Path) -> None:
    text = on_validation(SGD) + MASKED + NOISY
    parties = deployment(text, tmp_path)
    parties.play()
    parties.desk.finish()
    cost = counts_cost(parse_scenario(text))
    assert cost is not None
    assert epsilon({cost: 2}, delta=1e-5) <= 20.0
    for site in range(4):
        kinds = [line["kind"] for line in read_lines(tmp_path / f"{site}.test.jsonl")]
        assert kinds == ["reserve", "settle", "reserve", "settle"]
        assert not (tmp_path / f"{site}.jsonl").exists()
    for line in lines(parties):
        # Four sites, two cells a record.
        assert line["noise_std"] == pytest.approx(math.sqrt(4 * 2) * cost.noise_multiplier)
        assert isinstance(line["accuracy"], float)
        assert line["auc_error"] is None


def test_training_under_a_claim_and_counts_have_ledgers_apart(tmp_path: Path) -> None:
    parties = deployment(DP + NOISY, tmp_path)
    parties.play()
    assert [line["kind"] for line in read_lines(tmp_path / "0.jsonl")].count("reserve") == 2
    assert [line["kind"] for line in read_lines(tmp_path / "0.test.jsonl")].count("reserve") == 1


@pytest.mark.parametrize(("text", "is_seen"), [(SGD, True), (SGD + MASKED, False)])
def test_under_masks_the_counts_of_one_site_do_not_pass_the_coordinator(
    text: str, is_seen: bool, tmp_path: Path
) -> None:
    parties = deployment(text + SUMS, tmp_path)
    parties.play()
    passed = b"".join(parties.link.passed)
    # A long run of empty bins is the same in every site's counts, and not under masks.
    assert (bytes(4 * 64) in passed) is is_seen


def test_where_nothing_leaves_a_request_to_count_is_declined(tmp_path: Path) -> None:
    parties = deployment(SGD, tmp_path)
    parties.desk.enclose(1, Part(Kind.REQUEST, 2, b"count", COUNTS_LANE))
    answers: list[tuple[int, Part]] = []
    parties.desk.carry(lambda site, part: answers.append((site, part)))
    assert answers == [(1, Part(Kind.DECLINED, 2, lane=COUNTS_LANE))]
    parties.play()
    assert not (parties.cell.folder / FIGURES).exists()
    assert load_checkpoint(parties.cell.checkpoint).state.round == 2
