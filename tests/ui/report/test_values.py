"""The values in force: the usual ones once, and how each row differs."""

from pathlib import Path

from securefl.runs.folder import RunFolder
from securefl.ui.report import write_report
from securefl.ui.report.looks import groups_of, looks_at
from securefl.ui.report.values import Values, flat, values_in
from tests.ui.report.folders import CLAIM, Made, made, many

NO_BOUND = {"epsilon": "inf"}


def values_of(folder: Path) -> Values:
    run = RunFolder.open(folder)
    return values_in(groups_of(looks_at(run, run.request())))


def test_a_value_that_most_rows_have_is_said_once(tmp_path: Path) -> None:
    cells = [
        Made("a"),
        Made("b", changes={"training": {"lr": 0.1}}),
        Made("c", changes={"training": {"momentum": 0.9}}),
        Made("d", changes={"cohort": {"size": None}}),
    ]
    values = values_of(made(tmp_path / "run", cells))
    assert values.base["training.lr"] == "0.5"
    assert "training.momentum" not in values.base
    assert values.rows == {
        "b": {"training.lr": "0.1"},
        "c": {"training.momentum": "0.9"},
        "d": {"cohort.size": "no value"},
    }


def test_the_folder_of_a_scenario_and_those_of_its_files_stay_out() -> None:
    scenario = {
        "folder": "/home/jane",
        "data": {"path": "/home/jane/x.csv", "folder": 1},
        "a": None,
    }
    assert flat(scenario) == {"data.path": '"…/x.csv"', "data.folder": "1"}


def test_the_setting_names_what_rows_share_and_what_they_vary(tmp_path: Path) -> None:
    masked = {"channel": {"kind": "masked"}}
    cells = [Made("a"), Made("b", 0, CLAIM, masked), Made("c", 0, CLAIM, {"privacy": NO_BOUND})]
    cells += [Made(f"{n}", changes={"model": {"name": f"m{n}"}}) for n in range(8)]
    setting = values_of(made(tmp_path / "run", cells)).setting
    assert setting["records"] == "heart"
    assert setting["channel"] == "plain, masked"
    assert setting["model"] == "logistic, m0, m1, m2, m3, m4, and 3 more"
    assert setting["epsilon asked for"] == "none, 3.0"
    assert "attack" not in setting


def test_the_values_of_many_cells_are_not_repeated(tmp_path: Path) -> None:
    page = write_report(many(tmp_path / "study", rows=30, seeds=2)).read_text(encoding="utf-8")
    assert page.count("training.batch = ") == 1
    # Once as the usual one, and in each other row.
    assert page.count("training.lr = ") == 30
