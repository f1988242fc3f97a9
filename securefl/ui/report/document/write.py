"""Writes the documents of a folder of audits next to its page."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from securefl.files import write_atomic

if TYPE_CHECKING:
    from securefl.audit.findings import Findings
    from securefl.ui.report.document.blocks import Document

FINDINGS = "findings.json"
JUNIT = "junit.xml"
_DOCUMENTS = "audit-*.md"


def document_files(
    audits: Sequence["Findings"], documents: Sequence["Document"]
) -> dict[str, bytes]:
    """Returns name -> content of the files of audits: a document each, findings and verdicts."""
    # Only now: a page without audits need not wait for these.
    from securefl.ui.report.document.junit import junit_of
    from securefl.ui.report.document.machine import findings_json
    from securefl.ui.report.document.markdown import markdown_of

    if not audits:
        return {}
    files = {f"{document.name}.md": markdown_of(document).encode() for document in documents}
    return {**files, FINDINGS: findings_json(audits), JUNIT: junit_of(audits)}


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    """Writes the files of a report, and removes those of audits that are gone.

    Raises:
        OSError: one cannot be written.
    """
    earlier = {path.name for path in folder.glob(_DOCUMENTS)}
    earlier |= {name for name in (FINDINGS, JUNIT) if (folder / name).is_file()}
    for name, content in files.items():
        write_atomic(folder / name, content)
    for name in sorted(earlier - set(files)):
        (folder / name).unlink(missing_ok=True)
