"""The report page of runs: every row with its marks, and the rows and notes of the demo."""

import html
import shutil
from pathlib import Path

import pytest

from securefl.errors import RunFolderError
from securefl.runs import api
from securefl.runs.folder import RunFolder
from securefl.scenario.scenario import parse_scenario
from securefl.ui import demo
from securefl.ui.display import make_display
from securefl.ui.report import VALIDATION, write_report
from securefl.ui.report.remarks import REMARKS
from securefl.ui.styles import Style

SGD = 'rounds = 1\ntraining = { kind = "sgd" }\n'


def page_of(folder: Path) -> str:
    return html.unescape(write_report(folder).read_text(encoding="utf-8"))


def test_a_row_that_validation_records_judge_is_marked(tmp_path: Path) -> None:
    for part in ("test", "validation"):
        scenario = parse_scenario(SGD + f'data = {{ name = "heart", test_on = "{part}" }}\n')
        api.run(scenario, tmp_path / part)
    assert VALIDATION in page_of(tmp_path / "validation")
    assert VALIDATION not in page_of(tmp_path / "test")


def test_a_row_names_whom_its_claim_holds_against(tmp_path: Path) -> None:
    text = (
        'rounds = 1\ntraining = { kind = "clipped_gradient", lr = 1.0, clip = 1.0 }\n'
        'privacy = { epsilon = 3.0, place = "distributed", noise = "seeded" }\n'
        'channel = { kind = "masked" }\n'
    )
    scenario = parse_scenario(text)
    api.run(scenario, tmp_path / "shared")
    api.run(parse_scenario(SGD), tmp_path / "sgd")
    said = (
        "epsilon is for one training record; distributed noise: the claim holds against the server "
        "together with up to 1 client of a sum"
    )
    page = page_of(tmp_path / "shared")
    assert f'<li id="rows-note-1">{said}</li>' in page
    assert '<td>done <sup><a href="#rows-note-1">1</a></sup></td>' in page
    assert "claim holds against" not in page_of(tmp_path / "sgd")


def small_demo(folder: Path, monkeypatch: pytest.MonkeyPatch, style: Style) -> None:
    """The demo with one split, two rows and two rounds."""
    rows = {demo.POOLED: demo.ROWS[demo.POOLED], "federated, no protection": ()}
    monkeypatch.setattr(demo, "SPLITS", 1)
    monkeypatch.setattr(demo, "ROWS", rows)
    monkeypatch.setattr(demo, "BASE", demo.BASE.replace("rounds = 20", "rounds = 2"))
    demo.run_demo(folder, make_display(style))


def test_the_demo_shows_runs_and_its_page_has_the_rows_and_notes_of_the_console(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small_demo(tmp_path, monkeypatch, Style.PLAIN)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "demo: 1 of 6 runs"
    assert "demo: 6 of 6 runs" in lines
    assert not [line for line in lines if "accuracy 0." in line]
    (refused,) = [line for line in lines if line.startswith(demo.REFUSED_LABEL)]
    sentence = refused.removeprefix(demo.REFUSED_LABEL).strip()
    assert sentence.startswith("refused: krum with f=1 needs 5 rows")
    page = page_of(tmp_path)
    assert f"<td>{demo.REFUSED_LABEL}</td>" in page
    assert sentence in page
    for note in demo.NOTES:
        assert note in lines
        assert f"<p>{note}</p>" in page


def test_a_demo_that_goes_on_counts_the_runs_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small_demo(tmp_path, monkeypatch, Style.NONE)
    _, _, last = RunFolder.open(tmp_path).cells()[-1]
    shutil.rmtree(last.folder)
    small_demo(tmp_path, monkeypatch, Style.PLAIN)
    assert capsys.readouterr().out.splitlines()[0] == "demo: 6 of 6 runs"


@pytest.mark.parametrize("content", ["{}", '{"refused": {"a": 1}, "notes": []}', '{"refused": 1}'])
def test_damaged_remarks_are_one_sentence(tmp_path: Path, content: str) -> None:
    api.run(parse_scenario(SGD), tmp_path / "run")
    (tmp_path / "run" / REMARKS).write_text(content)
    with pytest.raises(RunFolderError, match=f"{REMARKS} is damaged"):
        write_report(tmp_path / "run")
