"""The parts of a page of runs, their order, and the slots of figures."""

from pathlib import Path

import pytest

from securefl.runs.folder import RunFolder
from securefl.ui.report import runs, write_report
from securefl.ui.report.figure import Figure
from securefl.ui.report.remarks import REMARKS
from securefl.ui.report.table import Table
from tests.ui.report.folders import CLAIM, Made, claimed, made
from tests.ui.report.reading import read, rows_of

DRAWING = '<svg class="{}"><text>a &lt; b</text></svg>'


def figure(name: str) -> Figure:
    table = Table(("round", "accuracy"), [(1, 0.123456789), (2, None)])
    title, caption, alt = (f"{word} <of> {name}" for word in ("Title", "Caption", "Alt"))
    return Figure(name, title, caption, alt, DRAWING.format(name), table)


def drawn(folder: RunFolder) -> tuple[Figure, ...]:
    assert RunFolder.is_at(folder.path)
    return (figure("progress"), figure("lane"), figure("cost"))


def test_the_lane_is_with_what_was_run_and_other_figures_have_a_part_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "figures_of", drawn)
    text = write_report(made(tmp_path / "run", [Made("a")])).read_text(encoding="utf-8")
    places = [text.index(part) for part in ('id="setting"', 'class="lane"', 'id="figures"')]
    places += [text.index(part) for part in ('class="progress"', 'class="cost"', 'id="results"')]
    assert places == sorted(places)
    assert text.count('class="lane"') == 1
    # The drawing goes in as it is; the words around it are escaped.
    assert DRAWING.format("cost") in text
    assert "Title &lt;of&gt; cost" in text
    assert 'aria-label="Alt &lt;of&gt; cost"' in text
    page = read(text)
    assert "Caption <of> cost" in page.text
    assert rows_of(page.downloads["progress.csv"]) == [
        {"round": "1", "accuracy": "0.123456789"},
        {"round": "2", "accuracy": ""},
    ]


def test_without_figures_there_is_no_empty_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "figures_of", lambda folder: [])
    text = write_report(made(tmp_path / "run", [Made("a")])).read_text(encoding="utf-8")
    assert "#figures" not in text
    assert "<figure" not in text


def test_the_parts_of_a_page_have_an_order_and_are_in_its_contents(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", [Made("a", 0, CLAIM, metrics=claimed())])
    text = write_report(folder).read_text(encoding="utf-8")
    names = ("setting", "results", "ledgers", "findings", "repeat")
    places = [text.index(f'<section id="{name}">') for name in names]
    assert text.index('class="verdict') < text.index("<nav") < places[0]
    assert places == sorted(places)
    assert all(f'<a href="#{name}">' in text for name in names)


def test_sites_of_one_run_have_a_table_unless_a_claim_does_not_cover_their_models(
    tmp_path: Path,
) -> None:
    sites = {
        "va <1>": {"records": 3, "accuracy": 1 / 3, "balanced_accuracy": None, "auc": 0.5},
        "other": {"records": 2, "accuracy": 0.5, "balanced_accuracy": 0.25, "auc": None},
    }
    covered = made(tmp_path / "covered", [Made("a", metrics={"sites": sites})])
    page = read(write_report(covered).read_text(encoding="utf-8"))
    assert page.tables["table-sites"] == [
        ["site", "accuracy", "bal. acc.", "AUC", "majority"],
        ["va <1>", "0.333", "not measured", "0.500", "not measured"],
        ["other", "0.500", "0.250", "not measured", "not measured"],
    ]
    whose = "each site's own, outside the guarantee: in a simulation only"
    metrics = {"sites": sites, "site_models": whose}
    outside = made(tmp_path / "outside", [Made("a", metrics=metrics)])
    assert "table-sites" not in write_report(outside).read_text(encoding="utf-8")


def test_losses_of_a_run_are_notes_of_its_row(tmp_path: Path) -> None:
    metrics = {
        "abandoned": 2,
        "left_out": {"3": "no file /home/jane/x.csv"},
        "not_chosen": {"1": 2},
    }
    folder = made(tmp_path / "run", [Made("a", metrics=metrics)])
    text = read(write_report(folder).read_text(encoding="utf-8")).text
    assert "2 of 4 rounds were abandoned" in text
    assert "client 3 took no part: no file …/x.csv" in text
    assert "the rule left out: client 1 2 x" in text


def test_a_refused_setting_has_a_row_without_numbers(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", [Made("a")])
    (folder / REMARKS).write_text('{"refused": {"Krum": "too few rows"}, "notes": ["A note."]}')
    page = read(write_report(folder).read_text(encoding="utf-8"))
    row = page.tables["table-rows"][2]
    assert row[:2] == ["Krum", "refused "]
    assert set(row[2:]) == {""}
    assert "too few rows" in page.text
    assert "A note." in page.text


def test_the_tables_of_a_study_are_tables_of_the_page(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", [Made("a")], study="s", text="title = 'A study'\n")
    (folder / "tables.md").write_text(
        "# A study\n\nOne legend.\n\n- An item\n\n## Part\n\n|  | acc |\n|---|---|\n| a | 1 |\n"
    )
    page = read(write_report(folder).read_text(encoding="utf-8"))
    assert [["row", "acc"], ["a", "1"]] in page.tables.values()
    for words in ("One legend.", "An item", "Part", "Every row, with its cost"):
        assert words in page.text
    assert '<h1 dir="auto">A study</h1>' in write_report(folder).read_text(encoding="utf-8")
