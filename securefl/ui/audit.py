"""What `securefl audit` prints."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from securefl.audit.lint import Verdict, told
from securefl.privacy.lint.mistakes import MISTAKES
from securefl.ui.display import Display
from securefl.ui.progress import download_step

if TYPE_CHECKING:  # torch: seconds that a search for mistakes need not wait
    from securefl.audit.findings import Asked
    from securefl.federation.record import RoundRecord

SECONDS_BETWEEN_ROUNDS = 5.0  # an audit plays many runs; one line a round would hide the rest


def show_mistakes(verdicts: Sequence[Verdict], shown: Display) -> bool:
    """Prints the named mistakes of a run folder; returns whether one refutes its claim."""
    for line in told(verdicts):
        shown.line(line)
    names = [finding.name for verdict in verdicts for finding in verdict.findings]
    for name in dict.fromkeys(names):
        mistake = MISTAKES[name]
        shown.line(f"{name}: {mistake.why} [{mistake.source}]", mistake=name)
    return any(verdict.grave for verdict in verdicts)


def show_leakage(asked: "Asked", shown: Display) -> bool:
    """Audits, and prints the verdicts; returns whether a claim is violated."""
    from securefl.audit.audit import audit
    from securefl.audit.exposure.result import exposure_facts
    from securefl.audit.findings import lines_of
    from securefl.audit.verdicts import Stand, facts

    printed_at = time.monotonic()

    def note(label: str, record: "RoundRecord") -> None:
        nonlocal printed_at
        if time.monotonic() - printed_at > SECONDS_BETWEEN_ROUNDS:
            printed_at = time.monotonic()
            shown.line(f"{label}: round {record.round + 1}")

    def show_download(file: str, done: int, total: int | None) -> None:
        shown.progress(download_step(file, done, total))

    findings = audit(asked, say=shown.line, on_round=note, on_bytes=show_download)
    for line in lines_of(findings):
        shown.line(line)
    shown.line(
        f"again: {asked.command}",
        verdict=findings.stand.value,
        claim=findings.claim,
        lines=[facts(line) for line in findings.lines],
        exposures=[exposure_facts(exposure) for exposure in findings.exposures],
        folder=str(findings.folder),
    )
    return findings.stand is Stand.VIOLATED
