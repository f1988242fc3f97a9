"""Reads the audits in a folder, for its page: findings, verdicts and figures."""

import base64
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from securefl.audit.findings import Findings
    from securefl.audit.lines import Line

PATTERN = "audit-*.json"


class Figure(NamedTuple):
    """A figure of the page: its caption, and the picture as a data URI."""

    text: str
    source: str


class AuditPart(NamedTuple):
    """The page's part on one audit.

    Attributes:
        findings: of the audit.
        verdict: in words.
        columns: heads of the table of attacks.
        rows: the cells of each of its lines, with the line.
        exposure_columns: heads of the table of exposures.
        no_evidence: the sentence below that table.
        figures: curves and pictures.
    """

    findings: "Findings"
    verdict: str
    columns: Sequence[str]
    rows: Sequence[tuple[Sequence[str], "Line"]]
    exposure_columns: Sequence[str]
    no_evidence: str
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
    from securefl.audit.exposure.result import HEAD as EXPOSURE_HEAD
    from securefl.audit.exposure.result import NO_EVIDENCE
    from securefl.audit.findings import Findings
    from securefl.audit.lines import MEANINGS, table

    audits = []
    for file in files:
        findings = Findings.read(file)
        head, *rows = table(findings.lines)
        audits.append(
            AuditPart(
                findings=findings,
                verdict=MEANINGS[findings.verdict],
                columns=head,
                rows=list(zip(rows, findings.lines, strict=True)),
                exposure_columns=EXPOSURE_HEAD,
                no_evidence=NO_EVIDENCE,
                figures=list(_figures(findings.curves, findings.pictures)),
            )
        )
    return audits


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
