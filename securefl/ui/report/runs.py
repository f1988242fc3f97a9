"""The page's part on the runs of a folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from securefl.errors import RunFolderError, ScenarioError
from securefl.files import parse_toml, read_json
from securefl.runs.folder import Request, RunFolder
from securefl.ui.report.checks import Checks, checks
from securefl.ui.report.figure import Figure
from securefl.ui.report.figures import figures_of
from securefl.ui.report.lines import PageTable, table_of_cells, table_of_rows, table_of_sites
from securefl.ui.report.looks import groups_of, looks_at
from securefl.ui.report.markdown import Block, blocks_in
from securefl.ui.report.observed import observed, single
from securefl.ui.report.remarks import REMARKS, remarks_in
from securefl.ui.report.repeat import Repeat, repeat
from securefl.ui.report.security import data_uri
from securefl.ui.report.sharing import shareable
from securefl.ui.report.spending import Spending, spending
from securefl.ui.report.states import Notice, notices
from securefl.ui.report.table import csv_of
from securefl.ui.report.values import Values, values_in
from securefl.ui.report.verdict import verdict

LANE = "lane"  # names of figures of who saw what begin with it


class Picture(NamedTuple):
    """A figure, and its numbers as CSV behind a link."""

    figure: Figure
    source: str


class RunsPart(NamedTuple):
    """The page's part on the runs of a folder.

    Attributes:
        title: of the study; "" where it has none.
        kind: "study", "run" or "runs".
        notices: what has to be said before the numbers.
        verdict: in three sentences at most.
        values: in force.
        lanes: the figures of who saw what, one for each kind of run.
        seen: the same as a table, of a single run.
        pictures: all other figures.
        study: the tables that a study wrote.
        rows: one line a row.
        sites: one line a site, of a single run.
        cells: one line a cell, where rows have several.
        notes: below the tables.
        spending: of the clients.
        checks: of the claims.
        repeat: how to repeat the runs.
        scenario: the text that was given.
    """

    title: str
    kind: str
    notices: Sequence[Notice]
    verdict: Sequence[str]
    values: Values
    lanes: Sequence[Picture]
    seen: PageTable | None
    pictures: Sequence[Picture]
    study: Sequence[Block]
    rows: PageTable
    sites: PageTable | None
    cells: PageTable | None
    notes: Sequence[str]
    spending: Spending
    checks: Checks
    repeat: Repeat
    scenario: str


def runs_in(path: Path) -> RunsPart:
    """Returns what the page says of the runs in a folder.

    Raises:
        RunFolderError: a file is damaged.
        ScenarioError: path is no run folder.
    """
    folder = RunFolder.open(path)
    try:
        return _runs(folder)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        raise RunFolderError(
            f"{path} is damaged: a value of resolved.json, or of a file in cells, is missing or of "
            "the wrong type; put a copy back"
        ) from None


def _runs(folder: RunFolder) -> RunsPart:
    request = folder.request()
    environment = read_json(folder.path / "env.json")
    remarks = remarks_in(folder.path)
    groups = groups_of(looks_at(folder, request))
    found = checks(folder, groups)
    pictures = [_picture(figure) for figure in figures_of(folder)]
    lanes = [picture for picture in pictures if picture.figure.name.startswith(LANE)]
    name = single(groups)
    has_remarks = (folder.path / REMARKS).is_file()
    return RunsPart(
        title=_title(request),
        kind=_kind(request),
        notices=notices(request, groups, environment),
        verdict=verdict(request, groups, found.mistakes),
        values=values_in(groups),
        lanes=lanes,
        seen=None if name is None else observed(folder.named(name)),
        pictures=[picture for picture in pictures if picture not in lanes],
        study=blocks_in(folder.path / "tables.md"),
        rows=table_of_rows(groups, remarks),
        sites=table_of_sites(groups),
        cells=table_of_cells(groups),
        notes=[shareable(note) for note in remarks.notes],
        spending=spending(folder, groups),
        checks=found,
        repeat=repeat(request, groups, environment, demo=has_remarks),
        scenario=shareable(request.text),
    )


def _picture(figure: Figure) -> Picture:
    return Picture(figure, data_uri("text/csv", csv_of(figure.table)))


def _title(request: Request) -> str:
    """The title that a study gives itself."""
    if request.study is None:
        return ""
    try:
        title = parse_toml(request.text, "the study").get("title")
    except ScenarioError:
        title = None
    return shareable(title if isinstance(title, str) and title else request.study)


def _kind(request: Request) -> str:
    if request.study is not None:
        return "study"
    return "run" if len(request.cells) == 1 else "runs"
