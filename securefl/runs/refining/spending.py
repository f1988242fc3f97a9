"""What the sites have spent on all versions of a model, also where a crash cut a version short.

A run begins its ledgers one after another. A version that died before or between them lacks some.
Its other clients have released nothing in it, and what they had spent before is in the ledgers that
were written before its training.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from securefl.errors import LedgerError
from securefl.privacy.past import NO_PAST, Past, past_of
from securefl.privacy.terms import uncovering
from securefl.runs.origin import spent_in
from securefl.runs.refining.plan import PREPAID
from securefl.runs.refining.series import Series


def spent_up_to(series: Series, last: int) -> dict[int, Past]:
    """Returns client -> everything that it has spent on the versions up to one.

    That is the client's last ledger. It goes on from all those before it, which is checked.

    Raises:
        LedgerError: a ledger is damaged, was cut, or lacks something that was spent before.
        ScenarioError: a version has no run.
    """
    spent: dict[int, Past] = {}
    for version in series.versions:
        if version > last:
            break
        if version > 1:
            _go_on(spent, _ledgers(series.folder(version) / PREPAID), version)
        _go_on(spent, spent_in(series.cell(version).cell), version)
    return spent


def check_prepaid(series: Series, version: int) -> None:
    """Checks the ledgers that the training of a version goes on from.

    Raises:
        LedgerError: one lacks something that was spent on an earlier version, released or not.
    """
    booked = _ledgers(series.folder(version) / PREPAID)
    for client, past in spent_up_to(series, version - 1).items():
        _check_holds(client, past, booked.get(client, NO_PAST), version)


def _ledgers(folder: Path) -> dict[int, Past]:
    return {int(file.stem): past_of(file) for file in sorted(folder.glob("*.jsonl"))}


def _go_on(spent: dict[int, Past], ledgers: Mapping[int, Past], version: int) -> None:
    """Replaces what clients have spent by what later ledgers say."""
    for client, past in ledgers.items():
        # A crash may have cut the first line short: such a ledger has booked nothing yet.
        if past.heads != NO_PAST.heads:
            _check_holds(client, spent.get(client, NO_PAST), past, version)
            spent[client] = past


def _check_holds(client: int, before: Past, now: Past, version: int) -> None:
    """Raises LedgerError where a ledger lacks an event, or a mark for noise from a seed."""
    lacks_events = not Counter(dict(before.events)) <= Counter(dict(now.events))
    # A ledger never goes on under noise that claims more, so that its place is not lost either.
    claims_more = any(uncovering(before.places, place) for place in now.places)
    if lacks_events or claims_more or not set(before.seeded) <= set(now.seeded):
        raise LedgerError(
            f"the ledger {client}.jsonl of version {version} lacks something that an earlier "
            "version spent: it was replaced, or an earlier run was resumed after it was given up"
        )
