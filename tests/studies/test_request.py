"""What a study asks of its folder where cells ended under several versions of the code."""

from pathlib import Path

import pytest

from securefl.errors import ScenarioError
from securefl.privacy.remember import fresh
from securefl.runs.cell import CellState
from securefl.runs.folder import Request, RunFolder
from securefl.studies.expand import expand
from securefl.studies.request import ended_under, request_for
from securefl.studies.study import parse_study
from tests.studies.test_grid import TEXT


def request_under(
    code: str, folder: Path, monkeypatch: pytest.MonkeyPatch, *accepted: str
) -> Request:
    monkeypatch.setattr("securefl.studies.request.code_hash", lambda: code)
    planned = expand(parse_study(TEXT, name="study"), remember=fresh)
    return request_for("study", TEXT, planned, folder, accepted)


def end_first(folder: RunFolder, request: Request) -> None:
    cell = folder.named(request.uses[0].cell)
    cell.open()
    cell.finish(CellState.DONE, metrics={"accuracy": 0.5})


def test_the_present_version_comes_before_accepted_ones_and_those_before_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    before = request_under("old", out, monkeypatch)
    folder = RunFolder.create(out, before)
    end_first(folder, before)
    with folder.held():
        folder.ask(request_under("new", out, monkeypatch))
    accepting = request_under("new", out, monkeypatch, "old")
    assert [use.code for use in accepting.uses] == ["old"] + ["new"] * 5
    assert accepting.codes == ("old", "new")
    # Its result needs nobody's permission.
    end_first(folder, request_under("new", out, monkeypatch))
    assert [use.code for use in request_under("new", out, monkeypatch, "old").uses] == ["new"] * 6
    assert ended_under(list(before.cells.values()), out) == {"old": 1, "new": 1}
    with pytest.raises(ScenarioError, match=r"--accept-code other: .*ended cells: old, new$"):
        request_under("new", out, monkeypatch, "other")
