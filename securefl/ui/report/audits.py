"""Reads the audits in a folder, for its page: findings, verdicts and figures."""

import base64
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from securefl.audit.findings import Findings
    from securefl.ui.report.document.blocks import Document

PATTERN = "audit-*.json"


class Figure(NamedTuple):
    """A figure of the page: its caption, and the picture as a data URI."""

    text: str
    source: str


class AuditPart(NamedTuple):
    """The page's part on one audit.

    Attributes:
        findings: of the audit.
        document: made from them.
        figures: curves and pictures.
    """

    findings: "Findings"
    document: "Document"
    figures: Sequence[Figure]


def audits_in(path: Path) -> list[AuditPart]:
    """Returns the audits of a folder, by name, each with its figures as data URIs.

    Raises:
        RunFolderError: a file is damaged.
    """
    files = sorted(path.glob(PATTERN))
    if not files:
        return []
    # Only now: reading findings imports torch, which takes seconds that most pages need not wait.
    from securefl.audit.findings import Findings
    from securefl.ui.report.document.make import document_of
    from securefl.ui.report.document.paths import shared

    audits = [shared(Findings.read(file)) for file in files]
    return [
        AuditPart(
            findings=findings,
            document=document_of(findings, audits),
            figures=list(_figures(findings.curves, findings.pictures)),
        )
        for findings in audits
    ]


def _figures(curves: Path, pictures: Path) -> Iterator[Figure]:
    """The curves, then reconstructed images where they were kept."""
    captions = {
        curves: "ROC of every attack",
        pictures: "TRAINING RECORDS, and what attacks reconstructed of them",
    }
    for figure, text in captions.items():
        if figure.is_file():
            # Inside the page, so that the page can be sent on as one file.
            coded = base64.b64encode(figure.read_bytes()).decode()
            yield Figure(text, f"data:image/svg+xml;base64,{coded}")
