"""Prints what `securefl audit` found: named mistakes of a run, and what adversaries learn."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from securefl.audit.lint import CellMistakes, mistake_lines
from securefl.privacy.lint.mistakes import MISTAKES
from securefl.ui.display import Display
from securefl.ui.progress import download_step

if TYPE_CHECKING:  # importing torch takes seconds, which a search for mistakes need not wait for
    from securefl.audit.findings import Findings
    from securefl.audit.request import AuditRequest
    from securefl.federation.record import RoundRecord

SECONDS_BETWEEN_REPORTS = 5.0  # an audit plays many runs; one line a round would hide the rest


def show_mistakes(reports: Sequence[CellMistakes], display: Display) -> bool:
    """Prints the named mistakes of a run folder. Returns whether one refutes a claim."""
    for line in mistake_lines(reports):
        display.line(line)
    names = dict.fromkeys(finding.name for report in reports for finding in report.findings)
    for name in names:
        mistake = MISTAKES[name]
        display.line(f"{name}: {mistake.why} [{mistake.source}]", mistake=name)
    return any(report.grave for report in reports)


def show_leakage(request: "AuditRequest", display: Display) -> bool:
    """Measures what adversaries learn, and prints it. Returns whether a claim is violated."""
    from securefl.audit.audit import audit
    from securefl.audit.lines import Verdict
    from securefl.audit.request import ALL
    from securefl.audit.verdicts import worst
    from securefl.ui.figures import draw_findings

    def show_download(file: str, done: int, total: int | None) -> None:
        display.progress(download_step(file, done, total))

    by_adversary = audit(
        request, say=display.line, on_round=_seldom(display), on_bytes=show_download
    )
    show = _show_all if request.adversary == ALL else _show_one
    show(by_adversary, request, display)
    for findings in by_adversary.values():
        pictures = draw_findings(findings, pictures=request.pictures)
        if pictures is not None:
            display.line(f"TRAINING RECORDS are shown in {pictures}")
    verdict = worst(findings.verdict for findings in by_adversary.values())
    return verdict is Verdict.VIOLATED


def _show_one(
    by_adversary: Mapping[str, "Findings"], request: "AuditRequest", display: Display
) -> None:
    from securefl.audit.findings import report_lines

    (findings,) = by_adversary.values()
    for line in report_lines(findings):
        display.line(line)
    display.line(
        f"again: {request.command}",
        verdict=findings.verdict.value,
        claim=findings.claim,
        lines=[line.to_json() for line in findings.lines],
        exposures=[exposure.to_json() for exposure in findings.exposures],
        folder=str(findings.folder),
    )


def _show_all(
    by_adversary: Mapping[str, "Findings"], request: "AuditRequest", display: Display
) -> None:
    from securefl.audit.parties import party_lines
    from securefl.audit.verdicts import worst

    for line in party_lines(by_adversary):
        display.line(line)
    first = next(iter(by_adversary.values()))
    display.line(
        f"again: {request.command}",
        verdict=worst(findings.verdict for findings in by_adversary.values()).value,
        claim=first.claim,
        adversaries={name: findings.to_json() for name, findings in by_adversary.items()},
        folder=str(first.folder),
    )


def _seldom(display: Display) -> Callable[[str, "RoundRecord"], None]:
    """Reports a round of a replay now and then: most take too little time to be named."""
    reported = time.monotonic()

    def report(label: str, record: "RoundRecord") -> None:
        nonlocal reported
        if time.monotonic() - reported > SECONDS_BETWEEN_REPORTS:
            reported = time.monotonic()
            display.line(f"{label}: round {record.round + 1}")

    return report
