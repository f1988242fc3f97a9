"""One static HTML page from a run folder."""

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from securefl.errors import RunFolderError
from securefl.files import read_json, write_atomic
from securefl.runs import RunFolder
from securefl.table import COLUMNS, Row, cells


def write_report(path: Path) -> Path:
    """The page report/index.html of the run folder at path, made anew.

    Raises:
        ScenarioError: path is no run folder.
        RunFolderError: the folder is damaged or cannot be written.
    """
    folder = RunFolder.open(path)
    rows = []
    for label, _, cell in folder.cells():
        metrics, status = cell.metrics(), cell.status()
        note = f"{status['state']}: {status.get('reason', '')}"
        row = cells(Row(label, [metrics] if metrics else [], note))
        rows.append({"cells": row, "state": status["state"], "reason": status.get("reason", "")})
    page = (
        Environment(
            loader=PackageLoader("securefl.report", "."),
            autoescape=select_autoescape(["html", "j2"]),
            undefined=StrictUndefined,
        )
        .get_template("page.html.j2")
        .render(
            title=path.name,
            columns=COLUMNS,
            rows=rows,
            environment=read_json(path / "env.json"),
            scenario=folder.request().text,
            resolved=[{"label": label, "values": values} for label, values, _ in folder.cells()],
        )
    )
    target = path / "report" / "index.html"
    try:
        target.parent.mkdir(exist_ok=True)
        write_atomic(target, page.encode())
    except OSError as reason:
        raise RunFolderError(f"cannot write {target}: {reason.strerror}") from None
    return target
