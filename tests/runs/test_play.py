"""Runs end to end inside a cell: resuming, budgets, failures, and the final numbers."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from securefl import vector
from securefl.channels.protocol import ClientUpdate
from securefl.errors import BudgetExceeded, LedgerError, RunFailed, RunFolderError, SecureflError
from securefl.federation.record import INTERRUPTED, RoundRecord
from securefl.files import read_lines
from securefl.privacy.events import ReleaseId
from securefl.privacy.ledger import Ledger
from securefl.runs import play
from securefl.runs.cell import Cell, CellState, Status
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.metrics import RunMetrics
from securefl.runs.play import run_cell
from securefl.scenario.assemble.assemble import Assembled, assemble, join
from securefl.scenario.assemble.parts import Parts
from securefl.scenario.scenario import Scenario, parse_scenario
from tests.values import present

SMALL = """
rounds = 6
data = { name = "heart" }
training = { kind = "dp_sgd", batch = 64, lr = 0.5 }
privacy = { noise = "seeded", epsilon = 8.0 }
"""


class Killed(BaseException):
    """Stands for kill -9: nothing between here and the top cleans up."""


def nothing(record: RoundRecord) -> None:
    pass


def small(*overrides: str) -> Scenario:
    return parse_scenario(SMALL, overrides=overrides)


def comparable(metrics: RunMetrics) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if name != "seconds"}


def releases(cell: Cell, client: int, kind: str = "reserve") -> list[int]:
    lines = read_lines(cell.ledgers / f"{client}.jsonl")
    return [line["release"][2] for line in lines if line["kind"] == kind]


def kill_in_round(monkeypatch: pytest.MonkeyPatch, cell: Cell, round: int) -> None:
    """The process dies when the third client of that round has trained and paid."""

    def patched(made: Parts, *, ahead: int) -> Assembled:
        assembled = join(made, ahead=ahead)
        victim = assembled.federation.clients[2]
        train = victim.train

        def dying() -> ClientUpdate:
            update = train()
            if (
                len(read_lines(cell.ledgers / "2.jsonl")) >= 2 * round + 1
            ):  # reserve and settle of each earlier round
                raise Killed
            return update

        monkeypatch.setattr(victim, "train", dying)
        return assembled

    monkeypatch.setattr(play, "join", patched)


def run_until_killed(
    monkeypatch: pytest.MonkeyPatch, cell: Cell, scenario: Scenario, *, round: int
) -> None:
    """Runs a cell in a process that dies in a round, and leaves the code as it was."""
    with monkeypatch.context() as patch:
        kill_in_round(patch, cell, round)
        with pytest.raises(Killed):
            run_cell(cell, scenario, on_round=nothing)


def test_a_run_finishes_within_its_budget(tmp_path: Path) -> None:
    cell = Cell(tmp_path / "cell")
    metrics = run_cell(cell, small(), on_round=nothing)
    assert 0.995 * 8 <= present(metrics["epsilon"]) <= 8
    assert metrics["records"] == 250
    assert metrics["rounds"] == 6
    assert metrics["abandoned"] == 0
    assert metrics["sites"]["switzerland"]["auc"] is None
    assert cell.status().state == "done"


def test_a_finished_cell_is_only_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Cell(tmp_path / "cell")
    first = run_cell(cell, small(), on_round=nothing)
    monkeypatch.setattr(play, "parts", None)
    assert run_cell(cell, small(), on_round=nothing) == first


def test_the_same_seed_gives_the_same_metrics_and_another_does_not(tmp_path: Path) -> None:
    runs = [
        run_cell(Cell(tmp_path / str(i)), small(f"seed={s}"), on_round=nothing)
        for i, s in enumerate((3, 3, 4))
    ]
    assert comparable(runs[0]) == comparable(runs[1])
    models = [
        load_checkpoint(tmp_path / str(i) / "model.safetensors").state.weights for i in range(3)
    ]
    assert torch.equal(models[0], models[1])
    assert not torch.equal(models[0], models[2])


def test_system_noise_differs_from_run_to_run(tmp_path: Path) -> None:
    models = []
    for index in range(2):
        run_cell(Cell(tmp_path / str(index)), small("privacy.noise=system"), on_round=nothing)
        models.append(load_checkpoint(tmp_path / str(index) / "model.safetensors").state.weights)
    assert not torch.equal(models[0], models[1])


def test_a_killed_seeded_run_ends_as_an_undisturbed_one_and_pays_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_cell(Cell(tmp_path / "whole"), small(), on_round=nothing)
    cell = Cell(tmp_path / "killed")
    run_until_killed(monkeypatch, cell, small(), round=3)
    assert cell.status() == Status(CellState.RUNNING, cell.status().run, 3)
    assert releases(cell, 2) == [0, 1, 2, 3]
    assert comparable(run_cell(cell, small(), on_round=nothing)) == comparable(whole)
    assert [releases(cell, client) for client in range(4)] == [list(range(6))] * 4
    assert [releases(cell, client, "settle") for client in range(4)] == [list(range(6))] * 4


def test_a_killed_run_under_system_noise_abandons_the_round_charges_it_once_and_completes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario, cell = small("privacy.noise=system"), Cell(tmp_path / "cell")
    run_until_killed(monkeypatch, cell, scenario, round=3)
    before = load_checkpoint(cell.folder / "model.safetensors").state.weights
    shown: list[RoundRecord] = []
    metrics = run_cell(cell, scenario, on_round=shown.append)
    assert (shown[0].round, shown[0].abandoned, shown[0].reason) == (3, True, INTERRUPTED)
    assert [record.round for record in cell.rounds()] == list(range(6))
    assert metrics["abandoned"] == 1
    assert releases(cell, 2) == [0, 1, 2, 3, 4, 5]
    assert releases(cell, 2, "settle") == [0, 1, 2, 4, 5]
    assert releases(cell, 3) == [0, 1, 2, 4, 5]  # it had not trained yet, so it owes nothing
    assert present(metrics["epsilon"]) <= 8
    assert not torch.equal(before, load_checkpoint(cell.folder / "model.safetensors").state.weights)


@pytest.mark.parametrize("status_round", [1, 3])
def test_the_ledgers_and_not_the_status_decide_which_round_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status_round: int
) -> None:
    # A status that fell behind (power loss) or ran ahead (cut between rounds, nothing reserved).
    scenario, cell = small("privacy.noise=system"), Cell(tmp_path / "cell")
    run_until_killed(monkeypatch, cell, scenario, round=3)
    cell.begin_round(status_round)
    assert run_cell(cell, scenario, on_round=nothing)["abandoned"] == 1


def test_a_run_cut_between_two_rounds_loses_no_round(tmp_path: Path) -> None:
    scenario, cell = small("privacy.noise=system"), Cell(tmp_path / "cell")

    def cut(record: RoundRecord) -> None:
        if record.round == 2:
            raise Killed

    with pytest.raises(Killed):
        run_cell(cell, scenario, on_round=cut)
    cell.begin_round(3)
    assert run_cell(cell, scenario, on_round=nothing)["abandoned"] == 0


def test_a_cohort_that_spent_its_budget_does_not_end_the_run_of_the_others(tmp_path: Path) -> None:
    # Client 2 is in every step, so it is out of budget first. Rounds that invite it with only one
    # other client are abandoned.
    overrides = (
        "rounds=99",
        "cohort.size=2",
        "channel.min_cohort=2",
        "privacy.noise_multiplier=2.0",
    )
    cell = Cell(tmp_path / "cell")
    with pytest.raises(BudgetExceeded, match=r"[01] of 4 clients may still spend"):
        run_cell(cell, small(*overrides), on_round=nothing)
    records = cell.rounds()
    first = next(record.round for record in records if record.absent)
    assert any(not record.abandoned for record in records if record.round > first)


def test_one_absent_cohort_is_an_abandoned_round_while_others_could_come(tmp_path: Path) -> None:
    cell = Cell(tmp_path / "cell")
    drops = ", ".join(f"{{client={client}, round=0}}" for client in range(4))
    metrics = run_cell(cell, small("cohort.size=1", f"simulate.drop=[{drops}]"), on_round=nothing)
    assert (metrics["rounds"], metrics["abandoned"]) == (6, 1)


def test_a_disk_that_refuses_to_settle_costs_nothing_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Ledger, release_id: ReleaseId) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Ledger, "settle", refuse)
    metrics = run_cell(Cell(tmp_path / "cell"), small(), on_round=nothing)
    assert metrics["abandoned"] == 0
    assert 0.995 * 8 <= present(metrics["epsilon"]) <= 8


def test_a_spent_budget_ends_the_run_keeps_the_model_and_is_refused_at_once_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario, cell = (
        small("privacy.noise_multiplier=2.0", "rounds=40", "channel.min_cohort=3"),
        Cell(tmp_path / "cell"),
    )
    with pytest.raises(
        BudgetExceeded, match=r"of 4 clients may still spend: client \d: release \d+ would exceed"
    ) as first:
        run_cell(cell, scenario, on_round=nothing)
    assert first.value.exit_code == 3
    metrics = cell.metrics()
    assert metrics is not None
    assert 0 < present(metrics["epsilon"]) <= 8
    assert 0 < metrics["rounds"] - metrics["abandoned"] < 40
    kept = load_checkpoint(cell.folder / "model.safetensors").state.weights
    assert kept.abs().sum() > 0
    monkeypatch.setattr(play, "parts", None)
    with pytest.raises(BudgetExceeded, match="may still spend"):
        run_cell(cell, scenario, on_round=nothing)
    assert torch.equal(kept, load_checkpoint(cell.folder / "model.safetensors").state.weights)


def test_a_client_out_of_budget_is_absent_while_others_go_on(tmp_path: Path) -> None:
    # Switzerland's 31 records are all in every step, so it spends fastest.
    scenario, cell = small("privacy.noise_multiplier=2.0", "rounds=40"), Cell(tmp_path / "cell")
    with pytest.raises(BudgetExceeded):
        run_cell(cell, scenario, on_round=nothing)
    absent = [set(record.absent) for record in cell.rounds()]
    assert absent[0] == set()
    assert {len(names) for names in absent} > {0, 1}


def test_rounds_below_the_minimum_are_abandoned_and_still_paid(tmp_path: Path) -> None:
    drops = "simulate.drop=[{client=0, round=1}, {client=1, round=1}]"
    cell = Cell(tmp_path / "cell")
    metrics = run_cell(cell, small("channel.min_cohort=3", drops), on_round=nothing)
    second = cell.rounds()[1]
    assert second.abandoned
    assert "2 updates came, the minimum cohort is 3" in second.reason
    assert second.survivors == ()
    assert metrics["abandoned"] == 1
    assert releases(cell, 2) == list(range(6))
    assert 1 not in releases(cell, 2, "settle")
    assert 1 not in releases(cell, 0)


def test_no_clients_left_fails_the_run(tmp_path: Path) -> None:
    drops = ", ".join(f"{{client={client}, round=2}}" for client in range(4))
    cell = Cell(tmp_path / "cell")
    with pytest.raises(RunFailed, match="no clients left: dropped at stage 1") as failure:
        run_cell(cell, small(f"simulate.drop=[{drops}]"), on_round=nothing)
    assert failure.value.exit_code == 1
    assert cell.status().state == "failed"
    assert len(cell.rounds()) == 3


def test_a_corrupted_checkpoint_fails_without_touching_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = Cell(tmp_path / "cell")
    run_until_killed(monkeypatch, cell, small(), round=3)
    path = cell.folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-3] + b"abc")
    before = {
        name: (cell.folder / name).read_bytes() for name in ("rounds.jsonl", "model.safetensors")
    }
    with pytest.raises(RunFolderError, match="put a copy back, or start again under another --out"):
        run_cell(cell, small(), on_round=nothing)
    assert {name: (cell.folder / name).read_bytes() for name in before} == before


@pytest.mark.parametrize("lines", [0, 3])
def test_a_ledger_that_was_cut_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: int
) -> None:
    cell = Cell(tmp_path / "cell")
    run_until_killed(monkeypatch, cell, small(), round=3)
    ledger = cell.ledgers / "1.jsonl"
    ledger.write_bytes(b"".join(ledger.read_bytes().splitlines(keepends=True)[:lines]))
    with pytest.raises(LedgerError, match="was cut or replaced"):
        run_cell(cell, small(), on_round=nothing)


def test_a_programming_error_leaves_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(scenario: Scenario, **given: Any) -> Assembled:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(play, "parts", broken)
    cell = Cell(tmp_path / "cell")
    with pytest.raises(ZeroDivisionError):
        run_cell(cell, small(), on_round=nothing)
    status = cell.status()
    assert status.state == "failed"
    # The scenario claims DP, and the words of an exception may quote a record.
    assert present(status.reason).endswith(
        "ZeroDivisionError, whose words a DP claim keeps out of here"
    )


def test_a_failed_cell_can_be_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Cell(tmp_path / "cell")
    with monkeypatch.context() as patch:
        patch.setattr(
            play, "parts", lambda *_, **__: (_ for _ in ()).throw(SecureflError("not today"))
        )
        with pytest.raises(SecureflError, match="not today"):
            run_cell(cell, small(), on_round=nothing)
    assert run_cell(cell, small(), on_round=nothing)["rounds"] == 6


def test_random_cohorts_vary_and_charge_their_members_only(tmp_path: Path) -> None:
    cell = Cell(tmp_path / "cell")
    metrics = run_cell(cell, small("cohort.size=2"), on_round=nothing)
    cohorts = [tuple(record.cohort) for record in cell.rounds()]
    assert len(set(cohorts)) > 1
    assert {len(cohort) for cohort in cohorts} == {2}
    for client in range(4):
        assert releases(cell, client) == [r for r, cohort in enumerate(cohorts) if client in cohort]
    assert present(metrics["epsilon"]) < 0.995 * 8


def test_the_epsilon_of_a_run_is_that_of_its_worst_off_client(tmp_path: Path) -> None:
    metrics = run_cell(
        Cell(tmp_path / "cell"), small("cohort.size=1", "rounds=3"), on_round=nothing
    )
    assert min(metrics["epsilons"].values()) == 0.0
    assert metrics["epsilon"] == max(metrics["epsilons"].values()) > 0


@pytest.mark.parametrize(
    ("weights", "public", "stated"),
    [("equal", {0: 1, 1: 1}, 1), ("declared", {0: 200, 1: 173}, 200), ("reported", None, 200)],
)
def test_weights_are_public_unless_reported(
    weights: str, public: dict[int, int] | None, stated: int
) -> None:
    scenario = parse_scenario('training = { kind = "sgd" }', overrides=(f"weights={weights}",))
    found = scenario.facts.public_weights
    assert (None if found is None else {client: found[client] for client in (0, 1)}) == public
    assert scenario.facts.client_weight(0, 200 if weights == "reported" else None) == stated


def test_epsilon_infinity_claims_nothing(tmp_path: Path) -> None:
    cell = Cell(tmp_path / "cell")
    metrics = run_cell(cell, small("privacy.epsilon=inf"), on_round=nothing)
    assert metrics["epsilon"] is None
    assert not cell.ledgers.exists()


def test_the_real_record_count_is_never_read_under_a_claim(tmp_path: Path) -> None:
    # 190 is declared where 200 are: rate, steps, normaliser and weights follow the declaration.
    scenario = small("privacy.records=[190, 173, 31, 86]")
    assembled = assemble(scenario, run="x", ledgers=tmp_path)
    trainer = assembled.federation.clients[0]._trainer  # type: ignore[attr-defined]
    assert trainer.plan.sample_rate == 64 / 190
    assert trainer.plan.steps == 3
    assert trainer.plan.normaliser == 64
    assert assembled.federation.server._weights[0] == 190  # type: ignore[attr-defined]


def test_a_run_folder_holds_no_value_of_any_update(tmp_path: Path) -> None:
    cell = Cell(tmp_path / "cell")
    run_cell(cell, small(), on_round=nothing)
    allowed = {"round", "party", "kind", "about", "shape", "bytes"}
    entries = read_lines(cell.folder / "transcript.jsonl")
    assert {frozenset(entry) for entry in entries} == {frozenset(allowed)}
    assert {entry["party"] for entry in entries} == {
        "server",
        "network",
        *(f"client {i}" for i in range(4)),
    }
    files = {
        path.relative_to(cell.folder).as_posix()
        for path in cell.folder.rglob("*")
        if path.is_file()
    }
    assert files == {
        "status.json",
        "metrics.json",
        "timings.json",
        "rounds.jsonl",
        "transcript.jsonl",
        "model.safetensors",
        *(f"ledgers/{client}.jsonl" for client in range(4)),
    }
    assert json.loads((cell.folder / "metrics.json").read_text())["noise"] == "seeded"


@pytest.mark.parametrize("step", ["fedavg", "fedavgm"])
def test_the_model_of_a_finished_run_is_what_load_state_dict_takes(
    tmp_path: Path, step: str
) -> None:
    cell = Cell(tmp_path / "cell")
    scenario = small(f"server.step={step}", "rounds=2")
    metrics = run_cell(cell, scenario, on_round=nothing)
    assembled = assemble(scenario, run="again", ledgers=tmp_path / "ledgers")
    assembled.model.load_state_dict(load_file(cell.checkpoint))
    state = load_checkpoint(cell.checkpoint).state
    assert torch.equal(vector.to_vector(assembled.model), state.weights)
    assert assembled.federation.evaluate(state).auc == metrics["auc"]


def test_damaged_metrics_of_a_cell_that_has_not_ended_do_not_stop_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = Cell(tmp_path / "cell")
    run_until_killed(monkeypatch, cell, small(), round=2)
    (cell.folder / "metrics.json").write_text("{")
    assert run_cell(cell, small(), on_round=nothing)["rounds"] == 6
