"""All figures of a folder: whole numbers, whole pages, and no figure without something to show."""

import ast
import csv
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from securefl.channels.protocol import Seen
from securefl.runs.folder import Request, RunFolder
from securefl.ui.report.figure import Figure
from securefl.ui.report.figures import figures_of
from securefl.ui.report.table import csv_of
from tests.paths import ROOT
from tests.ui.report.figures.folders import Made, folder_of, metrics_of

HOSTILE = "<script>alert(1)</script> $x$ 😀 \u202e\u05d0\u05d1"
PLAIN = (
    'rounds = 3\ntraining = { kind = "sgd" }\n'
    'data = { name = "heart", partition = "iid", clients = 8 }\n'
)
ATTACK = 'attack = { name = "sign_flip", scale = 5.0, clients = [0] }\n'
MEDIAN = 'defense = { rule = { name = "median" } }\n'
CLAIM = "rounds = 3\nprivacy = { epsilon = %s }\n"
MOST_BYTES = 60_000
MOST_SECONDS = 3.0


def transcript() -> list[dict[str, Any]]:
    values = {"about": [0], "shape": [2], "bytes": 8}
    return [
        {"round": number, "party": party, "kind": Seen.CLEAR_UPDATE, **values}
        for number in range(3)
        for party in ("server", "network")
    ]


def cells() -> Iterator[Made]:
    timings = {"starts": 1, "stages": {"set_up": [0.1, 0.1], "rounds": [0.9, 0.5], "total": [1, 1]}}
    extra = {"transcript.jsonl": transcript(), "timings.json": timings}
    texts = {
        "plain": (PLAIN, None),
        "attacked": (PLAIN + ATTACK, None),
        "attacked, median": (PLAIN + MEDIAN + ATTACK, None),
        HOSTILE: (CLAIM % 1.0, 1.0),
        "epsilon 8": (CLAIM % 8.0, 8.0),
    }
    for place, (label, (text, epsilon)) in enumerate(texts.items()):
        for seed in range(2):
            quality = 0.5 + place / 10 + seed / 100
            sites = {"north": {"accuracy": quality}, "south": {"accuracy": quality - 0.05}}
            metrics = metrics_of(quality, epsilon=epsilon, sites=sites)
            yield Made(label, text, metrics, (quality - 0.1, None, quality), extra=extra)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return folder_of(tmp_path_factory.mktemp("study") / "run", list(cells()))


@pytest.fixture(scope="module")
def figures(folder: RunFolder) -> dict[str, Figure]:
    return {figure.name: figure for figure in figures_of(folder)}


def test_every_figure_is_there_in_the_order_of_a_page(figures: dict[str, Figure]) -> None:
    assert list(figures) == [
        *("lane", "lane-2", "progress", "tradeoff", "grid", "sites", "records", "cost"),
    ]
    for figure in figures.values():
        assert re.fullmatch(r"[a-z0-9-]+", figure.name)
        assert figure.title
        assert figure.alt
        assert figure.caption.endswith(".")
        assert figure.svg.startswith("<svg ")
        assert len(figure.svg) < MOST_BYTES
        assert figure.table.rows
        assert all(len(row) == len(figure.table.head) for row in figure.table.rows)


def test_ids_are_unique_on_a_page_with_all_of_them(figures: dict[str, Figure]) -> None:
    ids = [name for one in figures.values() for name in re.findall(r' id="([^"]*)"', one.svg)]
    assert len(ids) == len(set(ids))


def test_a_hostile_name_stays_text_everywhere(figures: dict[str, Figure]) -> None:
    for figure in figures.values():
        assert "<script" not in figure.svg
        assert "\u202e" not in figure.svg
    assert "&lt;script" in figures["sites"].svg
    assert any(row[0] == HOSTILE for row in figures["sites"].table.rows)


def test_means_are_those_of_results_csv(folder: RunFolder, figures: dict[str, Figure]) -> None:
    values: dict[tuple[str, str, str], list[float]] = {}
    with (folder.path / "results.csv").open(newline="") as file:
        for line in csv.DictReader(file):
            if line["value"]:
                place = (line["label"], line["site"], line["metric"])
                values.setdefault(place, []).append(float(line["value"]))

    def mean(label: str, site: str, metric: str) -> float:
        some = values[label, site, metric]
        assert len(some) == 2
        return sum(some) / 2

    for label, site, metric, value, *_ in figures["sites"].table.rows:
        assert value == pytest.approx(mean(str(label), str(site), str(metric)))
    for row in figures["tradeoff"].table.rows:
        assert row[6] == pytest.approx(mean(str(row[0]), "", str(row[5])))
        assert row[4] is None or row[4] == values[str(row[0]), "", "epsilon"][0]
    attacked = {row[1]: row[3] for row in figures["grid"].table.rows if row[2] == "sign_flip"}
    assert attacked["mean"] == pytest.approx(mean("attacked", "", "accuracy"))
    assert attacked["median"] == pytest.approx(mean("attacked, median", "", "accuracy"))
    sent = [row[3] for row in figures["cost"].table.rows if row[1] == "to the server"]
    assert sent == [mean(label, "", "bytes_up") for label in dict.fromkeys(v[0] for v in values)]


def test_rounds_are_those_of_rounds_jsonl(folder: RunFolder, figures: dict[str, Figure]) -> None:
    stored: dict[tuple[str, int], list[float]] = {}
    for label, _, cell in folder.cells():
        for line in (cell.folder / "rounds.jsonl").read_text().splitlines():
            record = json.loads(line)
            if record["accuracy"] is not None:
                stored.setdefault((label, record["round"] + 1), []).append(record["accuracy"])
    drawn = {
        (str(row[0]), row[2]): row[3]
        for row in figures["progress"].table.rows
        if row[1] == "accuracy"
    }
    assert drawn == {place: pytest.approx(sum(some) / 2) for place, some in stored.items()}


def test_the_same_folder_gives_the_same_figures(
    folder: RunFolder, figures: dict[str, Figure]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")}
    assert {figure.name: figure for figure in figures_of(folder)} == figures
    # To look at a folder changes nothing in it.
    assert {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")} == before


def test_numbers_of_a_table_keep_all_their_digits(figures: dict[str, Figure]) -> None:
    text = csv_of(figures["progress"].table)
    assert str(figures["progress"].table.rows[0][3]) in text


def test_a_folder_that_holds_no_numbers_has_no_figures(tmp_path: Path) -> None:
    empty = RunFolder.create(tmp_path / "empty", Request("", {}, (), "study"))
    assert figures_of(empty) == []
    new = folder_of(tmp_path / "new", [Made("a", CLAIM % 1.0)])
    # What a scenario declares is known before anything has run.
    assert [figure.name for figure in figures_of(new)] == ["records"]


def test_nan_and_none_everywhere_draw_nothing(tmp_path: Path) -> None:
    made = [
        Made(label, PLAIN, metrics_of(None, sites={"a": {"accuracy": None}, "b": {}}), (0.5, 0.5))
        for label in ("a", "b")
    ]
    folder = folder_of(tmp_path / "run", made)
    for file in folder.path.glob("cells/*/rounds.jsonl"):
        file.write_text(file.read_text().replace('"accuracy":0.5', '"accuracy":NaN'))
    for file in folder.path.glob("cells/*/metrics.json"):
        file.write_text(file.read_text().replace('"auc": null', '"auc": NaN'))
    names = [figure.name for figure in figures_of(folder)]
    assert names == ["records", "cost"]


def test_a_truncated_file_of_rounds_leaves_one_line_out(folder: RunFolder, tmp_path: Path) -> None:
    run = folder_of(tmp_path / "run", [Made("a", PLAIN, metrics_of(0.8), (0.5, 0.6, 0.8))])
    file = next(run.path.glob("cells/*/rounds.jsonl"))
    file.write_text(file.read_text()[:-20])
    (progress,) = [figure for figure in figures_of(run) if figure.name == "progress"]
    assert [row[2] for row in progress.table.rows] == [1, 2]
    file.write_text("{}\n" + file.read_text())
    assert "progress" not in [figure.name for figure in figures_of(run)]


def test_the_package_imports_what_draws_only_when_it_draws() -> None:
    tree = ast.parse((ROOT / "securefl/ui/report/figures/__init__.py").read_text())
    modules = {str(node.module) for node in tree.body if isinstance(node, ast.ImportFrom)}
    # matplotlib takes half a second, which `import securefl.ui.report` must not wait for.
    assert not [name for name in modules if name.startswith("securefl.ui.report.figures")]


@pytest.mark.slow
def test_figures_of_500_cells_take_less_than_three_seconds(tmp_path: Path) -> None:
    made = [
        Made(f"data, setting {n}", PLAIN, metrics_of(n / 200), [n / 200] * 60)
        for n in range(100)
        for _ in range(5)
    ]
    folder = folder_of(tmp_path / "run", made)
    figures_of(folder_of(tmp_path / "small", made[:5]))  # imports
    began = time.process_time()
    figures = figures_of(folder)
    assert time.process_time() - began < MOST_SECONDS
    assert sum(len(figure.svg) + len(csv_of(figure.table)) for figure in figures) < 300_000
