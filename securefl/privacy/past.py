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
from securefl.privacy.terms import Place, places_in, uncovering


class Past(NamedTuple):
    """The past that a ledger continues.

    Attributes:
        heads: every head of the earlier ledger; the last one names it.
        events: everything that the earlier ledgers booked, and how often.
        seeded: the earlier runs whose noise came from a seed. The mark goes from ledger to ledger
            and is never lost.
        promise: unit and neighbours of the earlier ledger; None where it is empty.
        places: where the runs of the earlier ledger added their noise. Nothing goes on under noise
            that claims more than that, so that the last run's place says it for those before.
    """

    heads: tuple[str, ...]
    events: tuple[tuple[PrivacyEvent, int], ...]
    seeded: tuple[str, ...] = ()
    promise: Promise | None = None
    places: tuple[Place, ...] = ()

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

    def require_place(self, place: Place, name: str) -> None:
        """Checks that this past holds against everybody whom the ledger `name` names.

        Raises:
            LedgerError: it does not, so that the ledger's epsilon would be too low for somebody.
        """
        weaker = uncovering(self.places, place)
        if weaker is not None:
            raise LedgerError(
                f"the ledger {name} is for {place}, and the run that it continues had {weaker},"
                " which does not hold against all the same: go on under that, or start from scratch"
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
    seeded = seeded_before(entries) or ()
    return Past(heads, in_order(events), seeded, promise_of(entries), places_in(entries))
