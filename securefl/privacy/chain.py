"""The lines of a ledger: each carries a hash over all lines before it.

The first line also says which earlier ledger this one continues.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from securefl.errors import LedgerError
from securefl.privacy.events import PrivacyEvent, ReleaseId, event_from_json
from securefl.privacy.terms import places_in

# The head of a ledger without lines.
GENESIS = "0" * 64


class Promise(NamedTuple):
    """What a ledger's events protect; epsilons of different promises cannot be added.

    Attributes:
        unit: the protected unit, "example" or "client".
        neighbours: which data sets count as neighbours, "add_remove" or "replace_one".
    """

    unit: str
    neighbours: str

    def __str__(self) -> str:
        """The promise in words."""
        change = "replaced" if self.neighbours == "replace_one" else "added or removed"
        return f"one {self.unit} {change}"


def chain(previous: str, body: Mapping[str, object]) -> tuple[bytes, str]:
    """Returns the line that follows the head `previous`, and the hash of that line."""
    text = _canonical(body)
    head = hashlib.sha256(f"{previous}\n{text}".encode()).hexdigest()
    line = _canonical({**body, "hash": head}) + "\n"
    return line.encode(), head


def _canonical(body: Mapping[str, object]) -> str:
    # One spelling for each value, so that a line spelled otherwise counts as edited.
    return json.dumps(body, sort_keys=True, separators=(",", ":"))


def entry_after(line: bytes, previous: str, name: str, number: int) -> tuple[dict[str, Any], str]:
    """Parses a line, checks that it follows the head `previous`, and returns it with its hash.

    Args:
        line: bytes of one line, with its newline.
        previous: hash of the line before, or `GENESIS`.
        name: file name of the ledger, for messages.
        number: number of the line, from 1, for messages.

    Raises:
        LedgerError: the line is damaged or was edited.
    """
    try:
        entry = json.loads(line)
        body = {key: value for key, value in entry.items() if key != "hash"}
        stored_head = entry["hash"]
        _check(entry)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise LedgerError(f"the ledger {name} is damaged at line {number}") from None
    expected, head = chain(previous, body)
    if head != stored_head or expected != line:
        raise LedgerError(
            f"the ledger {name} was edited at line {number}: its hash chain is broken"
        )
    return entry, head


def _check(entry: Mapping[str, Any]) -> None:
    """Raises where an entry lacks a value, or has one of another kind."""
    release = entry["release"]
    event = entry["event"]
    if entry["kind"] != "begin":
        ReleaseId(*release)
    if event:
        event_from_json(event)
    earlier([entry])
    places_in([entry])
    names = (entry.get("before") or {}).get("seeded", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TypeError(
            "a ledger's first line names the seeded runs before it as a list of strings"
        )


def read_entries(path: Path) -> list[dict[str, Any]]:
    """Returns the lines of a ledger as they are; writes nothing.

    A last line without its newline is left out: it was confirmed to nobody.

    Raises:
        LedgerError: the file cannot be read, or its lines do not chain.
    """
    try:
        data = path.read_bytes()
    except OSError as reason:
        raise LedgerError(f"the ledger {path.name} cannot be read: {reason.strerror}") from None
    entries = []
    head = GENESIS
    for number, line in enumerate(data.splitlines(keepends=True), start=1):
        if not line.endswith(b"\n"):
            break
        entry, head = entry_after(line, head, path.name, number)
        entries.append(entry)
    return entries


def earlier(entries: Sequence[Mapping[str, Any]]) -> Counter[PrivacyEvent]:
    """Returns the events that were released before the first entry, as that entry records them."""
    if not entries or "before" not in entries[0]:
        return Counter()
    events = entries[0]["before"]["events"]
    return Counter({event_from_json(event): count for event, count in events})


def seeded_before(entries: Sequence[Mapping[str, Any]]) -> tuple[str, ...] | None:
    """Returns the earlier runs whose noise came from a seed, as the first entry names them.

    Returns:
        The names of the runs. None where the first entry does not say: the ledger is older than
        this mark, or continues nothing.
    """
    if not entries:
        return None
    names = (entries[0].get("before") or {}).get("seeded")
    return None if names is None else tuple(names)


def noise_of(entries: Sequence[Mapping[str, Any]]) -> str | None:
    """Returns where the noise of the ledger's own run came from, "system" or "seeded".

    Returns:
        None where the ledger is empty, or older than this mark.
    """
    if not entries:
        return None
    noise = (entries[0].get("terms") or {}).get("noise")
    return None if noise is None else str(noise)


def promise_of(entries: Sequence[Mapping[str, Any]]) -> Promise | None:
    """Returns the unit and the neighbours that a ledger is about; None where it is empty."""
    if not entries:
        return None
    terms = entries[0].get("terms") or {}
    return Promise(str(terms.get("unit")), str(terms.get("neighbours")))


def seeded_mark(noise: str, earlier: Sequence[str]) -> str:
    """Returns a warning to print behind an epsilon; empty where no noise came from a seed.

    Args:
        noise: where the run's own noise comes from, "system" or "seeded".
        earlier: names of the runs it continues whose noise came from a seed.
    """
    mark = ""
    if noise == "seeded":
        mark = "; SEEDED noise: anybody with the seed can remove it"
    if earlier:
        names = ", ".join(earlier)
        mark += f"; SEEDED noise in an earlier run ({names}): anybody with that seed can remove it"
    return mark
