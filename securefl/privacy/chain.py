"""The lines of a ledger: each carries a hash over all lines before it, and the first says what the ledger continues."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from securefl.errors import LedgerError
from securefl.privacy.events import ReleaseId, SampledGaussian

GENESIS = "0" * 64  # the head of a ledger without lines


def read_entries(path: Path) -> list[dict[str, Any]]:
    """The lines of a ledger as they are, nothing written; a last line without its end was confirmed to nobody.

    Raises:
        LedgerError: the lines do not chain.
    """
    entries, head = [], GENESIS
    try:
        data = path.read_bytes()
    except OSError as reason:
        raise LedgerError(f"the ledger {path.name} cannot be read: {reason.strerror}") from None
    for number, line in enumerate(data.splitlines(keepends=True), start=1):
        if not line.endswith(b"\n"):
            break
        entry, head = entry_after(line, head, path.name, number)
        entries.append(entry)
    return entries


def earlier(entries: Sequence[Mapping[str, Any]]) -> Counter[SampledGaussian]:
    """What was spent before the first of these entries, as the first says."""
    before = entries[0].get("before", {"events": []}) if entries else {"events": []}
    return Counter({SampledGaussian(**event): count for event, count in before["events"]})


def seeded_before(entries: Sequence[Mapping[str, Any]]) -> tuple[str, ...] | None:
    """The earlier runs whose noise came from a seed, as the first of these entries says.

    None where it does not say: the ledger was begun before ledgers had this mark, or continues nothing.
    """
    names = (entries[0].get("before") or {}).get("seeded") if entries else None
    return None if names is None else tuple(names)


def noise_of(entries: Sequence[Mapping[str, Any]]) -> str | None:
    """Where the noise of the ledger's own run came from; None where a ledger from before this mark does not say."""
    noise = (entries[0].get("terms") or {}).get("noise") if entries else None
    return None if noise is None else str(noise)


def entry_after(line: bytes, previous: str, name: str, number: int) -> tuple[dict[str, Any], str]:
    """A line that follows `previous`, and its hash. Raises LedgerError."""
    try:
        entry = json.loads(line)
        body = {key: value for key, value in entry.items() if key != "hash"}
        said = entry["hash"]
        _check(entry)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise LedgerError(f"the ledger {name} is damaged at line {number}") from None
    expected, head = chain(previous, body)
    if head != said or expected != line:
        raise LedgerError(
            f"the ledger {name} was edited at line {number}: its hash chain is broken"
        )
    return entry, head


def _check(entry: Mapping[str, Any]) -> None:
    """Raise where an entry lacks a value, or has one of another kind."""
    release, event = entry["release"], entry["event"]
    if entry["kind"] != "begin":
        ReleaseId(*release)
    if event:
        SampledGaussian(**event)
    earlier([entry])
    names = (entry.get("before") or {}).get("seeded", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TypeError(
            "a ledger's first line names the seeded runs before it as a list of strings"
        )


def chain(previous: str, body: Mapping[str, object]) -> tuple[bytes, str]:
    """The line that follows `previous`, and its hash."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    head = hashlib.sha256(f"{previous}\n{text}".encode()).hexdigest()
    return (
        json.dumps({**body, "hash": head}, sort_keys=True, separators=(",", ":")) + "\n"
    ).encode(), head


def sync(path: Path) -> None:
    """Make a file's content durable, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def seeded_mark(noise: str, earlier: Sequence[str]) -> str:
    """What to print behind an epsilon; empty where all its noise came from the system."""
    own = "; SEEDED noise: whoever has the seed removes it" if noise == "seeded" else ""
    if not earlier:
        return own
    return f"{own}; SEEDED noise in a run that it goes on from ({', '.join(earlier)}): whoever has that seed removes it"
