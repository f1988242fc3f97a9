"""The part of the page on ledgers: epsilon by client, and how much of the budget is left."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from securefl.files import read_lines
from securefl.runs.folder import RunFolder
from securefl.ui.report.lines import Line, PageTable
from securefl.ui.report.looks import Group, Look
from securefl.ui.report.security import data_uri
from securefl.ui.report.sharing import named
from securefl.ui.report.table import Table, Value, csv_of

MAX_LINES = 40  # one a client; beyond that, one a row of the study


class Spending(NamedTuple):
    """What was spent.

    Attributes:
        table: by client, or by row where there are many; None where nothing was.
        notes: what the ledgers of cells hold that have not ended.
    """

    table: PageTable | None
    notes: Sequence[str]


def spending(folder: RunFolder, groups: Sequence[Group]) -> Spending:
    """Returns what clients spent in the runs of a folder, of which budget.

    Raises:
        RunFolderError: a ledger is damaged.
    """
    claiming = [group for group in groups if group.claims]
    clients = sum(len(_largest(group)) for group in claiming)
    table = _by_row(claiming)
    if 0 < clients <= MAX_LINES:
        table = _by_client(claiming)
    return Spending(table, list(_reserved(folder, claiming)))


def _largest(group: Group) -> dict[str, float]:
    """Client -> the largest epsilon that it spent with any seed."""
    spent: dict[str, float] = {}
    for run in group.runs:
        for client, epsilon in run.get("epsilons", {}).items():
            spent[client] = max(epsilon, spent.get(client, 0.0))
    return spent


def _budget(group: Group) -> float:
    return max(float(look.scenario["privacy"]["epsilon"]) for look in group.looks if look.claims)


def _by_client(groups: Sequence[Group]) -> PageTable:
    head = ["row", "client", "epsilon spent", "budget", "left"]
    numbers: list[list[Value]] = [
        [group.name, client, spent, _budget(group), _left(_budget(group), spent)]
        for group in groups
        for client, spent in _largest(group).items()
    ]
    return _table(head, numbers)


def _by_row(groups: Sequence[Group]) -> PageTable | None:
    head = ["row", "clients", "least epsilon spent", "most epsilon spent", "budget", "left"]
    numbers: list[list[Value]] = []
    for group in groups:
        spent = _largest(group).values()
        if spent:
            budget = _budget(group)
            least, most = min(spent), max(spent)
            numbers.append([group.name, len(spent), least, most, budget, _left(budget, most)])
    return _table(head, numbers) if numbers else None


def _left(budget: float, spent: float) -> float:
    """What is left of a budget: 0 where rounding, or a finer grid of losses, spent more."""
    return max(0.0, budget - spent)


def _table(head: Sequence[str], numbers: Sequence[Sequence[Value]]) -> PageTable:
    lines = [Line([_text(value) for value in row]) for row in numbers]
    link = data_uri("text/csv", csv_of(Table(head, numbers)))
    return PageTable("ledgers", "Epsilon by client", head, lines, link)


def _text(value: Value) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _reserved(folder: RunFolder, groups: Sequence[Group]) -> Iterator[str]:
    """Says how many releases the ledgers of cells hold that have not ended: they stay paid."""
    for group in groups:
        for look in group.looks:
            reserved = _releases(folder, look) if look.metrics is None else {}
            if reserved:
                most = max(reserved.values())
                yield (
                    f"{named(group.label)} has not ended: {len(reserved)} ledgers hold up to "
                    f"{most} reserved releases, which stay paid."
                )


def _releases(folder: RunFolder, look: Look) -> Mapping[str, int]:
    """Ledger -> the releases that it reserved."""
    ledgers = sorted(folder.named(look.use.cell).ledgers.glob("*.jsonl"))
    counts = {
        file.stem: sum(line.get("kind") == "reserve" for line in read_lines(file))
        for file in ledgers
    }
    return {client: count for client, count in counts.items() if count}
