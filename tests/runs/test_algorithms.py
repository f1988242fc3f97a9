"""Algorithms with a state in whole runs: channels, dropouts, crashes, workers and ledgers."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from securefl import vector
from securefl.audit.inquiry import Inquiry
from securefl.errors import RunFolderError, ScenarioError
from securefl.files import read_lines
from securefl.learning.algorithms.protocol import Place
from securefl.learning.protocol import StepResult, Trained
from securefl.privacy.chain import read_entries
from securefl.runs.cell import Cell
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.deployed.deployable import check_deployable
from securefl.runs.play import run_cell
from securefl.scenario.scenario import Scenario, parse_scenario
from tests.runs.test_play import Killed, comparable, nothing, run_until_killed

ALGORITHMS = {
    "scaffold": 'algorithm = "scaffold"',
    "feddyn": 'algorithm = "feddyn", alpha = 0.5',
    "fednova": 'algorithm = "fednova"',
}
STATEFUL = ("scaffold", "feddyn")
SGD = """
rounds = 4
weights = "equal"
data = {{ name = "heart" }}
training = {{ kind = "sgd", batch = 64, lr = 0.2, {} }}
"""
DP = """
rounds = 4
weights = "equal"
data = {{ name = "heart" }}
training = {{ kind = "dp_sgd", batch = 64, lr = 0.2, {} }}
privacy = {{ noise = "{noise}", noise_multiplier = 2.0 }}
"""
MASKED = 'channel = { kind = "masked", secrets = "seeded" }\n'
CKKS = 'channel = { kind = "ckks" }\n'


def sgd(name: str, more: str = "") -> Scenario:
    return parse_scenario(SGD.format(ALGORITHMS[name]) + more)


def dp(name: str, more: str = "", *, noise: str = "seeded") -> Scenario:
    keys = ALGORITHMS.get(name, "epochs = 1")
    return parse_scenario(DP.format(keys, noise=noise) + more)


def played(scenario: Scenario, folder: Path, **options: Any) -> Cell:
    cell = Cell(folder)
    run_cell(cell, scenario, on_round=nothing, **options)
    return cell


def weights(cell: Cell) -> Tensor:
    return load_checkpoint(cell.checkpoint).state.weights


def kept(cell: Cell, client: int) -> dict[int, Tensor]:
    """Returns round -> the state of a client after it."""
    path = cell.keeps / str(client) / "state.safetensors"
    return {int(name): value for name, value in load_file(path).items()} if path.exists() else {}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_masks_carry_what_the_plain_channel_does_up_to_rounding(name: str, tmp_path: Path) -> None:
    plain = weights(played(sgd(name), tmp_path / "plain"))
    masked = weights(played(sgd(name, MASKED), tmp_path / "masked"))
    assert plain.norm() > 0.1
    torch.testing.assert_close(masked, plain, rtol=0, atol=2e-3)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_ckks_carries_it_and_the_server_sees_no_model(name: str, tmp_path: Path) -> None:
    plain = weights(played(sgd(name, "cohort = { size = 4 }\n"), tmp_path / "plain"))
    cell = played(sgd(name, CKKS), tmp_path / "ckks")
    torch.testing.assert_close(weights(cell), plain, rtol=0, atol=2e-3)
    for line in read_lines(cell.folder / "transcript.jsonl"):
        if line["party"] in ("server", "network"):
            assert line["kind"] != "global model"


DROP = "simulate = { drop = [{ client = 2, round = 1, stage = 3 }] }\n"


@pytest.mark.parametrize("name", STATEFUL)
def test_a_client_whose_update_does_not_count_keeps_its_state(name: str, tmp_path: Path) -> None:
    """Client 2 trains in round 1, and is gone before its update counts."""
    text = SGD.format(ALGORITHMS[name]) + MASKED + DROP
    cell = played(parse_scenario(text.replace("rounds = 4", "rounds = 2")), tmp_path / "cell")
    assert [2 in record.survivors for record in cell.rounds()] == [True, False]
    assert list(kept(cell, 2)) == [0]
    assert sorted(kept(cell, 0)) == [0, 1]


@pytest.mark.parametrize("name", STATEFUL)
@pytest.mark.parametrize("channel", ["", MASKED], ids=["plain", "masked"])
def test_a_killed_run_goes_on_with_the_same_states(
    name: str, channel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = dp(name, channel)
    whole, killed = Cell(tmp_path / "whole"), Cell(tmp_path / "killed")
    expected = run_cell(whole, scenario, on_round=nothing)
    run_until_killed(monkeypatch, killed, scenario, round=2)
    assert len(killed.rounds()) == 2
    assert comparable(run_cell(killed, scenario, on_round=nothing)) == comparable(expected)
    assert torch.equal(weights(killed), weights(whole))
    for client in range(4):
        ours, theirs = kept(killed, client), kept(whole, client)
        assert sorted(ours) == sorted(theirs) == [2, 3]
        assert all(torch.equal(ours[round], theirs[round]) for round in ours)


def killed_after_settling(
    monkeypatch: pytest.MonkeyPatch, cell: Cell, scenario: Scenario, round: int
) -> None:
    """Plays until the clients have settled a round that the server has not kept."""
    finish = Cell.finish_round

    def dying(self: Cell, ended: Any, shapes: Any) -> None:
        if ended.record.round == round:
            raise Killed
        finish(self, ended, shapes)

    with monkeypatch.context() as patch:
        patch.setattr(Cell, "finish_round", dying)
        with pytest.raises(Killed):
            run_cell(cell, scenario, on_round=nothing)


@pytest.mark.parametrize("name", STATEFUL)
def test_a_round_that_the_server_did_not_keep_is_played_again_from_the_state_before(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, killed = Cell(tmp_path / "whole"), Cell(tmp_path / "killed")
    run_cell(whole, dp(name), on_round=nothing)
    killed_after_settling(monkeypatch, killed, dp(name), round=1)
    assert sorted(kept(killed, 0)) == [0, 1]
    run_cell(killed, dp(name), on_round=nothing)
    assert torch.equal(weights(killed), weights(whole))


@pytest.mark.parametrize("name", STATEFUL)
def test_under_fresh_noise_such_a_round_is_lost_and_its_states_are_forgotten(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = Cell(tmp_path / "cell")
    scenario = dp(name, noise="system")
    killed_after_settling(monkeypatch, cell, scenario, round=3)
    assert sorted(kept(cell, 0)) == [2, 3]
    run_cell(cell, scenario, on_round=nothing)
    assert [record.abandoned for record in cell.rounds()] == [False, False, False, True]
    assert sorted(kept(cell, 0)) == [2]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_workers_train_the_same_updates(name: str, tmp_path: Path) -> None:
    one = weights(played(sgd(name), tmp_path / "one"))
    two = weights(played(sgd(name), tmp_path / "two", workers=2))
    assert torch.equal(one.view(torch.int32), two.view(torch.int32))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_under_dp_it_costs_what_fedavg_costs(name: str, tmp_path: Path) -> None:
    spent = []
    for number, scenario in enumerate((dp("fedavg"), dp(name))):
        cell = played(scenario, tmp_path / str(number))
        ledgers = [read_entries(cell.ledgers / f"{client}.jsonl") for client in range(4)]
        spent.append([(e["kind"], e["event"]) for entries in ledgers for e in entries])
        kinds = [[entry["kind"] for entry in entries] for entries in ledgers]
        assert kinds == [["reserve", "settle"] * 4] * 4
    assert spent[0] == spent[1]


def test_the_state_of_a_client_is_read_by_nobody_else(tmp_path: Path) -> None:
    """A state is in its client's folder, and in no transcript or checkpoint."""
    cell = played(sgd("scaffold"), tmp_path / "cell")
    control = load_checkpoint(cell.checkpoint).state.step_state
    assert set(control) <= {"control"}
    own = kept(cell, 0)[3]
    for path in cell.folder.rglob("*"):
        if path.is_file() and path.parent.name != "0":
            assert vector.to_bytes(own)[:32] not in path.read_bytes(), path


def test_a_damaged_state_is_refused_before_anything_runs(tmp_path: Path) -> None:
    cell = Cell(tmp_path / "cell")
    path = cell.keeps / "1" / "state.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"nothing")
    with pytest.raises(RunFolderError, match="is damaged; start again"):
        run_cell(cell, sgd("scaffold"), on_round=nothing)
    assert cell.rounds() == []


@pytest.mark.parametrize("name", ALGORITHMS)
def test_between_sites_and_in_audits_it_is_refused(name: str) -> None:
    with pytest.raises(ScenarioError, match=f"'{name}' does not run between sites yet; use"):
        check_deployable(sgd(name))
    with pytest.raises(ScenarioError, match=f"'{name}': its updates are no plain changes"):
        Inquiry(sgd(name), "server")


@pytest.mark.parametrize("channel", ["", MASKED], ids=["plain", "masked"])
@pytest.mark.parametrize(("name", "server"), [("scaffold", "control"), ("feddyn", "h")])
def test_the_servers_state_is_the_mean_of_all_clients_states(
    name: str, server: str, channel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With sampling, steps that differ, a schedule and a lost update; c = 1 / N sum c_i."""
    keys = f'{ALGORITHMS[name]}, epochs = 2, schedule = "step", step_every = 2, step_factor = 0.3'
    lost = DROP if channel else ""
    text = SGD.format(keys).replace("rounds = 4", "rounds = 7") + channel + lost
    cohort = "" if channel else "cohort = { size = 3 }\n"
    scenario = parse_scenario(text + cohort)
    terms = scenario.facts._terms_on(scenario.facts.model)
    assert terms.common_steps is None
    assert [terms.lr(round) for round in (1, 2, 5)] == pytest.approx([0.2, 0.06, 0.018])
    cell = Cell(tmp_path / "cell")
    killed_after_settling(monkeypatch, cell, scenario, round=5)
    state = load_checkpoint(cell.checkpoint).state
    assert state.round == 5
    own = []
    for client in range(4):
        before = [value for round, value in sorted(kept(cell, client).items()) if round < 5]
        own.append(before[-1] if before else torch.zeros_like(state.weights))
    mean = torch.stack(own).mean(0)
    assert mean.norm() > 0.01
    # A ring of 32 bits and a clip of 1 round to about a millionth; K and lr magnify it.
    torch.testing.assert_close(state.step_state[server], mean, rtol=1e-4, atol=2e-4)


def test_the_usual_number_of_steps_is_that_of_a_client_with_the_mean_number_of_records() -> None:
    data = 'data = { name = "digits", partition = "dirichlet", clients = 20, alpha = 0.1 }\n'
    text = 'weights = "equal"\ntraining = { kind = "sgd", epochs = 5, batch = 16 }\n' + data
    facts = parse_scenario(text).facts
    terms = facts._terms_on(facts.model)
    records = facts.training_records
    assert terms.steps is None
    assert terms.usual_steps == 5 * math.ceil(math.ceil(records / 20) / 16)
    assert terms.most_steps == 5 * math.ceil(records / 16)


CORRUPT = 'attack = { name = "non_finite", clients = [3] }\n'


def drift(cell: Cell, server: str, *, unheard: int | None = None) -> float:
    """Returns how far the server's state is from the mean of the clients', over its norm.

    A client whose rows were all set aside has a state of its own making, and counts as zero.
    """
    state = load_checkpoint(cell.checkpoint).state
    own = []
    for client in range(4):
        before = [v for round, v in sorted(kept(cell, client).items()) if round < state.round]
        is_heard = before and client != unheard
        own.append(before[-1] if is_heard else torch.zeros_like(state.weights))
    mean = torch.stack(own).mean(0)
    assert mean.norm() > 0.001
    return float((state.step_state[server] - mean).norm() / mean.norm())


NUMBERS = {
    "expected": 'data = { name = "digits", clients = 4, share = 0.3 }\nweights = "equal"\n',
    "declared": 'data = { name = "heart" }\nweights = "equal"\n'
    "privacy = { epsilon = inf, records = [100, 100, 100, 100] }\n",
}


@pytest.mark.parametrize("numbers", NUMBERS)
def test_public_numbers_that_are_not_the_real_ones_do_not_decide_k(
    numbers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f'rounds = 4\ntraining = {{ kind = "sgd", lr = 0.1, {ALGORITHMS["scaffold"]} }}\n'
    scenario = parse_scenario(text + NUMBERS[numbers])
    terms = scenario.facts._terms_on(scenario.facts.model)
    assert terms.steps is None
    cell = Cell(tmp_path / "cell")
    killed_after_settling(monkeypatch, cell, scenario, round=3)
    assert drift(cell, "control") < 1e-4


@pytest.mark.parametrize(("name", "server"), [("scaffold", "control"), ("feddyn", "h")])
def test_rows_that_are_set_aside_do_not_count_for_the_server(
    name: str, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = Cell(tmp_path / "cell")
    killed_after_settling(monkeypatch, cell, sgd(name, CORRUPT), round=3)
    assert all(record.screened == (3,) for record in cell.rounds())
    assert drift(cell, server, unheard=3) < 1e-4


@pytest.mark.parametrize(("name", "server"), [("scaffold", "control"), ("feddyn", "h")])
def test_a_state_follows_from_the_update_as_the_channel_clips_it(
    name: str, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clipped = MASKED.replace('"seeded"', '"seeded", clip = 0.02')
    cell = Cell(tmp_path / "cell")
    killed_after_settling(monkeypatch, cell, sgd(name, clipped), round=3)
    assert drift(cell, server) < 1e-3


def test_a_server_whose_state_would_not_be_finite_abandons_the_round(tmp_path: Path) -> None:
    """A learning rate that underflows leaves no control variate, and the model as it was."""
    keys = f'{ALGORITHMS["scaffold"]}, schedule = "step", step_every = 1, step_factor = 1e-6'
    text = SGD.format(keys).replace("rounds = 4", "rounds = 12")
    records = played(parse_scenario(text), tmp_path / "cell").rounds()
    reasons = {record.reason for record in records if record.abandoned}
    assert reasons == {"the step would leave a state that is not finite"}
    assert not records[0].abandoned


def test_a_clip_below_one_does_not_change_fednovas_steps() -> None:
    terms = sgd("fednova", 'channel = { kind = "masked", clip = 0.1 }\n').facts
    algorithm = terms.algorithm_on(terms.model)
    assert terms._terms_on(terms.model).clip == 0.1
    private = replace(terms._terms_on(terms.model), steps=None)
    nova = type(algorithm)(private)  # type: ignore[call-arg]
    update = nova.at_client(Still(), Place(0, 7, None, None, torch.zeros(private.d)))
    last = update.fit(torch.zeros(private.d), round=0).delta[-1].item()
    assert last == pytest.approx(0.1 * 7 / private.most_steps)
    moved = nova.move(
        lambda weights, estimate, state: StepResult(estimate, state),
        torch.zeros(private.d),
        torch.cat([torch.ones(private.d), torch.tensor([last])]),
        {},
        round=0,
        share=1.0,
    )
    assert moved.weights[0].item() == pytest.approx(7 / private.usual_steps)


class Still:
    """Changes nothing."""

    cost = None

    def fit(self, weights: Tensor, *, round: int) -> Trained:
        return Trained(torch.zeros_like(weights), None)
