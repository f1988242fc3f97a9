"""What audits left in a folder, for its page: verdicts, what updates show, and their figures."""

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


def audits_in(path: Path) -> list[dict[str, Any]]:
    """The audits of a folder, by name, each with its figures as data URIs.

    Raises:
        RunFolderError: a file of theirs is damaged.
    """
    return [
        _checked(file) | {"columns": COLUMNS, "figures": list(_figures(file))}
        for file in sorted(path.glob(NAMES))
    ]


def _checked(file: Path) -> dict[str, Any]:
    """What the file holds. Raises RunFolderError where the page could not say it."""
    found = dict(read_json(file))
    try:
        texts = [*(found[key] for key in ("command", "claim", "verdict")), *found["notes"]]
        for line in found["lines"]:
            texts += [line["verdict"], line["attack"], line["why"]]
            line.setdefault("told", _told_before(line))
            texts += line["told"]
            numbers = [value for value in (line["auc"], line["epsilon"]) if value is not None]
            texts += [str(float(value)) for value in numbers]
        for one in found["exposures"]:
            texts += [one["attack"], one["why"], *one["told"]]
            if len(one["told"]) != 2:
                raise ValueError
        texts += found.setdefault("findings", [])
        if not all(isinstance(text, str) for text in texts):
            raise TypeError
    except (KeyError, TypeError, ValueError):
        raise RunFolderError(f"{file} is damaged: it is not what an audit writes") from None
    return found


def _told_before(line: dict[str, Any]) -> list[str]:
    """The columns of a line that an audit wrote before it wrote them itself."""
    area = "" if line["auc"] is None else f"{float(line['auc']):.3f}"
    epsilon = "" if line["epsilon"] is None else f"{float(line['epsilon']):.3g}"
    return [line["verdict"], line["attack"], area, "", "", epsilon]


def _figures(file: Path) -> Iterator[dict[str, str]]:
    """The curves, then reconstructed pictures where they were kept."""
    told = {
        "": "ROC of every attack",
        "-pictures": "TRAINING RECORDS, and what attacks reconstructed of them",
    }
    for suffix, text in told.items():
        figure = file.with_name(f"{file.stem}{suffix}.svg")
        if figure.is_file():
            coded = base64.b64encode(figure.read_bytes()).decode()
            yield {"text": text, "source": f"data:image/svg+xml;base64,{coded}"}
