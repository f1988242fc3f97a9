"""evaluate.keep = "best": the run ends with the best model that was evaluated."""

from pathlib import Path

import pytest
import torch

from securefl.audit.inquiry import Inquiry
from securefl.errors import BudgetExceeded, RunFolderError, ScenarioError
from securefl.federation.values import State
from securefl.runs.best import BestModel, score
from securefl.runs.cell import Cell, CellState
from securefl.runs.checkpoint import load_checkpoint
from securefl.runs.play import run_cell
from securefl.scenario.scenario import Scenario, parse_scenario
from securefl.scenario.summary import summary
from tests.runs.test_play import SMALL, Killed, nothing, run_until_killed
from tests.scenario.texts import refusal

BEST = ('evaluate.keep="best"', 'data.test_on="validation"')
# Its accuracies are .537, .732, .748 and .715: the third model is the best one.
STEEP = """
seed = 1
rounds = 4
data = { name = "heart", partition = "natural" }
training = { kind = "sgd", batch = 64, epochs = 1, lr = 20.0 }
weights = "equal"
server = { step = "fedavgm" }
"""
SHAPES = {"weight": torch.Size([2])}


def steep(*overrides: str) -> Scenario:
    return parse_scenario(STEEP, overrides=(*BEST, *overrides))


def weights_of(cell: Cell) -> torch.Tensor:
    return load_checkpoint(cell.checkpoint).state.weights


def after(rounds: int, folder: Path, text: str = STEEP) -> torch.Tensor:
    """The model of a shorter run, which ends with its last one."""
    cell = Cell(folder)
    overrides = (BEST[1], f"rounds={rounds}")
    run_cell(cell, parse_scenario(text, overrides=overrides), on_round=nothing)
    return weights_of(cell)


def best_round(cell: Cell) -> int:
    accuracies = [record.accuracy or 0.0 for record in cell.rounds()]
    return accuracies.index(max(accuracies))


@pytest.mark.parametrize("step", ["fedavg", "fedavgm"])
def test_a_run_ends_with_the_best_model_and_its_figures(step: str, tmp_path: Path) -> None:
    cell = Cell(tmp_path / "best")
    text = STEEP.replace("fedavgm", step)
    metrics = run_cell(cell, parse_scenario(text, overrides=BEST), on_round=nothing)
    best = best_round(cell)
    assert 0 < best < 3
    assert torch.equal(weights_of(cell), after(best + 1, tmp_path / "short", text))
    assert (metrics["kept_round"], metrics["rounds"]) == (best, 4)
    assert metrics["accuracy"] == cell.rounds()[best].accuracy
    # The next run starts from a model, not from a server's state.
    assert load_checkpoint(cell.checkpoint).state.step_state == {}
    assert load_checkpoint(cell.checkpoint).state.round == 4
    assert not cell.best.exists()


def test_only_evaluated_models_are_candidates(tmp_path: Path) -> None:
    cell = Cell(tmp_path / "best")
    metrics = run_cell(cell, steep("evaluate.every=2"), on_round=nothing)
    assert metrics["kept_round"] == 1
    assert torch.equal(weights_of(cell), after(2, tmp_path / "short"))


def test_without_keep_a_run_ends_with_the_last_model(tmp_path: Path) -> None:
    cell = Cell(tmp_path)
    metrics = run_cell(cell, parse_scenario(STEEP, overrides=BEST[1:]), on_round=nothing)
    assert "kept_round" not in metrics
    assert metrics["accuracy"] == cell.rounds()[-1].accuracy != cell.rounds()[2].accuracy
    assert not cell.best.exists()


@pytest.mark.parametrize("crash", ["before the offer", "before the end"])
def test_a_crash_loses_no_candidate(
    crash: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = Cell(tmp_path / "undisturbed")
    expected = run_cell(undisturbed, steep(), on_round=nothing)
    cell = Cell(tmp_path / "killed")

    def offer(self: BestModel, model: int, *others: object, **facts: object) -> None:
        if model == expected["kept_round"] + 1:
            raise Killed
        whole(self, model, *others, **facts)  # type: ignore[arg-type]

    def finish(self: Cell, *others: object, **facts: object) -> None:
        raise Killed

    whole = BestModel.offer
    with monkeypatch.context() as patch:
        if crash == "before the offer":
            patch.setattr(BestModel, "offer", offer)
        else:
            patch.setattr(Cell, "finish", finish)
        with pytest.raises(Killed):
            run_cell(cell, steep(), on_round=nothing)
    metrics = run_cell(cell, steep(), on_round=nothing)
    assert metrics["kept_round"] == expected["kept_round"]
    assert torch.equal(weights_of(cell), weights_of(undisturbed))


def test_a_model_before_an_interrupted_round_is_a_candidate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = parse_scenario(
        SMALL, overrides=(*BEST, "privacy.noise=system", "rounds=3", "evaluate.every=3")
    )
    cell = Cell(tmp_path)
    run_until_killed(monkeypatch, cell, scenario, round=2)
    model = weights_of(cell)
    metrics = run_cell(cell, scenario, on_round=nothing)
    # The last round is abandoned, and the model is measured after it for the first time.
    assert cell.rounds()[2].abandoned
    assert metrics["kept_round"] == 2
    assert torch.equal(weights_of(cell), model)


def test_a_model_that_is_first_measured_after_an_interrupted_round_is_offered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = parse_scenario(
        SMALL, overrides=(*BEST, "privacy.noise=system", "rounds=4", "evaluate.every=2")
    )
    cell = Cell(tmp_path)
    run_until_killed(monkeypatch, cell, scenario, round=1)
    offered: dict[int, float] = {}

    def offer(self: BestModel, model: int, weights: torch.Tensor, score: float | None) -> None:
        if score is not None:
            offered[model] = score

    monkeypatch.setattr(BestModel, "offer", offer)
    run_cell(cell, scenario, on_round=nothing)
    records = cell.rounds()
    assert records[1].abandoned
    assert offered == {2: records[1].accuracy, 4: records[3].accuracy}


def test_a_run_that_its_budget_ends_ends_with_the_best_model(tmp_path: Path) -> None:
    overrides = ("privacy.noise_multiplier=2.0", "rounds=40")
    cell = Cell(tmp_path / "cell")
    with pytest.raises(BudgetExceeded):
        run_cell(cell, parse_scenario(SMALL, overrides=(*BEST, *overrides)), on_round=nothing)
    best = best_round(cell)
    assert best < len(cell.rounds()) - 1
    assert (cell.metrics() or {})["kept_round"] == best
    short = Cell(tmp_path / "short")
    shorter = (BEST[1], overrides[0], f"rounds={best + 1}")
    run_cell(short, parse_scenario(SMALL, overrides=shorter), on_round=nothing)
    assert torch.equal(weights_of(cell), weights_of(short))


def test_where_the_budget_ends_a_run_its_last_model_is_a_candidate(tmp_path: Path) -> None:
    overrides = (*BEST, "privacy.noise_multiplier=2.0", "rounds=40", "evaluate.every=40")
    cell = Cell(tmp_path)
    with pytest.raises(BudgetExceeded):
        run_cell(cell, parse_scenario(SMALL, overrides=overrides), on_round=nothing)
    metrics = cell.metrics() or {}
    assert cell.status().state is CellState.OUT_OF_BUDGET
    assert metrics["kept_round"] == len(cell.rounds()) - 1
    assert metrics["accuracy"] is not None


def test_of_equal_models_the_first_stays_and_one_without_a_score_never_does(
    tmp_path: Path,
) -> None:
    path = tmp_path / "best.safetensors"
    best = BestModel(path, SHAPES)
    last = State(torch.full((2,), 9.0), round=4)
    best.offer(1, torch.zeros(2), None)
    assert best.kept() is None
    assert best.chosen(last) == last
    assert best.facts() == {}
    for model, value in enumerate([0.5, 0.7, 0.7, 0.6], start=1):
        best.offer(model, torch.full((2,), float(model)), value)
    for one in (best, BestModel(path, SHAPES)):
        assert one.chosen(last).weights.tolist() == [2.0, 2.0]
        assert one.chosen(last).round == 4
        assert one.facts() == {"kept_round": 1}
    BestModel(path, SHAPES).offer(5, torch.zeros(2), 0.7)
    assert BestModel(path, SHAPES).facts() == {"kept_round": 1}
    path.write_bytes(b"not whole")
    with pytest.raises(RunFolderError, match="is damaged"):
        BestModel(path, SHAPES)


def test_real_targets_are_judged_by_their_error() -> None:
    assert score(0.5, None) == 0.5
    assert score(None, 2.0) == -2.0
    assert score(None, None) is None


def test_records_that_measure_the_result_do_not_choose_it() -> None:
    words = "would choose the model by the test records"
    assert words in refusal(STEEP, 'evaluate.keep="best"')
    assert words in refusal(STEEP, 'evaluate.keep="best"', 'data.test_on="test"')
    assert "evaluate.keep: input should be 'best'" in refusal(STEEP, 'evaluate.keep="last"')
    assert "the validation records choose which evaluated model" in summary(steep())


def test_an_audit_asks_for_the_run_that_ends_with_its_last_model() -> None:
    with pytest.raises(ScenarioError, match=r"take evaluate\.keep away"):
        Inquiry(steep(), "server")
    Inquiry(parse_scenario(STEEP), "server")
