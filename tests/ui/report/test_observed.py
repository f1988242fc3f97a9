"""Who saw what, from the transcript of a run."""

from pathlib import Path

from securefl.files import write_lines
from securefl.runs.cell import Cell
from securefl.ui.report.observed import CLIENTS, observed


def seen(party: object, kind: object, size: object = 10) -> dict[str, object]:
    return {"round": 0, "party": party, "kind": kind, "about": [], "shape": [1], "bytes": size}


def test_messages_are_counted_by_party_and_kind(tmp_path: Path) -> None:
    lines = [
        seen("server", "masked update", 97),
        seen("server", "masked update", 98),
        seen("server", "sum"),
        seen("client 0", "own update"),
        seen("client 13", "own update"),
    ]
    write_lines(tmp_path / "transcript.jsonl", lines)
    table = observed(Cell(tmp_path))
    assert table is not None
    assert [list(line.cells) for line in table.lines] == [
        [CLIENTS, "own update", "2", "20"],
        ["server", "masked update", "2", "195"],
        ["server", "sum", "1", "10"],
    ]


def test_lines_of_a_later_version_are_left_out(tmp_path: Path) -> None:
    lines: list[dict[str, object]] = [
        seen(3, "sum"),
        seen("server", None),
        seen("server", "sum", "10"),
        {"version": 7},
    ]
    write_lines(tmp_path / "transcript.jsonl", lines)
    assert observed(Cell(tmp_path)) is None


def test_a_run_without_a_transcript_has_no_table(tmp_path: Path) -> None:
    assert observed(Cell(tmp_path)) is None
