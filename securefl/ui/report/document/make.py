"""Makes the document of an audit from its findings, and the documents of a folder."""

from collections.abc import Sequence

from securefl.audit.findings import Findings
from securefl.ui.report.document.blocks import Block, Cells, Document, Items, Section, Words
from securefl.ui.report.document.explained import CLAIM
from securefl.ui.report.document.measured import measured_section, verdict_section
from securefl.ui.report.document.scoped import (
    adversary_section,
    repeat_section,
    scope_section,
)
from securefl.ui.report.document.untested import (
    limits,
    unasked_adversaries,
    untested_attacks,
)
from securefl.ui.report.figure import Figure
from securefl.ui.report.table import Table

LEARNED = "What the adversary learned:"


def document_of(
    findings: Findings, audits: Sequence[Findings], figures: Sequence[Figure] = ()
) -> Document:
    """Returns the document of an audit.

    Args:
        findings: of this audit.
        audits: all in its folder, which tell what adversaries were asked.
        figures: drawings of what it measured.
    """
    sections = (
        scope_section(findings),
        adversary_section(findings),
        measured_section(findings, figures),
        verdict_section(findings),
        _untested_section(findings, audits),
        repeat_section(findings),
    )
    return Document(
        name=findings.file.stem,
        title=_title(findings),
        learned=LEARNED,
        headlines=findings.headlines,
        verdict=findings.verdict.value,
        meaning=CLAIM[findings.verdict],
        sections=sections,
    )


def _title(findings: Findings) -> str:
    scope = findings.scope
    if scope is None:
        return findings.file.stem
    return f"Audit: {scope.adversary} looks at client {scope.target}"


def _untested_section(findings: Findings, audits: Sequence[Findings]) -> Section:
    """Returns attacks and adversaries that were left out, and what no audit can show."""
    blocks: list[Block] = []
    attacks = untested_attacks(findings)
    if attacks:
        table = Table(("attack or check", "what it does", "why not"), attacks)
        blocks.append(Cells("Attacks and checks of securefl that came to no result", table))
    adversaries = unasked_adversaries(findings, audits)
    if adversaries:
        table = Table(("adversary", "who", "why not"), adversaries)
        blocks.append(Cells("Adversaries of this scenario that this folder has no audit of", table))
    blocks += [Words("No audit shows the following."), Items(limits(findings))]
    return Section("What was not tested", blocks)
