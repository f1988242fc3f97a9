"""The audits of a folder, for its page: verdicts, what updates reveal, and figures."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from securefl.errors import RunFolderError
from securefl.files import read_json

NAMES = "audit-*.json"
COLUMNS = (
    "verdict",
    "attack",
    "AUC",
    "TPR at 1 % FPR / claimed",
    "TPR at .1 % FPR / claimed",
    "epsilon >=",
)
# The console leaves this column out where no attack had enough records for it, and so does the page.
COLUMN_OF_FINEST_RATE = 4
FIGURES = {
    "": "ROC of every attack",
    "-pictures": "TRAINING RECORDS, and what attacks reconstructed of them",
}


def audits_in(path: Path) -> list[dict[str, Any]]:
    """Reads the audits of a folder, by name, each with its figures as data URIs.

    Raises:
        RunFolderError: a file of an audit is damaged.
    """
    audits = []
    for file in sorted(path.glob(NAMES)):
        audit = _checked(file)
        shown = _shown_columns(audit["lines"])
        for line in audit["lines"]:
            line["told"] = [line["told"][column] for column in shown]
        audit["columns"] = [COLUMNS[column] for column in shown]
        audit["figures"] = list(_figures(file))
        audits.append(audit)
    return audits


def _checked(file: Path) -> dict[str, Any]:
    """Reads an audit. Raises RunFolderError where the page could not show it."""
    audit = dict(read_json(file))
    try:
        texts = [audit["command"], audit["claim"], audit["verdict"], *audit["notes"]]
        texts += audit.setdefault("findings", [])
        for line in audit["lines"]:
            texts += _texts_of_line(line)
        for exposure in audit["exposures"]:
            if len(exposure["told"]) != 2:
                raise ValueError
            texts += [exposure["attack"], exposure["why"], *exposure["told"]]
        if not all(isinstance(text, str) for text in texts):
            raise TypeError
    except (KeyError, TypeError, ValueError):
        raise RunFolderError(f"{file} is damaged: it is not what an audit writes") from None
    return audit


def _texts_of_line(line: dict[str, Any]) -> list[str]:
    """Checks the numbers of a line, and returns its texts."""
    line.setdefault("told", _columns_of_an_old_line(line))
    line["is_fine"] = _has_finest_rate(line)
    if len(line["told"]) != len(COLUMNS):
        raise ValueError
    for number in (line["auc"], line["epsilon"]):
        if number is not None:
            float(number)
    return [line["verdict"], line["attack"], line["why"], *line["told"]]


def _has_finest_rate(line: dict[str, Any]) -> bool:
    points = line.get("points", [])
    return bool(points) and points[-1]["true_positive_rate"] is not None


def _shown_columns(lines: list[dict[str, Any]]) -> list[int]:
    columns = list(range(len(COLUMNS)))
    if not any(line["is_fine"] for line in lines):
        columns.remove(COLUMN_OF_FINEST_RATE)
    return columns


def _columns_of_an_old_line(line: dict[str, Any]) -> list[str]:
    """Returns the columns of a line in a file from before audits wrote the columns themselves."""
    area = "" if line["auc"] is None else f"{float(line['auc']):.3f}"
    epsilon = "" if line["epsilon"] is None else f"{float(line['epsilon']):.3g}"
    return [line["verdict"], line["attack"], area, "", "", epsilon]


def _figures(file: Path) -> Iterator[dict[str, str]]:
    """Yields the curves, then reconstructed pictures where they were kept."""
    for suffix, text in FIGURES.items():
        figure = file.with_name(f"{file.stem}{suffix}.svg")
        if figure.is_file():
            # Inside the page, so that the page can be sent on as one file.
            coded = base64.b64encode(figure.read_bytes()).decode()
            yield {"text": text, "source": f"data:image/svg+xml;base64,{coded}"}
