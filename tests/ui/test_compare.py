"""securefl compare: what differs between two run folders, and what of it is beyond noise."""

import json
from pathlib import Path

import pytest

from securefl.errors import ScenarioError
from securefl.runs import api
from securefl.runs.cell import CellState
from securefl.runs.folder import Request, RunFolder, Use
from securefl.runs.names import cell_hash
from securefl.runs.results import write_results
from securefl.scenario.scenario import parse_scenario
from securefl.studies.judges import Judges
from securefl.studies.scores import Scores, scores
from securefl.ui.compare import compare, differences
from securefl.ui.styles import Style
from tests.values import present

METRICS = ("accuracy", "auc")
HEART = Judges(records=250, train=490, idle=250, redrawn=True, same=False, classes=2)


def folder(path: Path, lr: float, accuracies: list[float], *, row: str = "row") -> Path:
    """A finished study of one row, made without running it."""
    cells, uses = {}, []
    for seed in range(len(accuracies)):
        scenario = parse_scenario(
            'training = { kind = "sgd" }',
            overrides=(f"seed={seed}", f"training.lr={lr}", f"data.split_seed={seed}"),
        ).resolved()
        name = cell_hash(scenario)
        cells[name] = scenario
        uses.append(Use(name, row, seed=seed))
    made = RunFolder.create(path, Request("", cells, tuple(uses), study="study"))
    for use, accuracy in zip(uses, accuracies, strict=True):
        cell = made.named(use.cell)
        cell.open()
        cell.finish(CellState.DONE, metrics={"accuracy": accuracy, "auc": None, "records": 10})
    write_results(made)
    return path


def table(**rows: list[float]) -> Scores:
    usual = {"part": "", "state": "done", "noise": "", "site": "", "metric": "accuracy"}
    return scores(
        usual | {"label": row, "seed": str(seed), "value": str(value)}
        for row, values in rows.items()
        for seed, value in enumerate(values)
    )


def test_differences_are_marked_only_beyond_noise_over_all_comparisons(tmp_path: Path) -> None:
    same = [0.5, 0.6, 0.7, 0.5, 0.5]
    one = table(
        same=same, worse=[0.9, 0.8, 0.85, 0.9, 0.8], noisy=[0.1, 0.5, 0.9, 0.1, 0.9], only=[1]
    )
    two = table(
        same=same, worse=[0.7, 0.6, 0.66, 0.7, 0.6], noisy=[0.9, 0.1, 0.8, 0.9, 0.3], other=[1]
    )
    judges = dict.fromkeys(two.states, HEART)
    marks = {
        each.row: (round(each.comparison.mean, 3), each.marked)
        for each in differences(one, two, METRICS, judges)
    }
    assert marks == {"same": (0.0, False), "worse": (-0.198, True), "noisy": (0.1, False)}


def test_two_folders_are_compared_with_the_keys_that_differ(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = folder(tmp_path / "first", 0.5, [0.5, 0.6, 0.7, 0.5, 0.5])
    second = folder(tmp_path / "second", 0.25, [0.7, 0.81, 0.9, 0.7, 0.7])
    compare(first, second, METRICS, Style.PLAIN)
    shown = capsys.readouterr().out.splitlines()
    assert shown[:2] == [f"{second} minus {first}, paired by seed", "  training.lr: 0.5 -> 0.25"]
    assert shown[3] == "row  accuracy           +0.2020 ± 0.0038 [+0.1915, +0.2125] over 5 seeds *"
    assert shown[5].startswith("1 comparisons, 1 beyond noise (*)")
    compare(first, second, METRICS, Style.JSON)
    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (line["row"], line["metric"], line["beyond_noise"], line["n"]) == (
        "row",
        "accuracy",
        True,
        5,
    )


def test_a_folder_whose_noise_came_from_a_seed_is_marked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    claim = 'rounds = 1\nprivacy = {{ noise = "{}", epsilon = 8.0 }}\n'
    for name in ("seeded", "system"):
        api.run(parse_scenario(claim.format(name)), tmp_path / name)
    compare(tmp_path / "seeded", tmp_path / "system", METRICS, Style.PLAIN)
    marks = [line for line in capsys.readouterr().out.splitlines() if "SEEDED" in line]
    assert marks == [
        f"  {tmp_path / 'seeded'}: SEEDED noise, here or in a run before it: "
        "anybody who has the seed can remove it"
    ]


def test_one_seed_says_nothing_about_noise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compare(
        folder(tmp_path / "a", 0.5, [0.5]),
        folder(tmp_path / "b", 0.25, [0.9]),
        METRICS,
        Style.PLAIN,
    )
    shown = capsys.readouterr().out
    assert "+0.4000 (one seed)" in shown
    assert "0 beyond noise" in shown
    assert "fewer than 5 seeds rank nothing" in shown


def test_folders_with_nothing_in_common_are_refused(tmp_path: Path) -> None:
    one, two = folder(tmp_path / "a", 0.5, [0.5]), folder(tmp_path / "b", 0.5, [0.5], row="another")
    with pytest.raises(ScenarioError, match="have no row, metric and seed in common"):
        compare(one, two, METRICS, Style.PLAIN)
    with pytest.raises(ScenarioError, match="is not a run folder"):
        compare(one, tmp_path, METRICS, Style.PLAIN)


def test_harm_is_told_hospital_by_hospital(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clean = 'rounds = 2\ndata = { name = "heart" }\ntraining = { kind = "sgd" }\n'
    attacked = clean + 'attack = { name = "sign_flip", scale = 5.0, clients = [3] }\n'
    one, two = (
        api.run(parse_scenario(text), tmp_path / name)
        for text, name in ((clean, "a"), (attacked, "b"))
    )
    compare(tmp_path / "a", tmp_path / "b", ("accuracy",), Style.JSON, sites=True)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    expected = {
        f"run at {site}": present(two["sites"][site]["accuracy"])
        - present(one["sites"][site]["accuracy"])
        for site in one["sites"]
    }
    assert len(expected) == 4
    assert {each["row"]: each["mean"] for each in rows} == pytest.approx(
        {"run": present(two["accuracy"]) - present(one["accuracy"]), **expected}
    )
    compare(tmp_path / "a", tmp_path / "b", ("accuracy",), Style.JSON)
    assert len(capsys.readouterr().out.splitlines()) == 1
