"""Regressions end to end: metrics and records of runs, and refusals of what needs classes."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from securefl.audit.inquiry import Inquiry
from securefl.data.task import Task
from securefl.errors import ScenarioError
from securefl.files import read_lines, write_lines
from securefl.runs.api import run
from securefl.runs.cell import Cell, CellState
from securefl.runs.folder import RunFolder
from securefl.runs.metrics import METRICS_OF_CLASSES, METRICS_OF_TARGETS, has_targets
from securefl.runs.play import run_cell
from securefl.runs.results import results
from securefl.scenario import catalog
from securefl.scenario.assemble.data import load_data
from securefl.scenario.entries import AttackEntry
from securefl.scenario.making.adversary import poisoned
from securefl.scenario.scenario import Scenario, parse_scenario
from securefl.ui.compare import METRICS, compare
from securefl.ui.listing import listing
from securefl.ui.report import write_report
from securefl.ui.styles import Style
from tests.data import targets
from tests.runs.test_play import nothing, run_until_killed

TEXT = f"""
rounds = 2
weights = "equal"
data = {{ name = "{targets.NAME}" }}
training = {{ kind = "sgd", lr = 0.3, batch = 8 }}
"""
DP = f"""
rounds = 2
data = {{ name = "{targets.NAME}" }}
training = {{ kind = "dp_sgd", lr = 0.3, batch = 16 }}
privacy = {{ epsilon = 8.0, noise = "seeded" }}
"""
MASKED = ("channel.kind=masked", "channel.min_cohort=3")


@pytest.fixture(autouse=True)
def stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(catalog.DATA, targets.NAME, targets.entry())


def scenario(*overrides: str) -> Scenario:
    return parse_scenario(TEXT, overrides=overrides)


def round_lines(folder: Path) -> list[dict[str, Any]]:
    ((_, _, cell),) = RunFolder.open(folder).cells()
    return read_lines(cell.folder / "rounds.jsonl")


def best_constant() -> float:
    """The root mean squared error of the mean, averaged over the two targets."""
    values = targets.TASK.values(load_data(scenario()).test.labels)
    return float(values.std(dim=0, correction=0).mean())


@pytest.mark.parametrize("text", [TEXT, DP], ids=["sgd", "dp_sgd"])
@pytest.mark.parametrize("channel", [(), MASKED], ids=["plain", "masked"])
def test_a_regression_runs_and_has_errors_in_place_of_accuracies(
    tmp_path: Path, text: str, channel: tuple[str, ...]
) -> None:
    metrics = run(parse_scenario(text, overrides=channel), tmp_path / "run").metrics
    assert has_targets(metrics)
    assert metrics["records"] == 50
    for name in METRICS_OF_CLASSES:
        assert metrics[name] is None  # type: ignore[literal-required]
    mae, rmse = metrics["mae"], metrics["rmse"]
    assert mae is not None
    assert rmse is not None
    # The two targets differ by units: days dominate the mean.
    assert 0 < mae < rmse < 12
    assert set(metrics["sites"]) == {"site 0", "site 1", "site 2"}
    assert all("rmse" in site for site in metrics["sites"].values())
    lines = round_lines(tmp_path / "run")
    assert [line["accuracy"] for line in lines] == [None, None]
    assert lines[-1]["rmse"] == pytest.approx(rmse)


def test_a_regression_learns(tmp_path: Path) -> None:
    metrics = run(scenario("rounds=20"), tmp_path / "run")
    rmse, r2 = metrics["rmse"], metrics["r2"]
    assert rmse is not None
    assert rmse < 0.4 * best_constant()
    assert r2 is not None
    assert r2 > 0.8
    errors = [line["rmse"] for line in round_lines(tmp_path / "run")]
    assert errors[-1] < errors[0]


def test_a_masked_regression_is_the_plain_one(tmp_path: Path) -> None:
    plain = run(scenario(), tmp_path / "plain")
    masked = run(scenario(*MASKED), tmp_path / "masked")
    assert masked["rmse"] == pytest.approx(plain["rmse"], rel=1e-4)


def test_a_crash_after_the_checkpoint_loses_no_error(tmp_path: Path) -> None:
    whole = run(scenario(), tmp_path / "run")
    ((_, _, cell),) = RunFolder.open(tmp_path / "run").cells()
    path = cell.folder / "rounds.jsonl"
    lines = read_lines(path)
    write_lines(path, lines[:1])
    cell.finish(CellState.FAILED, reason="made up")
    again = run(scenario(), tmp_path / "run")
    assert read_lines(path) == lines
    assert again["rmse"] == whole["rmse"]


def test_a_killed_round_of_a_regression_is_recorded_with_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = Cell(tmp_path / "cell")
    killed = parse_scenario(DP, overrides=("privacy.noise=system",))
    run_until_killed(monkeypatch, cell, killed, round=1)
    run_cell(cell, killed, on_round=nothing)
    first, second = cell.rounds()
    assert second.abandoned
    assert second.rmse == first.rmse


def test_results_hold_the_errors_of_a_regression(tmp_path: Path) -> None:
    metrics = run(scenario(), tmp_path / "run")
    table = results(RunFolder.open(tmp_path / "run"))
    numbers = {}
    for row in table.rows:
        values = dict(zip(table.columns, row, strict=True))
        if not values["site"]:
            numbers[values["metric"]] = values["value"]
    assert numbers["rmse"] == metrics["rmse"]
    assert numbers["r2"] == metrics["r2"]
    assert numbers["accuracy"] is None


def test_classes_have_no_errors(tmp_path: Path) -> None:
    metrics = run(parse_scenario("rounds = 1\ntraining.kind = 'sgd'"), tmp_path / "run").metrics
    assert not has_targets(metrics)
    for name in METRICS_OF_TARGETS:
        assert name not in metrics
        assert name not in metrics["sites"]["cleveland"]
    assert "rmse" not in round_lines(tmp_path / "run")[0]


def test_a_model_that_overflows_has_no_errors_and_ends_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overflow(self: Task, outputs: Tensor) -> Tensor:
        return torch.full(outputs.shape, torch.nan, dtype=torch.float64)

    monkeypatch.setattr(Task, "values", overflow)
    metrics = run(scenario(), tmp_path / "run").metrics
    assert (metrics["mae"], metrics["rmse"], metrics["r2"]) == (None, None, None)
    assert has_targets(metrics)
    assert "rmse" not in round_lines(tmp_path / "run")[0]


@pytest.mark.parametrize("name", ["min_max", "zero", "non_finite"])
def test_attacks_on_rows_work_on_a_regression(tmp_path: Path, name: str) -> None:
    attacked = scenario(f"attack.name={name}", "attack.clients=[0, 1]")
    metrics = run(attacked, tmp_path / "run")
    assert metrics["rmse"] is not None
    assert metrics["collapsed"] is None
    assert metrics["attack_success"] is None


@pytest.mark.parametrize(
    "name",
    [
        "label_flip",
        "targeted_label_flip",
        "backdoor",
        "distributed_backdoor",
        "model_replacement",
        "constrain_and_scale",
    ],
)
def test_attacks_on_classes_are_refused(name: str) -> None:
    sentence = (
        f"^attack: {name} goes by the classes of records, those of stays bear real targets; "
        "use one of sign_flip, .*adaptive_weight$"
    )
    with pytest.raises(ScenarioError, match=sentence):
        scenario(f"attack.name={name}", "attack.clients=[0]")


@pytest.mark.parametrize("partition", ["dirichlet", "pathological"])
def test_partitions_by_class_are_refused_for_a_regression(partition: str) -> None:
    sentence = (
        rf"^data\.partition: {partition} goes by the one class of a record, "
        "those of stays bear real targets; use iid or quantity$"
    )
    with pytest.raises(ScenarioError, match=sentence):
        scenario(f"data.partition={partition}", "data.clients=2")


def test_wrong_classes_are_refused_for_a_regression() -> None:
    sentence = r"^data\.label_noise: the records bear real targets; use another data set$"
    with pytest.raises(ScenarioError, match=sentence):
        scenario("data.label_noise=0.1")


def test_an_attack_on_records_without_classes_gets_real_targets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def mirrored(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if (labels.shape[1:], labels.dtype) != ((2,), torch.float32):
            raise ValueError("no real targets")
        return features, -labels

    monkeypatch.setitem(catalog.ATTACKS, "mirrored", AttackEntry(records=mirrored))
    attacked = scenario("attack.name=mirrored", "attack.clients=[1]")
    honest = load_data(attacked)
    corrupt = poisoned(attacked, attacked.facts, honest)
    assert torch.equal(corrupt.sites[1].train.labels, -honest.sites[1].train.labels)
    assert torch.equal(corrupt.sites[0].train.labels, honest.sites[0].train.labels)


def test_an_audit_of_a_regression_is_refused() -> None:
    sentence = "^the records bear real targets, which no attack here is made for$"
    with pytest.raises(ScenarioError, match=sentence):
        Inquiry(scenario(), "server")


@pytest.mark.parametrize("partition", ["iid", "quantity", "pooled"])
def test_other_partitions_deal_real_targets(partition: str) -> None:
    clients = () if partition == "pooled" else ("data.clients=4",)
    data = load_data(scenario(f"data.partition={partition}", *clients))
    assert sum(len(site.train) for site in data.sites) == sum(targets.TRAIN_RECORDS)
    assert all(site.train.labels.dtype is torch.float32 for site in data.sites)


@pytest.mark.parametrize("key", ["data.share=0.5", "data.most=10", "data.held_out=1"])
def test_records_with_real_targets_are_reduced_like_others(key: str) -> None:
    data = load_data(scenario(key))
    assert sum(len(site.train) for site in data.sites) < sum(targets.TRAIN_RECORDS)


def test_hubers_loss_trains_another_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    squared = run(scenario(), tmp_path / "squared")
    robust = Task(features=3, targets=targets.TASK.targets, huber=True)
    monkeypatch.setitem(catalog.DATA, targets.NAME, targets.entry(robust))
    hubers = run(scenario(), tmp_path / "huber")
    assert hubers["rmse"] != squared["rmse"]


def test_a_report_of_a_regression_has_columns_of_errors(tmp_path: Path) -> None:
    rmse = run(scenario(), tmp_path / "run")["rmse"]
    page = write_report(tmp_path / "run").read_text()
    assert '<th scope="col">RMSE</th>' in page
    assert '<th scope="col">accuracy</th>' not in page
    assert f"<td>{rmse:.3f}</td>" in page


def test_regressions_are_compared_by_their_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(scenario(), tmp_path / "one")
    run(scenario("training.lr=0.1"), tmp_path / "two")
    compare(tmp_path / "one", tmp_path / "two", METRICS, Style.PLAIN)
    shown = capsys.readouterr().out
    for metric in METRICS_OF_TARGETS:
        assert f"  {metric} " in shown
    assert "accuracy" not in shown


def test_a_difference_of_errors_is_shown_in_the_units_of_the_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wide = Task(features=3, targets=((0.0, 4e7),))
    monkeypatch.setitem(catalog.DATA, targets.NAME, targets.entry(wide))
    run(scenario(), tmp_path / "one")
    run(scenario("training.lr=0.01"), tmp_path / "two")
    compare(tmp_path / "one", tmp_path / "two", ("rmse",), Style.PLAIN)
    assert re.search(r"rmse +[+-]\d\.\d{3}e\+\d\d \(one seed\)", capsys.readouterr().out)


@pytest.mark.parametrize(("count", "words"), [(1, "1 real target"), (2, "2 real targets")])
def test_data_sets_with_real_targets_are_listed_with_their_number(
    monkeypatch: pytest.MonkeyPatch, count: int, words: str
) -> None:
    task = Task(features=3, targets=targets.TASK.targets[:count])
    monkeypatch.setitem(catalog.DATA, targets.NAME, targets.entry(task))
    (line,) = [line for line in listing("data", Path()) if line.startswith(targets.NAME)]
    assert f"3 numbers, {words}, 135 training records; natural, pooled" in line
