"""The part of the page on the lint: named mistakes in the privacy claims of a folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from securefl.runs.folder import RunFolder
from securefl.ui.report.looks import Group, has_begun
from securefl.ui.report.sharing import shareable

MAX_CELLS = 6  # with a claim: each takes the lint a fifth of a second or more
MAX_BYTES = 2_000_000  # of their ledgers


class Checks(NamedTuple):
    """What the lint found.

    Attributes:
        lines: the mistakes and remarks, in words.
        mistakes: names of the mistakes that refute a claim.
        extent: how much of the folder it looked at.
    """

    lines: Sequence[str]
    mistakes: Sequence[str]
    extent: str


def checks(folder: RunFolder, groups: Sequence[Group]) -> Checks:
    """Returns what the lint finds in the first cell of each row, as far as that takes no time.

    Raises:
        RunFolderError: a file other than a ledger is damaged.
    """
    claiming = [group for group in groups if group.claims]
    if not claiming:
        return Checks([], [], "No cell makes a privacy claim, so that there is none to check.")
    cells = _cells(folder, claiming)
    if not cells:
        return Checks([], [], "The lint has nothing to look at: no cell with a claim has begun.")
    # Only now: it imports torch, for which pages without a claim need not wait.
    from securefl.audit.lint import examine, mistake_lines

    reports = examine(folder.path, only=cells)
    *lines, _ = mistake_lines(reports)
    found = [finding.name for report in reports for finding in report.findings if finding.grave]
    mistakes = list(dict.fromkeys(found))
    return Checks([shareable(line) for line in lines], mistakes, _extent(claiming, cells, lines))


def _cells(folder: RunFolder, groups: Sequence[Group]) -> list[str]:
    """The first cell of each row that has begun, while the ledgers are small."""
    cells: list[str] = []
    size = 0
    for group in groups:
        name = next((look.use.cell for look in group.looks if has_begun(look)), None)
        if name is None or name in cells:
            continue
        size += sum(_size(file) for file in folder.named(name).ledgers.glob("*"))
        if cells and (size > MAX_BYTES or len(cells) == MAX_CELLS):
            break
        cells.append(name)
    return cells


def _size(file: Path) -> int:
    return file.stat().st_size


def _extent(groups: Sequence[Group], cells: Sequence[str], lines: Sequence[str]) -> str:
    distinct = {look.use.cell for group in groups for look in group.looks if look.claims}
    found = "" if lines else "The lint found no mistake. "
    if len(distinct) == 1:
        return found or "The lint looked at the run's scenario, ledgers and records."
    return (
        f"{found}The lint looked at {len(cells)} of {len(distinct)} cells with a claim, the first "
        "of each row. The command securefl audit with this folder looks at all of them."
    )
