"""What clients spent, of which budget."""

from pathlib import Path

from securefl.files import write_lines
from securefl.runs.folder import RunFolder
from securefl.ui.report.looks import groups_of, looks_at
from securefl.ui.report.spending import MAX_LINES, Spending, spending
from tests.ui.report.folders import CLAIM, Made, claimed, made


def spending_in(folder: Path) -> Spending:
    run = RunFolder.open(folder)
    return spending(run, groups_of(looks_at(run, run.request())))


def test_each_client_has_the_most_that_it_spent_with_any_seed(tmp_path: Path) -> None:
    cells = [
        Made("a", seed, CLAIM, metrics=claimed(spent, clients=2))
        for seed, spent in enumerate((2.5, 2.25))
    ]
    table = spending_in(made(tmp_path / "run", [*cells, Made("plain")])).table
    assert table is not None
    assert [list(line.cells) for line in table.lines] == [
        ["a", "0", "2.50", "3.00", "0.50"],
        ["a", "1", "2.49", "3.00", "0.51"],
    ]


def test_many_clients_are_one_line_a_row(tmp_path: Path) -> None:
    cells = [Made("a", 0, CLAIM, metrics=claimed(2.5, clients=MAX_LINES + 1)), Made("b", 1, CLAIM)]
    table = spending_in(made(tmp_path / "run", cells)).table
    assert table is not None
    assert [list(line.cells) for line in table.lines] == [
        ["a", "41", "2.10", "2.50", "3.00", "0.50"]
    ]


def test_a_budget_that_rounding_exceeds_leaves_nothing(tmp_path: Path) -> None:
    cell = Made("a", 0, CLAIM, metrics=claimed(3.0000001, clients=1))
    table = spending_in(made(tmp_path / "run", [cell])).table
    assert table is not None
    assert table.lines[0].cells[-1] == "0.00"


def test_reservations_of_a_cell_that_has_not_ended_are_counted(tmp_path: Path) -> None:
    running = {"state": "running", "run": "r", "round": 1}
    folder = made(tmp_path / "run", [Made("a", 0, CLAIM, status=running, metrics=None)])
    (cell,) = (folder / "cells").iterdir()
    (cell / "ledgers").mkdir()
    write_lines(cell / "ledgers" / "0.jsonl", [{"kind": "reserve"}, {"kind": "settle"}])
    write_lines(cell / "ledgers" / "1.jsonl", [{"kind": "reserve"}] * 2)
    write_lines(cell / "ledgers" / "2.jsonl", [{"kind": "begin"}])
    found = spending_in(folder)
    assert found.table is None
    assert found.notes == [
        "“a” has not ended: 2 ledgers hold up to 2 reserved releases, which stay paid."
    ]


def test_without_a_claim_nothing_was_spent(tmp_path: Path) -> None:
    assert spending_in(made(tmp_path / "run", [Made("a")])) == Spending(None, [])
