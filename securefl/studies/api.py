"""Studies from Python, with the same folders and results as `securefl bench`."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securefl.data.download import quiet
from securefl.errors import ScenarioError, SecureflError
from securefl.files import write_atomic
from securefl.runs.cache import user_cache
from securefl.runs.cell import CellState
from securefl.runs.folder import RunFolder
from securefl.runs.pool import Finished
from securefl.runs.results import results
from securefl.runs.threads import cpus
from securefl.scenario.written import to_toml
from securefl.studies.expand import expand
from securefl.studies.find import find_study
from securefl.studies.grid import Grid
from securefl.studies.request import request_for
from securefl.studies.running import fetch_missing, rows_to_skip
from securefl.studies.study import Study, load_study, parse_study


@dataclass(frozen=True)
class StudyResult:
    """What a study gave so far.

    Attributes:
        folder: the run folder, which `securefl compare` and `report` read.
        rows: the lines of results.csv, one a cell, site and metric: column -> value. A cell that
            has not ended has one row without a metric.
        tables: what `securefl bench` prints, in Markdown.
    """

    folder: Path
    rows: list[dict[str, Any]]
    tables: str

    def frame(self) -> Any:
        """Returns the rows as a pandas.DataFrame. Raises SecureflError without pandas."""
        from securefl.runs.result import data_frame  # it loads torch

        return data_frame(self.rows)


@dataclass(frozen=True)
class GivenStudy:
    """A study that is ready to run.

    Attributes:
        study: its tables, checked.
        text: the study as given, which the run folder keeps.
    """

    study: Study
    text: str

    def run(
        self,
        out: Path | str,
        *,
        jobs: int | None = None,
        max_cells: int | None = None,
        long: bool = False,
    ) -> StudyResult:
        """Runs the missing cells in worker processes, and returns the results of all.

        Args:
            out: run folder; made if absent, continued if it holds a study of this name.
            jobs: worker processes; by default one for each CPU.
            max_cells: cells to run at most; None for all.
            long: whether rows that take hours run, too.

        Raises:
            ScenarioError: a cell is no valid scenario, `out` holds something else, or a number is
                below 1; nothing ran.
            SecureflError: cells failed; the results of the others are in the folder. A spent
                privacy budget is no failure: the rows say so in their state.
        """
        for name, number in (("jobs", jobs), ("max_cells", max_cells)):
            if number is not None and number < 1:
                raise ScenarioError(f"{name} must be at least 1, got {number}")
        # Numpy takes a while to import; a study that is refused does not wait for it.
        from securefl.studies.scores import read_scores
        from securefl.studies.tables import study_tables

        path = Path(out)
        planned = expand(self.study, remember=user_cache().remember)
        request = request_for(self.study.name, self.text, planned, path, ())
        skipped = rows_to_skip(self.study, long=long)
        grid = Grid(RunFolder.create(path, request), request, skipped)
        with grid.folder.held():
            grid.folder.ask(request)
            fetch_missing(grid, quiet)
            failures = self._play(grid, jobs or cpus(), max_cells)
            tables = study_tables(self.study, read_scores(path / "results.csv"))
            write_atomic(path / "tables.md", tables.encode())
        if failures:
            raise SecureflError(
                f"{len(failures)} of {len(grid.first_uses())} cells failed, the first because "
                f"{failures[0]}; run() with the same folder tries them again"
            )
        table = results(grid.folder)
        rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
        return StudyResult(path, rows, tables)

    def _play(self, grid: Grid, jobs: int, max_cells: int | None) -> list[str]:
        """Runs the missing cells; returns the reasons of those that failed."""
        events = grid.run(jobs=jobs, limit=self.study.cell_limit, max_cells=max_cells)
        with closing(events):
            return [
                event.reason
                for _, event in events
                if isinstance(event, Finished) and event.state is CellState.FAILED
            ]


def study(given: Mapping[str, Any] | Path | str) -> GivenStudy:
    """Returns a study that is ready to run: many scenarios, over seeds.

    Cells run in worker processes. Code of others is therefore named by references that a worker
    can load, such as "python:FILE.py:function", and never given as an object.

    study({"name": "rules", "seeds": 3, "base": {...}, "axes": {"defense.rule": [...]}}).run("out")

    Args:
        given: the tables of a study file, or the path of one, or the name of a shipped study.

    Raises:
        ScenarioError: it is no study.
    """
    if isinstance(given, Mapping):
        text = to_toml(given)
        return GivenStudy(parse_study(text, name="study"), text)
    return GivenStudy(*load_study(find_study(str(given))))
