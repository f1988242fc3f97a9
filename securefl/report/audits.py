"""What audits left in a folder, for its page: verdicts, what updates show, and their figures."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from securefl.files import read_json

NAMES = "audit-*.json"


def audits_in(path: Path) -> list[dict[str, Any]]:
    """The audits of a folder, by name, each with its figures as data URIs.

    Raises:
        RunFolderError: a file of theirs is damaged.
    """
    return [dict(read_json(file)) | {"figures": list(_figures(file))} for file in sorted(path.glob(NAMES))]


def _figures(file: Path) -> Iterator[dict[str, str]]:
    """The curves, then reconstructed pictures where they were kept."""
    told = {"": "ROC of every attack", "-pictures": "TRAINING RECORDS, and what attacks reconstructed of them"}
    for suffix, text in told.items():
        figure = file.with_name(f"{file.stem}{suffix}.svg")
        if figure.is_file():
            coded = base64.b64encode(figure.read_bytes()).decode()
            yield {"text": text, "source": f"data:image/svg+xml;base64,{coded}"}
