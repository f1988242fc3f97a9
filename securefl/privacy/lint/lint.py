"""Looks for named mistakes of federated DP in a run's scenario, ledgers and records."""

from securefl.privacy.lint.case import Case, Finding
from securefl.privacy.lint.mistakes import MISTAKES


def lint(case: Case) -> list[Finding]:
    """Returns every named mistake that shows in the case, in the order of `MISTAKES`."""
    findings = []
    for name, mistake in MISTAKES.items():
        message = mistake.look(case)
        if message is not None:
            findings.append(Finding(name, message, mistake.grave))
    return findings
