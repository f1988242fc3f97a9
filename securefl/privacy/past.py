"""The past of a ledger: everything that earlier runs released on the same records."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple, Self

from securefl.errors import LedgerError
from securefl.privacy.chain import (
    GENESIS,
    Promise,
    earlier,
    promise_of,
    read_entries,
    seeded_before,
)
from securefl.privacy.events import PrivacyEvent, event_from_json, event_to_json, in_order


class Past(NamedTuple):
    """The past that a ledger continues.

    Attributes:
        heads: every head of the earlier ledger; the last one names it.
        events: everything that the earlier ledgers booked, and how often.
        seeded: the earlier runs whose noise came from a seed. The mark goes from ledger to ledger
            and is never lost.
        promise: unit and neighbours of the earlier ledger; None where it is empty.
    """

    heads: tuple[str, ...]
    events: tuple[tuple[PrivacyEvent, int], ...]
    seeded: tuple[str, ...] = ()
    promise: Promise | None = None

    @property
    def is_recorded(self) -> bool:
        """Whether the first line of the continuing ledger records this past."""
        return bool(self.events or self.seeded)

    def require(self, promise: Promise, name: str) -> None:
        """Checks that this past is of the same promise as the ledger `name` that continues it.

        Raises:
            LedgerError: it protects another unit, or other neighbours: its events have another
                sensitivity.
        """
        if self.promise is not None and self.promise != promise:
            raise LedgerError(
                f"the ledger {name} protects {promise}, and the run that it continues"
                f" {self.promise}: start from scratch, or from a run that protects the same"
            )

    def and_once(self, event: PrivacyEvent | None) -> Self:
        """Returns this past and one more release; the same past where there is none."""
        if event is None:
            return self
        events = Counter(dict(self.events)) + Counter([event])
        return self._replace(events=in_order(events))

    def to_json(self) -> dict[str, object]:
        """Returns the record of this past for the first line of the continuing ledger."""
        events = [[event_to_json(event), count] for event, count in self.events]
        return {"head": self.heads[-1], "events": events, "seeded": list(self.seeded)}

    def to_unmarked_json(self) -> dict[str, object] | None:
        """Returns the record as ledgers wrote it before seeded noise was marked."""
        if not self.events:
            return None
        record = self.to_json()
        del record["seeded"]
        return record


# The past of a ledger that starts from scratch.
NO_PAST = Past((GENESIS,), ())


def past_of(path: Path) -> Past:
    """Returns the past of a ledger that continues the one at `path`.

    A mark for the noise of that ledger's own run is not added: the caller knows the run's name.

    Raises:
        LedgerError: the ledger cannot be read, or its lines do not chain.
    """
    entries = read_entries(path)
    events = earlier(entries)
    events.update(event_from_json(entry["event"]) for entry in entries if entry["event"])
    heads = (GENESIS, *(entry["hash"] for entry in entries))
    return Past(heads, in_order(events), seeded_before(entries) or (), promise_of(entries))
