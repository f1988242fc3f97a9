"""What `securefl bench` does: expand a study, run its missing cells, show its tables."""

from collections import Counter
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from securefl.errors import Interrupted
from securefl.files import write_atomic
from securefl.runs.cache import user_cache
from securefl.runs.cell import CellState
from securefl.runs.engines import Engine, EngineName, engine
from securefl.runs.environment import code_hash
from securefl.runs.folder import RunFolder, Use
from securefl.runs.pool import Finished, Ticked
from securefl.runs.threads import cpus
from securefl.studies.expand import expand
from securefl.studies.find import find_study
from securefl.studies.grid import Grid, Tally, title
from securefl.studies.request import ended_under, request_for
from securefl.studies.running import fetch_missing, raise_for_failures, rows_to_skip
from securefl.studies.study import Study, load_study
from securefl.ui.display import Display, make_display
from securefl.ui.grids import cell_step, counts, duration
from securefl.ui.progress import download_step
from securefl.ui.styles import Style


@dataclass(frozen=True)
class Options:
    """How to run a study.

    Attributes:
        jobs: cells at once; None for the CPUs of the engine.
        max_cells: cells to run at most; None for all.
        fail_fast: whether the first failed cell ends the study.
        limit: seconds that a cell may take; None for the study's own limit.
        accepted: versions of the code whose ended cells count.
        overrides: values that replace those of the study, as "key.path=value".
        engine: where the cells run.
        address: of a cluster, where the engine is one.
        long: whether rows that take hours run, too.
    """

    jobs: int | None = None
    max_cells: int | None = None
    fail_fast: bool = False
    limit: float | None = None
    accepted: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    engine: EngineName = EngineName.LOCAL
    address: str | None = None
    long: bool = False


def bench(name: str, out: Path | None, options: Options, style: Style) -> None:
    """Runs the missing cells of a study and shows its tables.

    Raises:
        ScenarioError: the study or a cell is wrong, or `out` holds something else; nothing was run.
        BudgetExceeded: a privacy budget ended some cells, and nothing failed.
        SecureflError: cells failed.
    """
    # Numpy takes a while to import; a study that is refused does not wait for it.
    from securefl.studies.scores import read_scores
    from securefl.studies.tables import study_tables

    study, grid = plan(name, out, options)
    display = make_display(style)
    if hint := _other_versions(grid):
        display.remark(hint)
    # Before a folder is made: an engine that is missing must leave nothing behind.
    with _engine(grid, options) as place:
        folder = RunFolder.create(grid.folder.path, grid.request)
        with folder.held():
            folder.ask(grid.request)
            tally = _run_or_say_how_far(study, grid, options, place, display)
            text = study_tables(study, read_scores(folder.path / "results.csv"))
            write_atomic(folder.path / "tables.md", text.encode())
    _show(text, tally, folder.path, display)
    raise_for_failures(tally, len(grid.first_uses()), folder.path)


def _engine(grid: Grid, options: Options) -> AbstractContextManager[Engine]:
    """Returns the engine of the options; this machine where no cell is left to run."""
    needed = options.engine if grid.missing() else EngineName.LOCAL
    address = None if options.engine is not needed else options.address
    return engine(needed, address, options.jobs)


def _run_or_say_how_far(
    study: Study, grid: Grid, options: Options, place: Engine, display: Display
) -> Tally:
    """Runs the missing cells; says how many ended where somebody presses Ctrl-C."""
    to_run = {use.cell for use in grid.missing()[: options.max_cells]}
    _fetch_data(grid, display)
    try:
        return _run(study, grid, options, place, display)
    except Interrupted:
        results = grid.folder.path / "results.csv"
        display.remark(f"stopped: {counts(grid.tally(among=to_run))}; results so far: {results}")
        raise


def plan(name: str, out: Path | None, options: Options) -> tuple[Study, Grid]:
    """Returns the study and its cells, before anything is written. Raises ScenarioError."""
    path = find_study(name)
    study, text = load_study(path, overrides=options.overrides)
    planned = expand(study, remember=user_cache().remember)
    folder = RunFolder(out or Path("runs") / study.name)
    request = request_for(study.name, text, planned, folder.path, options.accepted)
    return study, Grid(folder, request, rows_to_skip(study, long=options.long))


def _run(study: Study, grid: Grid, options: Options, place: Engine, display: Display) -> Tally:
    """Runs the grid under its display, and returns the tally in the end."""
    uses = grid.first_uses()
    failed = set()
    events = grid.run(
        jobs=options.jobs or place.cpus,
        limit=options.limit or study.cell_limit,
        max_cells=options.max_cells,
        fail_fast=options.fail_fast,
        play=place.play,
    )
    display.start(study.name, unit="cells", total=len(uses) - len(grid.set_aside()))
    try:
        for tally, event in events:
            cell = "" if isinstance(event, Ticked) else title(uses[event.job.cell.hash])
            if isinstance(event, Finished) and event.state is CellState.FAILED:
                failed.add(event.job.cell.hash)
            display.progress(cell_step(study.name, cell, tally, event))
    finally:
        # Closing the iterator ends the workers; the bar goes last, so that it counts them.
        events.close()
        display.finished()
    return grid.tally(failed)


def _fetch_data(grid: Grid, display: Display) -> None:
    """Downloads the published files of the missing cells. Raises DataError."""

    def show_download(file: str, done: int, total: int | None) -> None:
        display.progress(download_step(file, done, total))

    fetch_missing(grid, show_download)
    display.finished()


def _show(text: str, tally: Tally, folder: Path, display: Display) -> None:
    display.line(
        f"\n{text}\nresults {folder}/results.csv, timings.csv, results.sqlite, tables.md",
        event="end",
        folder=str(folder),
        done=tally.done,
        failed=tally.failed,
        left=tally.left,
        out_of_budget=tally.out_of_budget,
        tables=text,
    )
    if tally.left:
        display.remark(f"{tally.left} cells are left; the same command goes on")


def dry_run(name: str, out: Path | None, options: Options, style: Style) -> None:
    """Shows the cells of a study, and what the missing ones will take. Raises ScenarioError.

    Time and disk space are estimated from the cells that have ended.
    """
    study, grid = plan(name, out, options)
    display = make_display(style)
    states = grid.states()
    missing = {use.cell: use for use in grid.missing(states)}
    labels = Counter(use.label for use in missing.values())
    costs = grid.costs(states)
    jobs = options.jobs or cpus()
    seconds = costs.seconds(labels, jobs)
    size = costs.size(len(missing))
    if style is Style.JSON:
        _show_cells(grid, set(missing), display)
    else:
        _show_rows(grid, set(missing), display)
    display.line(
        _plan_in_words(study, grid, jobs, grid.tally(states=states), seconds, size),
        event="plan",
        study=study.name,
        folder=str(grid.folder.path),
        cells=len(grid.first_uses()),
        left=len(missing),
        seconds_left=seconds,
        bytes_left=size,
    )
    if hint := _other_versions(grid):
        display.remark(hint)


def _show_cells(grid: Grid, missing: set[str], display: Display) -> None:
    """Shows one object a cell, for programs."""
    for use in grid.request.uses:
        is_missing = use.cell in missing
        display.line("", event="cell", cell=use.cell, label=title(use), missing=is_missing)


def _show_rows(grid: Grid, missing: set[str], display: Display) -> None:
    """Shows one line a row of the tables: ended cells of all cells."""
    aside = grid.set_aside()
    for label, uses in _rows(grid).items():
        ended = sum(use.cell not in missing | aside for use in uses)
        remark = " (long: --long runs it)" if any(use.cell in aside for use in uses) else ""
        display.remark(f"{ended:>4}/{len(uses):<4} {label}{remark}")


def _rows(grid: Grid) -> dict[str, list[Use]]:
    rows: dict[str, list[Use]] = {}
    for use in grid.request.uses:
        rows.setdefault(use.label, []).append(use)
    return rows


def _plan_in_words(
    study: Study,
    grid: Grid,
    jobs: int,
    tally: Tally,
    seconds: float | None,
    size: float | None,
) -> str:
    cells = len(grid.first_uses())
    shared = len(grid.request.uses) - cells
    time = "unknown until cells have ended (try --max-cells 4)"
    if seconds is not None:
        time = duration(seconds)
    more = f" ({shared} more shared by rows)" if shared else ""
    disk = "" if size is None else f", {size / 1e6:.1f} MB"
    aside = len(grid.set_aside())
    long = f", {aside} long and not asked for (--long)" if aside else ""
    return (
        f"\n{study.name}: rows {len(_rows(grid))}, seeds {len(study.seeds)}, cells {cells}{more}: "
        f"{tally.done} done, {tally.out_of_budget} out of budget, {tally.failed} failed, "
        f"{tally.left + tally.failed} to run{long}; jobs {jobs}, time {time}{disk}; "
        f"folder {grid.folder.path}"
    )


def _other_versions(grid: Grid) -> str:
    """Says which missing cells ended under other versions of the code, and how to use these.

    A cell is named by its scenario and by the code, because a changed line may change its numbers.
    A change of a comment does not, and the user knows that better than a hash.
    """
    if not set(grid.request.codes) - {code_hash()}:
        return ""
    scenarios = [grid.request.cells[use.cell] for use in grid.missing()]
    lines = [
        f"{count} of the cells to run ended under code {code}: --accept-code {code} uses them"
        for code, count in ended_under(scenarios, grid.folder.path).items()
        if code != code_hash()
    ]
    return "\n".join(lines)
