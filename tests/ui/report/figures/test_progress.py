"""Quality after each round: the numbers are those of rounds.jsonl."""

import re
from pathlib import Path

import pytest

from securefl.runs.cell import CellState
from securefl.runs.folder import RunFolder
from securefl.ui.report.figure import Figure
from securefl.ui.report.figures import figures_of
from securefl.ui.report.figures.progress import MOST_LINES, progress
from securefl.ui.report.figures.settings import in_steps, settings_in
from tests.ui.report.figures.folders import SGD, Made, folder_of, metrics_of


def drawn(folder: RunFolder) -> Figure:
    figure = progress(settings_in(folder).all)
    assert figure is not None
    return figure


def test_means_and_errors_are_those_of_the_rounds_of_all_seeds(tmp_path: Path) -> None:
    cells = [
        Made("plain", metrics=metrics_of(0.75), accuracies=(0.5, 0.75)),
        Made("plain", metrics=metrics_of(0.85), accuracies=(0.7, 0.85)),
    ]
    folder = folder_of(tmp_path / "run", cells)
    figure = drawn(folder)
    # By hand: the sample deviation of .5 and .7 is .2 / sqrt(2), over sqrt(2) seeds.
    assert figure.table.head == ("setting", "metric", "round", "mean", "standard error", "seeds")
    assert [tuple(row[:3]) for row in figure.table.rows] == [
        ("plain", "accuracy", 1),
        ("plain", "accuracy", 2),
    ]
    assert [row[3] for row in figure.table.rows] == pytest.approx([0.6, 0.8])
    assert [row[4] for row in figure.table.rows] == pytest.approx([0.1, 0.05])
    assert "Means are over 2 seeds" in figure.caption
    assert "fill-opacity: 0.18" in figure.svg
    assert ">plain</text>" in figure.svg
    assert ">largest class</text>" in figure.svg


def test_one_seed_has_no_band_and_the_caption_says_so(tmp_path: Path) -> None:
    folder = folder_of(
        tmp_path / "run", [Made("one", metrics=metrics_of(0.8), accuracies=(0.5, 0.6, 0.8))]
    )
    figure = drawn(folder)
    assert [row[3:] for row in figure.table.rows] == [
        (0.5, None, 1),
        (0.6, None, 1),
        (0.8, None, 1),
    ]
    assert "one seed, so that no error can be shown" in figure.caption
    assert "fill-opacity" not in figure.svg


def test_rounds_that_some_seed_lacks_are_left_out(tmp_path: Path) -> None:
    cells = [
        Made("a", metrics=metrics_of(0.8), accuracies=(0.1, None, 0.3, 0.4)),
        Made("a", accuracies=(0.1, 0.2, 0.3), state=CellState.RUNNING),
    ]
    figure = drawn(folder_of(tmp_path / "run", cells))
    assert [row[2] for row in figure.table.rows] == [1, 3]


def test_a_folder_without_rounds_has_no_such_figure(tmp_path: Path) -> None:
    cells = [Made("a", metrics=metrics_of(0.8), accuracies=(0.8,)), Made("b", state=CellState.NEW)]
    assert progress(settings_in(folder_of(tmp_path / "run", cells)).all) is None


def test_numbers_that_are_not_finite_are_no_points(tmp_path: Path) -> None:
    folder = folder_of(
        tmp_path / "run", [Made("a", metrics=metrics_of(0.8), accuracies=(0.5, 0.6, 0.7))]
    )
    file = next(folder.path.glob("cells/*/rounds.jsonl"))
    file.write_text(file.read_text().replace("0.6,", "NaN,"))
    assert [row[2] for row in drawn(folder).table.rows] == [1, 3]


def test_a_damaged_cell_is_left_out_and_the_caption_says_so(tmp_path: Path) -> None:
    cells = [
        Made("a", metrics=metrics_of(0.8), accuracies=(0.5, 0.8)),
        Made("b", metrics=metrics_of(0.7), accuracies=(0.5, 0.7)),
    ]
    folder = folder_of(tmp_path / "run", cells)
    _, second = folder.cells()
    (second.cell.folder / "metrics.json").write_text("{")
    figure = figures_of(folder)[0]
    assert {row[0] for row in figure.table.rows} == {"a"}
    assert figure.caption.endswith("1 cell is damaged and left out.")


def test_of_many_settings_some_are_drawn_from_the_best_to_the_worst(tmp_path: Path) -> None:
    cells = [
        Made(f"s{index}", metrics=metrics_of(index / 30), accuracies=(0.1, index / 30))
        for index in range(30)
    ]
    figure = drawn(folder_of(tmp_path / "run", cells))
    labels = list(dict.fromkeys(row[0] for row in figure.table.rows))
    assert len(labels) == MOST_LINES
    assert labels[0] == "s29"
    assert labels[-1] == "s0"
    assert f"{MOST_LINES} of 30 settings are drawn" in figure.caption
    # Three of them have colours and names.
    assert [f">s{index}</text>" in figure.svg for index in (29, 0)] == [True, True]


def test_sites_that_are_judged_on_their_own_records_have_a_panel_of_their_own(
    tmp_path: Path,
) -> None:
    alone = SGD + 'data = { name = "heart", only = 1 }\n'
    cells = [
        Made("all", metrics=metrics_of(0.8), accuracies=(0.5, 0.8)),
        Made("alone", alone, metrics=metrics_of(0.8), accuracies=(0.5, 0.8)),
    ]
    figure = drawn(folder_of(tmp_path / "run", cells))
    assert ">accuracy, heart</text>" in figure.svg
    assert ">accuracy, heart, one site alone on its own records</text>" in figure.svg


def test_long_runs_are_thinned_and_keep_their_ends() -> None:
    assert in_steps([1, 2, 3], 60) == [1, 2, 3]
    some = in_steps(list(range(1, 1001)), 60)
    assert len(some) == 60
    assert (some[0], some[-1]) == (1, 1000)
    assert some == sorted(set(some))


def test_small_changes_of_a_share_do_not_fill_the_panel(tmp_path: Path) -> None:
    def ticks(name: str, ends: tuple[float, float]) -> list[float]:
        made = [Made("a", metrics=metrics_of(0.8, majority=None), accuracies=ends)]
        svg = drawn(folder_of(tmp_path / name, made)).svg
        return [float(words) for words in re.findall(r">(0\.\d+|1\.0+)</text>", svg)]

    small = ticks("small", (0.800, 0.801))
    assert max(small) - min(small) > 0.07
    # An axis of shares ends at 1 all the same.
    assert max(ticks("perfect", (0.999, 1.0))) <= 1.0


def test_an_auc_that_rounds_recorded_has_a_panel_of_its_own(tmp_path: Path) -> None:
    folder = folder_of(
        tmp_path / "run", [Made("a", metrics=metrics_of(0.8), accuracies=(0.5, 0.8))]
    )
    file = next(folder.path.glob("cells/*/rounds.jsonl"))
    file.write_text(file.read_text().replace('"seconds"', '"auc":0.875,"seconds"'))
    figure = drawn(folder)
    assert [row[1:4] for row in figure.table.rows if row[1] == "auc"] == [
        ("auc", 1, 0.875),
        ("auc", 2, 0.875),
    ]
    assert ">AUC</text>" in figure.svg


def test_a_name_that_looks_like_markup_stays_text(tmp_path: Path) -> None:
    cells = [Made("<b>$x$</b> 😀", metrics=metrics_of(0.8), accuracies=(0.5, 0.8))]
    figure = drawn(folder_of(tmp_path / "run", cells))
    assert "&lt;b&gt;$x$&lt;/b&gt; 😀" in figure.svg
    assert figure.table.rows[0][0] == "<b>$x$</b> 😀"
