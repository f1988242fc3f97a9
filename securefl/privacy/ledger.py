"""One client's privacy ledger: reserve on disk before anything leaves, settle once confirmed."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from securefl.errors import BudgetExceeded, LedgerError
from securefl.files import DurableLines, cut_to
from securefl.privacy.accounting.allowance import MAX_COUNT, largest_count
from securefl.privacy.accounting.epsilon import epsilon
from securefl.privacy.chain import GENESIS, Promise, chain, entry_after
from securefl.privacy.events import (
    PrivacyEvent,
    ReleaseId,
    event_from_json,
    event_to_json,
    in_order,
)
from securefl.privacy.past import NO_PAST, Past
from securefl.privacy.terms import Terms, names_no_opener

_LOOK_AHEAD = 1024  # releases: a search for more would take longer, and few runs have as many


class Ledger:
    """Append-only, hash-chained record of one client's releases, kept within a budget.

    Guarantees:
        - A reservation is on disk before `reserve` returns; one that would exceed the budget
          changes nothing.
        - The same release id is charged once, however often it is reserved.
        - Opening the file detects a line that was edited, removed or re-ordered. `require_head`,
          with a head that was written elsewhere, detects a cut at the end. The hashes have no key:
          somebody who may write both files can rewrite both.
        - A reservation that is never settled still counts in full. A sum with shares of noise is
          reserved at the fewest shares that its channel opens it with, and settling never lowers
          that: a server that reports survivors falsely changes nothing.
        - The event of a release may depend on what earlier ones showed: `renyi` says which theorem
          covers that.
        - A write that failed raises and books nothing. Its remains are cut off before the next
          line, and count if the file is opened again before that.

    Args:
        path: the file; made at the first reservation or by `begin`, read and checked if it exists.
        terms: unit, neighbours, delta, budget, where the noise comes from and is added.
        before: the spending on the model that training starts from; it counts, and the first line
            records it.

    Raises:
        LedgerError: the file does not chain, was kept under other terms, or continues something
            else; or the past protects another unit, other neighbours, or against fewer.
    """

    def __init__(self, path: Path, terms: Terms, before: Past = NO_PAST) -> None:
        self.terms = terms
        before.require(Promise(terms.unit, terms.neighbours), path.name)
        before.require_place(terms.place, path.name)
        self.before = before
        self._path = path
        self._events: Counter[PrivacyEvent] = Counter(dict(before.events))
        self._booked: dict[ReleaseId, PrivacyEvent] = {}
        self._settled: set[ReleaseId] = set()
        self._heads = [GENESIS]
        self._lines = DurableLines(path)
        self._allowances: dict[tuple[object, ...], int] = {}
        if path.exists():
            self._read()

    def __contains__(self, release_id: object) -> bool:
        """Returns whether this release was reserved before."""
        return release_id in self._booked

    @property
    def head(self) -> str:
        """Hash of the last line; it names the whole history."""
        return self._heads[-1]

    @property
    def heads(self) -> tuple[str, ...]:
        """The hash of no line, then of each."""
        return tuple(self._heads)

    @property
    def settled(self) -> frozenset[ReleaseId]:
        """The releases that were confirmed."""
        return frozenset(self._settled)

    def count(self, event: PrivacyEvent) -> int:
        """Returns how often the event was reserved."""
        return self._events[event]

    def epsilon(self) -> float:
        """Returns the cost of all reservations together, at the ledger's delta."""
        return epsilon(self._events, delta=self.terms.delta)

    def allowed(self, event: PrivacyEvent, *, most: int = MAX_COUNT) -> int:
        """Returns the largest count of the event that fits the budget, next to all other events.

        Args:
            event: the event.
            most: no larger count is of interest. Of much noise millions of events may fit, and to
                count them would take minutes.
        """
        return self._largest(event, self._events, self.terms.budget, self.terms.delta, most)

    def _fits(
        self,
        event: PrivacyEvent,
        events: Counter[PrivacyEvent],
        budget: float,
        delta: float,
    ) -> bool:
        """Whether one more event fits a budget."""
        count = events[event] + 1
        most = _LOOK_AHEAD
        while most < count:
            most *= 2
        return count <= self._largest(event, events, budget, delta, most)

    def _largest(
        self,
        event: PrivacyEvent,
        events: Counter[PrivacyEvent],
        budget: float,
        delta: float,
        most: int,
    ) -> int:
        """Returns the largest count of an event that fits a budget, next to all other events."""
        other_events = Counter({other: count for other, count in events.items() if other != event})
        # The search composes losses, which takes seconds: once for each set of other events.
        key = (event, budget, delta, most, *in_order(other_events))
        if key not in self._allowances:
            self._allowances[key] = largest_count(
                event, other_events, delta=delta, budget=budget, most=most
            )
        return self._allowances[key]

    def begin(self) -> None:
        """Writes the past that the ledger continues, even if nothing is released afterwards.

        A run that continues from here on has to count this past.

        Raises:
            LedgerError: the file cannot be written.
        """
        if not self.before.is_recorded or self.head != GENESIS:
            return
        try:
            self._append("begin", None, None)
        except OSError as reason:
            raise LedgerError(
                f"the ledger {self._path.name} cannot be written: {reason.strerror}"
            ) from None

    def reserve(self, event: PrivacyEvent, *, release_id: ReleaseId) -> None:
        """Books an event before anything that depends on the data leaves.

        A release that was reserved before, such as a seeded round repeated after a crash, pays
        nothing.

        Raises:
            BudgetExceeded: one more event would cost more than the budget; nothing was written.
            LedgerError: release_id was booked with another event, or the event is amplified by
                sampling and a replaced unit is not.
        """
        if self.terms.neighbours == "replace_one" and event.sample_rate < 1:
            raise LedgerError(
                f"client {release_id.client}: the event of round {release_id.round} counts on"
                " sampling, which is proven for a unit added or removed, not for one replaced"
            )
        booked = self._booked.get(release_id)
        if booked is not None:
            if booked != event:
                raise LedgerError(
                    f"round {release_id.round} of client {release_id.client} is booked with another"
                    " event"
                )
            return
        if not self._fits(event, self._events, self.terms.budget, self.terms.delta):
            raise BudgetExceeded(
                f"client {release_id.client}: release {self._events.total() + 1} would exceed "
                f"epsilon {self.terms.budget:g} ({self.terms.unit})"
            )
        # On disk first: a crash between the two lines charges too much, never too little.
        self._append("reserve", release_id, event)
        self._book(release_id, event)

    def settle(self, release_id: ReleaseId) -> None:
        """Records that a reserved release was confirmed; its cost stays.

        Raises:
            LedgerError: the release was never reserved.
        """
        if release_id not in self._booked:
            raise LedgerError(
                f"round {release_id.round} of client {release_id.client} was never reserved"
            )
        if release_id not in self._settled:
            self._append("settle", release_id, None)
            self._settled.add(release_id)

    def require_head(self, head: str) -> None:
        """Checks that a head noted elsewhere is part of this history.

        Raises:
            LedgerError: it is not, so the file was cut or replaced.
        """
        if head not in self._heads:
            raise LedgerError(
                f"the ledger {self._path.name} was cut or replaced:"
                " a head noted in rounds.jsonl is not in it"
            )

    @property
    def _records_terms(self) -> bool:
        """Whether the next line records the terms, as the first one does."""
        return self.head == GENESIS

    def _book(self, release_id: ReleaseId, event: PrivacyEvent) -> None:
        self._booked[release_id] = event
        self._events[event] += 1

    def _append(
        self,
        kind: Literal["begin", "reserve", "settle"],
        release_id: ReleaseId | None,
        event: PrivacyEvent | None,
    ) -> None:
        body: dict[str, object] = {
            "kind": kind,
            "release": list(release_id) if release_id else None,
            "event": event_to_json(event) if event else None,
        }
        if self._records_terms:
            body["terms"] = self.terms.to_json()
        if self.head == GENESIS and self.before.is_recorded:
            body["before"] = self.before.to_json()
        line, head = chain(self.head, body)
        self._lines.append(line)
        self._heads.append(head)

    def _read(self) -> None:
        """Replays the file, and cuts off a last line without its newline.

        That line was never confirmed to anybody. The other lines are synced: a crash may have come
        between a write and its sync, and from here on they are relied on.
        """
        data = self._path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        for number, line in enumerate(whole.splitlines(keepends=True), start=1):
            self._replay(line, number)
        # Only after the check: a file with a broken chain stays as it is, as evidence.
        cut_to(self._path, len(whole))
        self._lines = DurableLines(self._path, len(whole))

    def _replay(self, line: bytes, number: int) -> None:
        entry, head = entry_after(line, self.head, self._path.name, number)
        if number == 1:
            self._check_first(entry)
        self._take(entry)
        self._heads.append(head)

    def _take(self, entry: Mapping[str, Any]) -> None:
        """Takes over one line of the file."""
        if entry["kind"] == "reserve":
            self._book(ReleaseId(*entry["release"]), event_from_json(entry["event"]))
        elif entry["kind"] == "settle":
            self._settled.add(ReleaseId(*entry["release"]))

    def _check_first(self, entry: Mapping[str, Any]) -> None:
        """Checks that the first line records these terms and this past."""
        terms = self.terms.to_json()
        before = self.before.to_json() if self.before.is_recorded else None
        stored_terms = entry.get("terms") or {}
        # Ledgers from before seeded noise was marked lack both marks.
        if "noise" not in stored_terms:
            del terms["noise"]
            before = self.before.to_unmarked_json()
        # Ledgers from before openers were recorded do not say who opens sums.
        if names_no_opener(stored_terms):
            terms["place"] = self.terms.place.to_json()[:2]
        # Compared in the form in which JSON gives the stored terms back.
        if stored_terms != json.loads(json.dumps(terms)):
            raise LedgerError(
                f"the ledger {self._path.name} was kept under other terms: {entry.get('terms')}"
            )
        if entry.get("before") != before:
            raise LedgerError(
                f"the ledger {self._path.name} does not continue the run that it is said to"
                " continue"
            )
