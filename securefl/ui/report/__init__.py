"""One static HTML page from a run folder, with the audits in it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from securefl.errors import RunFolderError, ScenarioError
from securefl.files import read_json, write_atomic
from securefl.runs.cell import Cell
from securefl.runs.choosing import choosing_words
from securefl.runs.folder import RunFolder
from securefl.runs.lineage import with_marks
from securefl.runs.metrics import RunMetrics
from securefl.runs.table import Row, cells, heads, metrics_shown
from securefl.scenario.claim_words import claim_words
from securefl.ui.report.audits import audits_in
from securefl.ui.report.document.signs import allowed
from securefl.ui.report.document.write import document_files, write_files
from securefl.ui.report.remarks import remarks_in

Group = list[tuple[Mapping[str, Any], Cell]]  # resolved scenarios and their cells

VALIDATION = "judged on VALIDATION records: for choosing, not for results"


class ReportLine(NamedTuple):
    """A line of the page's table.

    Attributes:
        cells: the label and the metrics, as text.
        state: of the cells behind it, in words.
        worst: state that colours the line; "" for none.
        remarks: below the state.
    """

    cells: list[str]
    state: str
    worst: str
    remarks: list[str]


class LabelledScenario(NamedTuple):
    """A label, and the values in force in its first cell."""

    label: str
    in_force: Mapping[str, Any]


class RunsPart(NamedTuple):
    """The page's part on the runs of a folder.

    Attributes:
        columns: heads of the table.
        rows: its lines.
        notes: below the table.
        environment: in which the runs were made, as env.json holds it.
        scenario: the text that was given.
        tables: Markdown of a study; "" without one.
        resolved: the scenarios, one a label.
    """

    columns: Sequence[str]
    rows: list[ReportLine]
    notes: Sequence[str]
    environment: Mapping[str, Any]
    scenario: str
    tables: str
    resolved: list[LabelledScenario]


def write_report(path: Path) -> Path:
    """Writes report/index.html into a run folder or a folder of audits, and returns its path.

    Next to it come each audit as Markdown, findings.json and junit.xml, where there are audits.

    Raises:
        ScenarioError: `path` is no such folder.
        RunFolderError: the folder is damaged or cannot be written.
    """
    audits = audits_in(path)
    if not audits and not RunFolder.is_at(path):
        raise ScenarioError(f"{path} is not a run folder, and holds no audits")
    run = _run(path) if RunFolder.is_at(path) else None
    # Labels and scenarios are what users wrote: everything is escaped, and a forgotten value is an
    # error instead of an empty cell.
    environment = Environment(
        loader=PackageLoader("securefl.ui.report", "."),
        autoescape=select_autoescape(["html", "j2"]),
        undefined=StrictUndefined,
    )
    template = environment.get_template("page.html.j2")
    page = allowed(template.render(title=path.name, run=run, audits=audits))
    files = document_files(
        [audit.findings for audit in audits], [audit.document for audit in audits]
    )
    target = path / "report" / "index.html"
    try:
        target.parent.mkdir(exist_ok=True)
        write_files(target.parent, files)
        write_atomic(target, page.encode())
    except OSError as reason:
        raise RunFolderError(f"cannot write {target}: {reason.strerror}") from None
    return target


def _run(path: Path) -> RunsPart:
    """Returns what the page says of the runs in a folder."""
    folder = RunFolder.open(path)
    remarks = remarks_in(path)
    groups = _groups(folder)
    rows = {label: _row(label, group) for label, group in groups.items()}
    metrics = metrics_shown(rows.values())
    lines = [_line(rows[label], group, metrics) for label, group in groups.items()]
    lines += [_refused(label, reason, metrics) for label, reason in remarks.refused.items()]
    scenarios = _first_scenarios(folder)
    tables = path / "tables.md"
    return RunsPart(
        columns=heads(metrics),
        rows=lines,
        notes=remarks.notes,
        environment=read_json(path / "env.json"),
        scenario=folder.request().text,
        tables=tables.read_text(encoding="utf-8") if tables.is_file() else "",
        # A page is for others: where its scenario lay on this machine is none of their business.
        resolved=[
            LabelledScenario(label, {**values, "folder": None})
            for label, values in scenarios.items()
        ],
    )


def _groups(folder: RunFolder) -> dict[str, Group]:
    """Returns label -> the cells of all its seeds; each part of a row has a group of its own."""
    groups: dict[str, Group] = {}
    request = folder.request()
    for use in request.uses:
        label = f"{use.label}, {use.part}" if use.part else use.label
        scenario = request.cells[use.cell]
        cell = folder.named(use.cell)
        group = groups.setdefault(label, [])
        group.append((scenario, cell))
    return groups


def _row(label: str, group: Group) -> Row:
    """Returns a row of the table: the metrics over the seeds, or the states without any."""
    runs = []
    for scenario, cell in group:
        metrics = cell.metrics()
        if metrics:
            runs.append(with_marks(metrics, scenario, cell))
    return Row(label, runs, _states_in_words(_states(group)))


def _line(row: Row, group: Group, metrics: Sequence[str]) -> ReportLine:
    """Returns a line of the table: a row with its states and remarks."""
    states = _states(group)
    remarks = [cell.status().reason for _, cell in group]
    # Results on validation records look like results; only the page's reader can know the better.
    if any(scenario["data"].get("test_on") == "validation" for scenario, _ in group):
        remarks.append(VALIDATION)
    remarks += _losses(row.runs)
    # The channels of a row's cells are alike, but parts of a row may make other claims.
    remarks += [claim_words(scenario) for scenario, _ in group]
    worst = next((state for state in ("failed", "out of budget") if state in states), "")
    return ReportLine(
        cells=cells(row, metrics),
        state=_states_in_words(states),
        worst=worst,
        remarks=list(dict.fromkeys(filter(None, remarks))),
    )


def _states(group: Group) -> Counter[str]:
    return Counter(cell.status().state.value for _, cell in group)


def _states_in_words(states: Counter[str]) -> str:
    if states.total() == 1:
        return next(iter(states))
    return ", ".join(f"{count} {state}" for state, count in states.items())


def _losses(runs: Sequence[RunMetrics]) -> list[str]:
    """Says how many rounds were abandoned, and which clients took no part."""
    remarks = []
    abandoned = sum(metrics["abandoned"] for metrics in runs)
    if abandoned:
        rounds = sum(metrics["rounds"] for metrics in runs)
        verb = "was" if abandoned == 1 else "were"
        remarks.append(f"{abandoned} of {rounds} rounds {verb} abandoned")
    for metrics in runs:
        for client, reason in metrics.get("left_out", {}).items():
            remarks.append(f"client {client} took no part: {reason}")
        remarks += choosing_words(metrics)
    return remarks


def _refused(label: str, reason: str, metrics: Sequence[str]) -> ReportLine:
    """Returns the line of a setting that was refused, and so has no run."""
    return ReportLine(cells(Row(label), metrics), state=reason, worst="refused", remarks=[])


def _first_scenarios(folder: RunFolder) -> dict[str, Mapping[str, Any]]:
    """Returns label -> the values in force in its first cell; other cells differ in their seeds."""
    scenarios: dict[str, Mapping[str, Any]] = {}
    for label, scenario, _ in folder.cells():
        scenarios.setdefault(label, scenario)
    return scenarios
