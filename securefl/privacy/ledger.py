"""One client's privacy ledger: reserve on disk before anything leaves, settle when it is confirmed."""

import json
import math
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, NamedTuple

from securefl.errors import BudgetExceeded, LedgerError
from securefl.privacy.accounting.epsilon import epsilon, fits
from securefl.privacy.chain import (
    GENESIS,
    chain,
    earlier,
    entry_after,
    read_entries,
    seeded_before,
    sync,
)
from securefl.privacy.events import ReleaseId, SampledGaussian

_MOST = 2**31  # counts above this are not told apart


class Terms(NamedTuple):
    """What a ledger promises: the unit protected, who counts as a neighbour, delta, the budget, where noise is from."""

    unit: Literal["example", "client"]
    neighbours: Literal["add_remove"]
    delta: float
    budget: float
    noise: Literal["system", "seeded"] = "system"


class Before(NamedTuple):
    """What a ledger continues.

    heads: every head of the earlier ledger, the last of which names it. events: all that it booked.
    seeded: the earlier runs whose noise came from a seed. The mark goes from ledger to ledger and is never lost.
    """

    heads: tuple[str, ...]
    events: tuple[tuple[SampledGaussian, int], ...]
    seeded: tuple[str, ...] = ()

    @property
    def tells(self) -> bool:
        """Whether the ledger that goes on has something to say of it."""
        return bool(self.events or self.seeded)

    def told(self) -> dict[str, object]:
        """For the first line of the ledger that goes on."""
        events = [[asdict(event), count] for event, count in self.events]
        return {"head": self.heads[-1], "events": events, "seeded": list(self.seeded)}


NOTHING = Before((GENESIS,), ())


class Ledger:
    """Append-only, hash-chained record of one client's releases, kept within a budget.

    Guarantees:
        - A reservation is on disk before `reserve` returns; one that would exceed the budget changes nothing.
        - The same release id is charged once, however often it is reserved.
        - A line that was edited, removed or re-ordered is noticed when the file is opened; a cut at the end is
          noticed by `require_head` with a head that was written elsewhere. The hashes have no key: whoever may
          write both files can rewrite both.
        - A reservation that is never settled still counts in full.
        - A write that failed raises and books nothing; what it left in the file is cut off before the next line, and
          counts if the file is opened again before that.

    Args:
        path: the file; made at the first reservation or by `begin`, read and checked if it exists.
        terms: unit, neighbours, delta, budget (an epsilon, inf allowed) and where the noise comes from.
        before: what was spent on the model that training starts from; it counts, and the first line tells it.

    Raises:
        LedgerError: the file does not chain, was kept under other terms, or continues something else.
    """

    def __init__(self, path: Path, terms: Terms, before: Before = NOTHING) -> None:
        self.terms, self.before = terms, before
        self._path = path
        self._events: Counter[SampledGaussian] = Counter(dict(before.events))
        self._booked: dict[ReleaseId, SampledGaussian] = {}
        self._settled: set[ReleaseId] = set()
        self._heads = [GENESIS]
        self._size = 0  # bytes of the lines that are known to be on disk
        self._torn = False  # a write began that was not confirmed
        self._allowances: dict[tuple[object, ...], int] = {}
        if path.exists():
            self._read()

    def __contains__(self, release_id: object) -> bool:
        """Whether this release was reserved before."""
        return release_id in self._booked

    @property
    def head(self) -> str:
        """Hash of the last line; it names the whole history."""
        return self._heads[-1]

    @property
    def settled(self) -> frozenset[ReleaseId]:
        """The releases that were confirmed."""
        return frozenset(self._settled)

    def count(self, event: SampledGaussian) -> int:
        """How often event was reserved."""
        return self._events[event]

    def epsilon(self) -> float:
        """What all reservations cost together, at the ledger's delta."""
        return epsilon(self._events, delta=self.terms.delta)

    def begin(self) -> None:
        """Put on disk what the ledger continues: it counts for whoever goes on from here, released or not.

        Raises:
            LedgerError: the file cannot be written.
        """
        if not self.before.tells or self.head != GENESIS:
            return
        try:
            self._append("begin", None, None)
        except OSError as reason:
            raise LedgerError(
                f"the ledger {self._path.name} cannot be written: {reason.strerror}"
            ) from None

    def reserve(self, event: SampledGaussian, *, release_id: ReleaseId) -> None:
        """Book event before anything that depends on the data leaves; refuse what would exceed the budget.

        Raises:
            BudgetExceeded: one more event would cost more than the budget; nothing was written.
            LedgerError: release_id was booked with another event.
        """
        if (booked := self._booked.get(release_id)) is not None:
            if booked != event:
                raise LedgerError(
                    f"round {release_id.round} of client {release_id.client} is booked with another event"
                )
            return
        if self.count(event) + 1 > self.allowed(event):
            raise BudgetExceeded(
                f"client {release_id.client}: release {self._events.total() + 1} would exceed "
                f"epsilon {self.terms.budget:g} ({self.terms.unit})"
            )
        self._append("reserve", release_id, event)
        self._book(release_id, event)

    def settle(self, release_id: ReleaseId) -> None:
        """Note that a reserved release was confirmed; the amount stays.

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

    def allowed(self, event: SampledGaussian) -> int:
        """The largest count of event that fits the budget beside everything else; found by bisection, then kept."""
        others = Counter({other: n for other, n in self._events.items() if other != event})
        key = (event, *sorted(others.items()))
        if key not in self._allowances:
            self._allowances[key] = self._bisect(event, others)
        return self._allowances[key]

    def require_head(self, head: str) -> None:
        """Check that a head noted elsewhere is part of this history.

        Raises:
            LedgerError: it is not, so the file was cut or replaced.
        """
        if head not in self._heads:
            raise LedgerError(
                f"the ledger {self._path.name} was cut or replaced: a head noted in rounds.jsonl is not in it"
            )

    def _fits(self, event: SampledGaussian, count: int, others: Counter[SampledGaussian]) -> bool:
        return fits(
            others | Counter({event: count}), delta=self.terms.delta, budget=self.terms.budget
        )

    def _bisect(self, event: SampledGaussian, others: Counter[SampledGaussian]) -> int:
        if math.isinf(self.terms.budget):
            return _MOST
        if not self._fits(event, 1, others):
            return 0
        low, high = 1, 2
        while high < _MOST and self._fits(event, high, others):
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._fits(event, middle, others) else (low, middle)
        return low

    def _book(self, release_id: ReleaseId, event: SampledGaussian) -> None:
        self._booked[release_id] = event
        self._events[event] += 1

    def _append(
        self, kind: str, release_id: ReleaseId | None, event: SampledGaussian | None
    ) -> None:
        release, booked = list(release_id) if release_id else None, asdict(event) if event else None
        body: dict[str, object] = {"kind": kind, "release": release, "event": booked}
        if first := self.head == GENESIS:
            body["terms"] = self.terms._asdict()
            if self.before.tells:
                body["before"] = self.before.told()
        line, head = chain(self.head, body)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            if self._torn:
                file.truncate(self._size)
            self._torn = True
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        if first:
            sync(self._path.parent)
        self._heads.append(head)
        self._size, self._torn = self._size + len(line), False

    def _read(self) -> None:
        """Replay the file; a last line without its newline was never confirmed to anyone and is cut off.

        Whole lines are synced: a crash may have come between a write and its sync, and from here on they are relied on.
        """
        data = self._path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        for number, line in enumerate(whole.splitlines(keepends=True), start=1):
            self._replay(line, number)
        if len(whole) < len(data):
            with self._path.open("rb+") as file:
                file.truncate(len(whole))
        sync(self._path)
        sync(self._path.parent)
        self._size = len(whole)

    def _replay(self, line: bytes, number: int) -> None:
        entry, head = entry_after(line, self.head, self._path.name, number)
        if number == 1:
            self._check_opening(entry)
        if entry["kind"] == "reserve":
            self._book(ReleaseId(*entry["release"]), SampledGaussian(**entry["event"]))
        elif entry["kind"] == "settle":
            self._settled.add(ReleaseId(*entry["release"]))
        self._heads.append(head)

    def _check_opening(self, entry: Mapping[str, Any]) -> None:
        """The first line gives these terms and this past. One from before seeded noise was marked lacks both marks."""
        terms, before = self.terms._asdict(), self.before.told() if self.before.tells else None
        told = entry.get("terms") or {}
        if "noise" not in told:
            del terms["noise"]
            before = _unmarked(self.before)
        if told != json.loads(json.dumps(terms)):
            raise LedgerError(
                f"the ledger {self._path.name} was kept under other terms: {entry.get('terms')}"
            )
        if entry.get("before") != before:
            raise LedgerError(
                f"the ledger {self._path.name} does not continue the run that it is said to continue"
            )


def _unmarked(before: Before) -> dict[str, object] | None:
    """What the first line of a ledger said before seeded noise was marked."""
    return (
        {key: value for key, value in before.told().items() if key != "seeded"}
        if before.events
        else None
    )


def carried(path: Path) -> Before:
    """What a ledger that goes on from the one at path continues, but for a mark of the ledger's own run.

    Raises:
        LedgerError: its lines do not chain.
    """
    entries = read_entries(path)
    events = earlier(entries)
    events.update(SampledGaussian(**entry["event"]) for entry in entries if entry["event"])
    heads = (GENESIS, *(entry["hash"] for entry in entries))
    return Before(heads, tuple(sorted(events.items())), seeded_before(entries) or ())
