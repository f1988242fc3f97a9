"""What `securefl audit` prints."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from securefl.audit.lint import Verdict, told
from securefl.privacy.lint.mistakes import MISTAKES
from securefl.ui.display import Display

if TYPE_CHECKING:  # torch: seconds that who looks for mistakes need not wait
    from securefl.audit.findings import Asked
    from securefl.federation.record import RoundRecord

_SELDOM = 5.0  # seconds between two words about rounds


def show_mistakes(verdicts: Sequence[Verdict], shown: Display) -> bool:
    """Print the named mistakes of a run folder; whether a claim falls."""
    for line in told(verdicts):
        shown.line(line)
    for name in dict.fromkeys(finding.name for verdict in verdicts for finding in verdict.findings):
        shown.line(f"{name}: {MISTAKES[name].why} [{MISTAKES[name].source}]", mistake=name)
    return any(verdict.grave for verdict in verdicts)


def show_leakage(asked: "Asked", shown: Display) -> bool:
    """Measure, and print the verdicts; whether a claim is violated."""
    from securefl.audit.audit import audit
    from securefl.audit.exposure.result import exposure_facts
    from securefl.audit.findings import lines_of
    from securefl.audit.verdicts import Stand, facts

    said = time.monotonic()

    def note(label: str, record: "RoundRecord") -> None:
        nonlocal said
        if time.monotonic() - said > _SELDOM:
            said = time.monotonic()
            shown.line(f"{label}: round {record.round + 1}")

    found = audit(asked, say=shown.line, on_round=note, on_bytes=shown.download)
    for line in lines_of(found):
        shown.line(line)
    shown.line(
        f"again: {asked.command}",
        verdict=found.stand.value,
        claim=found.claim,
        lines=[facts(line) for line in found.lines],
        exposures=[exposure_facts(one) for one in found.exposures],
        folder=str(found.folder),
    )
    return found.stand is Stand.VIOLATED
