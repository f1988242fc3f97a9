"""Named mistakes of federated DP, looked for in what a run was asked, what it booked and what it did."""

from securefl.privacy.lint.case import Case, Finding
from securefl.privacy.lint.mistakes import MISTAKES


def lint(case: Case) -> list[Finding]:
    """Every named mistake that shows in the case, in the order of `MISTAKES`."""
    return [
        Finding(name, told, mistake.grave)
        for name, mistake in MISTAKES.items()
        if (told := mistake.look(case)) is not None
    ]
