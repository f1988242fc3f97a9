"""A study in its folder: which cells are to run, in which order, and how they are counted."""

from collections.abc import Generator, Iterable
from pathlib import Path

from securefl.privacy.remember import fresh
from securefl.runs.cell import CellState
from securefl.runs.folder import RunFolder
from securefl.runs.pool import Event, Job
from securefl.studies.expand import expand
from securefl.studies.grid import Grid, Tally, title
from securefl.studies.request import request_for
from securefl.studies.study import parse_study

TEXT = """\
seeds = 3
[base]
rounds = 1
training = { kind = "sgd" }
[axes]
"training.lr" = [0.1, 0.2]
"""


def grid_in(folder: Path, *, skipped: frozenset[str] = frozenset(), text: str = TEXT) -> Grid:
    planned = expand(parse_study(text, name="study"), remember=fresh)
    request = request_for("study", text, planned, folder, ())
    return Grid(RunFolder.create(folder, request), request, skipped)


def end(grid: Grid, cell: str, state: CellState) -> None:
    grid.folder.named(cell).open()
    grid.folder.named(cell).finish(state, metrics={"accuracy": 0.5})


def test_all_rows_come_with_their_first_seed_before_any_comes_with_its_second(
    tmp_path: Path,
) -> None:
    grid = grid_in(tmp_path / "out")
    assert [title(use) for use in grid.missing()] == [
        f"lr {rate} / seed {seed}" for seed in range(3) for rate in (0.1, 0.2)
    ]
    end(grid, grid.missing()[0].cell, CellState.DONE)
    assert [title(use) for use in grid.missing()][:2] == ["lr 0.1 / seed 1", "lr 0.2 / seed 0"]


def test_cells_are_counted_by_how_they_ended(tmp_path: Path) -> None:
    grid = grid_in(tmp_path / "out")
    cells = list(grid.first_uses())
    end(grid, cells[0], CellState.DONE)
    end(grid, cells[1], CellState.OUT_OF_BUDGET)
    grid.folder.named(cells[2]).fail("a bug")
    grid.folder.named(cells[3]).open()
    grid.folder.named(cells[3]).begin_round(0)
    assert grid.tally() == Tally(done=1, out_of_budget=1, failed=1, left=3)
    # A worker that died before it could write: its cell failed, one that ended before did not.
    assert grid.tally({cells[0], cells[5]}) == Tally(done=1, out_of_budget=1, failed=2, left=2)


def test_cells_of_skipped_rows_are_set_aside_until_they_have_ended(tmp_path: Path) -> None:
    grid = grid_in(tmp_path / "out", skipped=frozenset({"lr 0.2"}))
    assert {use.label for use in grid.missing()} == {"lr 0.1"}
    assert len(grid.set_aside()) == 3
    assert grid.tally() == Tally(left=3)
    # Asked for in an earlier command: it counts, also where it is not asked for again.
    first, second, _ = [use.cell for use in grid.request.uses if use.label == "lr 0.2"]
    end(grid, first, CellState.DONE)
    grid.folder.named(second).fail("a bug")
    assert grid.tally() == Tally(done=1, left=3)
    assert grid.set_aside() >= {second}
    assert first not in grid.set_aside()
    assert {use.label for use in grid.missing()} == {"lr 0.1"}


def test_a_cell_that_a_row_that_is_not_skipped_shares_runs(tmp_path: Path) -> None:
    text = TEXT + '[[baseline]]\nlabel = "slow"\nset = { "training.lr" = 0.2 }\n'
    # Whether the row that is not skipped names the cell first or second.
    for skipped in ({"lr 0.1", "slow"}, {"lr 0.1", "lr 0.2"}):
        grid = grid_in(tmp_path / "out", skipped=frozenset(skipped), text=text)
        assert len(grid.missing()) == len(grid.set_aside()) == 3
        assert {use.label for use in grid.missing()} == {"lr 0.2"}


def test_only_cells_that_were_to_be_run_are_left(tmp_path: Path) -> None:
    grid = grid_in(tmp_path / "out")
    to_run = [use.cell for use in grid.missing()[:2]]
    assert grid.tally(among=to_run) == Tally(left=2)
    end(grid, to_run[0], CellState.DONE)
    assert grid.tally(among=to_run) == Tally(done=1, left=1)


def test_every_engine_finds_the_files_of_a_cell_whose_exchange_a_crash_cut_short(
    tmp_path: Path,
) -> None:
    # Files from a cluster replace those of a cell. A crash in between leaves the old ones aside.
    grid = grid_in(tmp_path / "out")
    cell = grid.folder.named(next(iter(grid.first_uses())))
    run = cell.open()
    cell.folder.rename(cell.folder.with_name(f".{cell.hash}.old"))
    runs: set[str] = set()

    def note_runs(
        jobs: Iterable[Job], /, *, workers: int, limit: float
    ) -> Generator[Event, None, None]:
        runs.update(job.cell.status().run for job in jobs)
        yield from ()

    list(grid.run(jobs=1, limit=1.0, play=note_runs))
    assert run in runs
