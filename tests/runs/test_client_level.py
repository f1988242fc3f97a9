"""Whole runs whose updates are protected as a whole: noise, coins, ledgers, workers, stacks."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from securefl.audit.lint import examine
from securefl.errors import BudgetExceeded, ScenarioError
from securefl.learning.algorithms.client_level import unit_length
from securefl.privacy.accounting.epsilon import epsilon
from securefl.privacy.chain import read_entries
from securefl.privacy.events import (
    DiscreteGaussianSum,
    PrivacyEvent,
    SampledGaussian,
    event_from_json,
)
from securefl.runs import api
from securefl.runs.cell import Cell
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.folder import RunFolder
from securefl.runs.origin import origin_of
from securefl.runs.play import run_cell
from securefl.scenario.assemble.assemble import assemble, join
from securefl.scenario.assemble.parts import parts
from securefl.scenario.scenario import Scenario, parse_scenario
from tests.runs.test_play import comparable, nothing, run_until_killed

TEXT = """
rounds = 2
data = { name = "digits", partition = "iid", clients = 20 }
training = { kind = "sgd", batch = 32, lr = 0.5, clip = 0.5 }
privacy = { unit = "client", epsilon = 8.0, delta = 1e-3, noise = "seeded" }
weights = "equal"
"""
POISSON = 'cohort={ size = 5, sampling = "poisson" }'
ADAPTIVE = "training.clip_quantile=0.5"
MASKED = ('channel={ kind = "masked", secrets = "seeded", clip = 40.0 }',)
NO_CLAIM = "privacy.epsilon=inf"


def of_clients(*overrides: str) -> Scenario:
    return parse_scenario(TEXT, overrides=overrides)


def played(scenario: Scenario, folder: Path, workers: int = 1) -> Cell:
    cell = Cell(folder)
    run_cell(cell, scenario, on_round=nothing, workers=workers)
    return cell


def weights(cell: Cell) -> Tensor:
    return load_checkpoint(cell.checkpoint).state.weights


def final(scenario: Scenario, folder: Path) -> Tensor:
    return weights(played(scenario, folder))


def test_every_client_pays_once_a_round_and_the_run_stays_within_its_epsilon(
    tmp_path: Path,
) -> None:
    cell = played(of_clients(), tmp_path / "cell")
    metrics = cell.metrics() or {}
    assert (metrics["unit"], metrics["delta"], metrics["noise"]) == ("client", 1e-3, "seeded")
    assert 7.8 < (metrics["epsilon"] or 0) <= 8
    assert len(list(cell.ledgers.glob("*.jsonl"))) == 20
    for path in cell.ledgers.glob("*.jsonl"):
        lines = read_entries(path)
        events = {SampledGaussian(**line["event"]): 2 for line in lines if line["event"]}
        assert epsilon(events, delta=1e-3) == metrics["epsilon"]
        assert lines[0]["terms"]["neighbours"] == "replace_one"


def test_the_model_moves_by_the_mean_of_clipped_updates(tmp_path: Path) -> None:
    """Without noise, and without an engine, by hand."""
    scenario = of_clients(NO_CLAIM, "rounds=1", "training.clip=0.05")
    made = parts(scenario, run="x", ledgers=tmp_path)
    start = join(made).start.weights
    rows = []
    for trainer in made.trainers.values():
        delta = trainer.fit(start, round=0).delta.double()
        assert delta.norm() > 0.05
        rows.append(delta * 0.05 / delta.norm())
    moved = final(scenario, tmp_path / "cell") - start
    torch.testing.assert_close(moved.double(), torch.stack(rows).mean(0), rtol=1e-4, atol=1e-7)


def test_local_noise_has_the_deviation_that_the_ledger_books(tmp_path: Path) -> None:
    """The mean of 20 has z x 2 clip / sqrt(20) of noise; clip is so small that noise is all."""
    scenario = of_clients("rounds=1", "training.clip=1e-3", "privacy.noise_multiplier=3.0")
    made = assemble(scenario, run="x", ledgers=tmp_path / "ledgers")
    moved = final(scenario, tmp_path / "cell") - made.start.weights
    # 650 coordinates: a relative error of 1 / sqrt(1300) = 2.8 %; the clip adds less than 1 %.
    expected = 3.0 * 2e-3 / math.sqrt(20)
    assert float(moved.std()) == pytest.approx(expected, rel=0.11)


@pytest.mark.parametrize("adaptive", [(), (ADAPTIVE,)], ids=["fixed", "adaptive"])
@pytest.mark.parametrize("coins", [(), (POISSON,)], ids=["known", "coins"])
def test_masks_carry_what_the_plain_channel_does_up_to_rounding(
    adaptive: tuple[str, ...], coins: tuple[str, ...], tmp_path: Path
) -> None:
    few = (NO_CLAIM, "data.clients=6", "privacy.noise_multiplier=0.5", *adaptive, *coins)
    plain = final(of_clients(*few), tmp_path / "plain")
    masked = final(of_clients(*few, *MASKED), tmp_path / "masked")
    assert plain.norm() > 0.1
    torch.testing.assert_close(masked, plain, rtol=0, atol=1e-3)


@pytest.mark.parametrize("adaptive", [(), (ADAPTIVE,)], ids=["fixed", "adaptive"])
def test_workers_change_no_bit_and_stacks_change_rounding_alone(
    adaptive: tuple[str, ...], tmp_path: Path
) -> None:
    alone = final(of_clients(*adaptive, POISSON), tmp_path / "alone")
    pooled = played(of_clients(*adaptive, POISSON), tmp_path / "pooled", workers=2)
    assert torch.equal(weights(pooled), alone)
    stacked = played(of_clients(*adaptive, POISSON, "engine.stack=5"), tmp_path / "stacked")
    assert (stacked.metrics() or {})["stack"] == 5
    torch.testing.assert_close(weights(stacked), alone, rtol=0, atol=1e-5)


def test_with_coins_everybody_answers_and_nobody_sees_who_was_in(tmp_path: Path) -> None:
    cell = played(of_clients(POISSON, "privacy.noise_multiplier=2.0"), tmp_path / "cell")
    for record in cell.rounds():
        assert record.survivors == record.cohort == tuple(range(20))
    (line,) = {line for path in cell.ledgers.glob("*") for line in _events(path)}
    assert line == SampledGaussian(0.25, 2.0, 1)
    sizes = {path.stat().st_size for path in cell.ledgers.glob("*.jsonl")}
    assert len(sizes) <= 2  # the number of a client has one digit or two


def _events(path: Path) -> list[SampledGaussian]:
    return [SampledGaussian(**line["event"]) for line in read_entries(path) if line["event"]]


def test_the_mean_divides_by_all_clients_so_that_coins_change_no_expectation(
    tmp_path: Path,
) -> None:
    """One client with q = 1/2 sends twice its update or zeros; the mean over rounds is its own."""
    everybody = of_clients(NO_CLAIM, "rounds=1", "training.clip=0.05")
    coins = 'cohort={ size = 10, sampling = "poisson" }'
    tossed = of_clients(NO_CLAIM, "rounds=1", "training.clip=0.05", coins)
    starts = [assemble(one, run="x", ledgers=tmp_path).start.weights for one in (everybody, tossed)]
    whole = final(everybody, tmp_path / "whole") - starts[0]
    half = final(tossed, tmp_path / "half") - starts[1]
    # Along the mean update: 20 coins of deviation 1 / sqrt(20) = .22.
    ratio = float(half @ whole / (whole @ whole))
    assert 0.2 < ratio < 1.8
    assert ratio != pytest.approx(1.0, abs=1e-6)


def test_a_killed_run_goes_on_with_its_clip_and_pays_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = of_clients(ADAPTIVE, "rounds=3", "training.clip=0.01", "training.clip_lr=0.5")
    whole, killed = Cell(tmp_path / "whole"), Cell(tmp_path / "killed")
    expected = run_cell(whole, scenario, on_round=nothing)
    run_until_killed(monkeypatch, killed, scenario, round=2)
    clip = load_checkpoint(killed.checkpoint).state.step_state["clip"]
    # All updates are longer: twice by exp(.5 / 2), but for the noise of the share.
    assert clip.item() == pytest.approx(0.01 * math.exp(0.5), rel=0.5)
    assert comparable(run_cell(killed, scenario, on_round=nothing)) == comparable(expected)
    assert torch.equal(weights(killed), weights(whole))


@pytest.mark.parametrize("coins", [(), (POISSON,)], ids=["known", "coins"])
def test_a_run_of_ours_has_no_finding_but_its_seed(coins: tuple[str, ...], tmp_path: Path) -> None:
    scenario = of_clients(*coins)
    api.run(scenario, tmp_path / "run", text=TEXT)
    (verdict,) = examine(tmp_path / "run")
    assert {finding.name for finding in verdict.findings} <= {"seeded-noise"}


def test_a_given_multiplier_that_spends_the_budget_ends_the_run_before_it_begins(
    tmp_path: Path,
) -> None:
    scenario = of_clients("privacy.noise_multiplier=0.5")
    with pytest.raises(BudgetExceeded, match=r"noise_multiplier = 0.5 ends the run in round 1"):
        api.run(scenario, tmp_path / "run", text=TEXT)


def test_a_later_run_pays_on_top_of_the_earlier_one_with_the_same_neighbours(
    tmp_path: Path,
) -> None:
    earlier = tmp_path / "earlier"
    api.run(of_clients("privacy.epsilon=4.0"), earlier, text=TEXT)
    later = of_clients(f"init_from='{earlier}'")
    metrics = api.run(later, tmp_path / "later", text=TEXT)
    assert 7.8 < (metrics["epsilon"] or 0) <= 8
    ((_, _, cell),) = RunFolder.open(tmp_path / "later").cells()
    assert read_entries(cell.ledgers / "0.jsonl")[0]["before"]["events"][0][1] == 2

    with pytest.raises(ScenarioError, match=r"cohort.sampling = not set, here it is poisson"):
        origin_of(of_clients(f"init_from='{earlier}'", POISSON))


@pytest.mark.parametrize("stack", [(), ("engine.stack=4",)], ids=["alone", "stacked"])
def test_a_client_without_records_takes_part_with_noise_alone(
    stack: tuple[str, ...], tmp_path: Path
) -> None:
    # Each record is kept with probability .01: of 31 a client few are left, and often none.
    scenario = of_clients("data.share=0.01", "data.clients=40", *stack)
    made = parts(scenario, run="x", ledgers=tmp_path / "ledgers")
    assert min(len(site.train) for site in made.data.sites) == 0
    cell = played(scenario, tmp_path / "cell")
    assert all(len(record.survivors) == 40 for record in cell.rounds())


def test_the_steps_of_a_protected_client_are_shown_to_nobody(tmp_path: Path) -> None:
    """Their number follows from its number of records."""
    steps: list[tuple[int, int, int]] = []
    cell = Cell(tmp_path / "cell")
    run_cell(cell, of_clients(), on_round=nothing, on_step=lambda *step: steps.append(step))
    assert len(cell.rounds()) == 2
    assert steps == []


# --- noise of whole sums

CENTRAL = "privacy.place=central"
DISTRIBUTED = ("privacy.place=distributed", 'channel={ kind = "masked", secrets = "seeded" }')
ALONE = ("rounds=1", "training.clip=1e-3", "privacy.noise_multiplier=1.5", "privacy.delta=1e-2")


def change(scenario: Scenario, folder: Path) -> Tensor:
    """Returns how far one round moves the model."""
    start = assemble(scenario, run="x", ledgers=folder / "none").start.weights
    return final(scenario, folder / "cell") - start


def test_central_noise_has_the_deviation_that_the_ledger_books(tmp_path: Path) -> None:
    """The mean has z x 2 clip / 20 of noise, and of updates no more than the clip, 1e-3."""
    moved = change(of_clients(CENTRAL, *ALONE), tmp_path)
    expected = 1.5 * 2e-3 / 20
    # 650 coordinates: three deviations are 8 %; updates add less than 5 %.
    assert float(moved.std()) == pytest.approx(expected, rel=0.13)
    assert _events_of(tmp_path / "cell") == {SampledGaussian(1.0, 1.5, 1)}


@pytest.mark.parametrize("ring", [16, 32])
def test_shares_in_a_masked_sum_are_those_that_count_and_a_bonus(ring: int, tmp_path: Path) -> None:
    """Of 20 clients 11 make a sum and one may help the server: 10 shares make sigma, 20 are in."""
    scenario = of_clients(*DISTRIBUTED, f"channel.ring={ring}", *ALONE)
    moved = change(scenario, tmp_path)
    (event,) = _events_of(tmp_path / "cell")
    assert isinstance(event, DiscreteGaussianSum)
    assert (event.shares, event.sample_rate) == (10, 1.0)
    assert event.noise_multiplier == pytest.approx(1.5)
    assert event.sensitivity >= 2e-3
    expected = event.sigma * math.sqrt(20 / 10) / 20
    assert float(moved.std()) == pytest.approx(expected, rel=0.13)


def test_coins_and_shares_are_accounted_together(tmp_path: Path) -> None:
    scenario = of_clients(*DISTRIBUTED, "channel.clip=8.0", POISSON, ADAPTIVE)
    cell = played(scenario, tmp_path / "cell")
    (event,) = _events_of(tmp_path / "cell")
    assert isinstance(event, DiscreteGaussianSum)
    assert event.sample_rate == 0.25
    assert event.dimension == 651
    assert event.sensitivity == pytest.approx(4 * unit_length(adaptive=True), rel=1e-3)
    metrics = cell.metrics() or {}
    assert 7.8 < (metrics["epsilon"] or 0) <= 8
    assert (metrics["place"], metrics["unit"]) == ("distributed", "client")


def test_a_rule_that_noise_of_a_sum_does_not_cover_is_refused() -> None:
    with pytest.raises(ScenarioError, match="the noise is sized for the mean"):
        of_clients(CENTRAL, "defense.rule=median")


def test_a_channel_that_would_cut_updates_off_is_refused_in_keys_of_this_unit() -> None:
    with pytest.raises(ScenarioError, match=r"follows from training.clip and, with coins"):
        of_clients(CENTRAL, POISSON, 'channel={ kind = "masked", clip = 1.0 }')


def _events_of(folder: Path) -> set[PrivacyEvent]:
    """Returns the events in the ledgers of all clients, which share them."""
    lines = [line for path in (folder / "ledgers").glob("*") for line in read_entries(path)]
    return {event_from_json(line["event"]) for line in lines if line["event"]}
