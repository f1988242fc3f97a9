"""The report page: every row with its marks, and audits with the columns of the console."""

import html
import json
import shutil
from pathlib import Path

import pytest
import torch

from attacks import at_false_positive_rate
from securefl.audit.verdicts import HEAD, RATES, Line, Point, Stand, facts, told
from securefl.errors import RunFolderError
from securefl.runs import api
from securefl.runs.folder import RunFolder
from securefl.scenario.scenario import parse_scenario
from securefl.ui import demo
from securefl.ui.display import make_display
from securefl.ui.report import VALIDATION, write_report
from securefl.ui.report.audits import COLUMN_OF_FINEST_RATE, COLUMNS
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


def measured(rate: float) -> Point:
    scores = torch.linspace(0, 1, 3000)
    return Point(rate, at_false_positive_rate(scores, scores, at=rate, confidence=0.95), None)


@pytest.mark.parametrize("is_fine", [True, False])
def test_an_audit_has_the_columns_of_the_console(tmp_path: Path, is_fine: bool) -> None:
    """The finest rate is left out where no attack had the records for it, on both."""
    points = tuple(
        measured(rate) if is_fine or rate != RATES[-1] else Point(rate, None, None)
        for rate in RATES
    )
    lines = [Line("LiRA", Stand.UNCLAIMED, "no claim", 0.5, 0.01, points)]
    audit = {
        "command": "securefl audit x",
        "claim": "none",
        "verdict": "no claim",
        "lines": [facts(line) for line in lines],
        "exposures": [],
        "notes": [],
    }
    (tmp_path / "audit-server.json").write_text(json.dumps(audit))
    page = page_of(tmp_path)
    header = next(told(lines))
    shown = [column for column in HEAD if f'<th scope="col">{column}</th>' in page]
    assert shown == [column for column in HEAD if column in header]
    assert (HEAD[COLUMN_OF_FINEST_RATE] in shown) == is_fine
    assert COLUMNS == HEAD


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
