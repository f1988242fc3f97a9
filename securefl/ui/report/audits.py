"""Reads the audits in a folder, for its page: findings, verdicts and figures."""

import base64
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from securefl.audit.findings import Findings
    from securefl.ui.report.document.blocks import Document

PATTERN = "audit-*.json"


class Picture(NamedTuple):
    """A picture of the page: its caption, and its source as a data URI."""

    text: str
    source: str


class AuditPart(NamedTuple):
    """The page's part on one audit.

    Attributes:
        findings: of the audit.
        document: made from them.
        pictures: reconstructed images, if they were asked for.
    """

    findings: "Findings"
    document: "Document"
    pictures: Sequence[Picture]


def audits_in(path: Path) -> list[AuditPart]:
    """Returns the audits of a folder, by name, each with its pictures as data URIs.

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
    from securefl.ui.report.figures import figures_of_audit

    audits = [shared(Findings.read(file)) for file in files]
    return [
        AuditPart(
            findings=findings,
            # Ids in a drawing begin with its name, and a page may hold several audits.
            document=document_of(
                findings, audits, figures_of_audit(findings, name=f"roc-{number}")
            ),
            pictures=list(_pictures(findings.pictures)),
        )
        for number, findings in enumerate(audits, start=1)
    ]


def _pictures(file: Path) -> Iterator[Picture]:
    """Reconstructed images, where they were kept."""
    if file.is_file():
        # Inside the page, so that the page can be sent on as one file.
        coded = base64.b64encode(file.read_bytes()).decode()
        text = "TRAINING RECORDS, and what attacks reconstructed of them"
        yield Picture(text, f"data:image/svg+xml;base64,{coded}")
