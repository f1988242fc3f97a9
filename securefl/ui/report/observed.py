"""Who saw what: the messages of a run by party and kind, from its transcript."""

from collections import Counter
from collections.abc import Sequence

from securefl.files import read_lines
from securefl.runs.cell import Cell
from securefl.ui.report.lines import Line, PageTable
from securefl.ui.report.looks import Group

CLIENTS = "clients, each its own"


def observed(cell: Cell) -> PageTable | None:
    """Returns what each party saw in a run; None where no message was noted.

    Raises:
        RunFolderError: the transcript is damaged.
    """
    messages: Counter[tuple[str, str]] = Counter()
    sizes: Counter[tuple[str, str]] = Counter()
    for line in read_lines(cell.folder / "transcript.jsonl"):
        party, kind, size = line.get("party"), line.get("kind"), line.get("bytes")
        # A later version may note other things, of which this one says nothing.
        if not isinstance(party, str) or not isinstance(kind, str) or not isinstance(size, int):
            continue
        who = CLIENTS if party.startswith("client ") else party
        messages[who, kind] += 1
        sizes[who, kind] += size
    if not messages:
        return None
    lines = [
        Line([who, kind, str(count), str(sizes[who, kind])])
        for (who, kind), count in messages.items()
    ]
    lines.sort(key=lambda line: line.cells[0])
    return PageTable("observed", "Who saw what", ["party", "saw", "messages", "bytes"], lines)


def single(groups: Sequence[Group]) -> str | None:
    """Returns the cell of a folder that holds a single one."""
    cells = {look.use.cell for group in groups for look in group.looks}
    return next(iter(cells)) if len(cells) == 1 else None
