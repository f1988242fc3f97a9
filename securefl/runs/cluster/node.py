"""The part of a cluster engine that runs on a node: one order in, messages out, all as bytes.

The node and the head of a study share no disk. An order brings a cell's scenario and its files so
far; the last message returns the files. In between, the node watches the cell like a local pool.
"""

import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from securefl.files import is_held, locked
from securefl.runs.cell import Cell
from securefl.runs.cluster.parcel import pack, unpack
from securefl.runs.environment import environment
from securefl.runs.pool import Event, Finished, Job, Progressed, Servers, play

BEAT_SECONDS = 1.0  # between signs of life
PREFIX = "securefl-node-"  # of the folders that tasks work in
MIN_SECONDS_BEFORE_SWEEP = 60.0

# A cluster uses one process for many tasks: torch is imported for the first one.
_servers: Servers = {}


class Message(NamedTuple):
    """A line of facts, and the files of a cell where the message brings them."""

    facts: Mapping[str, Any]
    files: bytes = b""

    def sealed(self) -> bytes:
        """Returns the message as bytes."""
        return json.dumps(dict(self.facts), allow_nan=False).encode() + b"\n" + self.files

    @classmethod
    def opened(cls, data: object) -> "Message":
        """Returns the message that `sealed` made. Raises ValueError."""
        if not isinstance(data, bytes):
            raise ValueError(f"a message is bytes, got {type(data).__name__}")
        line, _, files = data.partition(b"\n")
        facts = json.loads(line)
        if not isinstance(facts, dict):
            raise ValueError("a message begins with a JSON object")
        return cls(facts, files)


def order_for(job: Job, *, limit: float, silence: float) -> bytes:
    """Returns what a node needs to run a cell.

    Args:
        job: the cell with its files so far, and its scenario.
        limit: seconds that the cell may take on the node.
        silence: seconds without a sign of life after which its process is killed.
    """
    facts = {
        "cell": job.cell.hash,
        "scenario": job.scenario,
        "code": job.code,
        "environment": environment(),
        "limit": limit,
        "silence": silence,
    }
    return Message(facts, pack(job.cell.folder)).sealed()


def work(order: bytes) -> Iterator[bytes]:
    """Runs the cell of an order and yields messages.

    {"refused"} says why this node may run nothing. Otherwise {"started"} comes first, then
    {"round"} and {"alive"}, and at the end {"state", "reason", "seconds", "node"} with the files,
    or {"lost"} where the node itself failed.
    """
    facts, files = Message.opened(order)
    difference = _difference(facts["environment"])
    if difference:
        yield Message({"refused": difference}).sealed()
        return
    yield Message({"started": True}).sealed()
    try:
        with _workshop() as folder:
            cell = Cell(folder / facts["cell"])
            unpack(files, cell.folder)
            job = Job(cell, facts["scenario"], facts["code"])
            limit, silence = facts["limit"], facts["silence"]
            events = play([job], workers=1, limit=limit, silence=silence, servers=_servers)
            # Closed first: a process that still writes would keep the folder from going.
            with closing(events):
                yield from _messages(events, cell)
    except OSError as reason:
        yield Message({"lost": f"its node failed: {reason.strerror}"}).sealed()


@contextmanager
def _workshop() -> Iterator[Path]:
    """Gives a folder that only this account may read; it goes even when the task is cancelled."""
    _sweep(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with locked(folder, patience=MIN_SECONDS_BEFORE_SWEEP):
            yield folder


def _sweep(place: Path) -> None:
    """Removes the folders of tasks that were killed before they could."""
    for folder in place.glob(f"{PREFIX}*"):
        # It may go at this moment.
        with suppress(OSError):
            facts = folder.lstat()
            age = time.time() - facts.st_mtime
            # In a folder of another account, the lock could be a link to a file of ours.
            is_ours = facts.st_uid == os.getuid()
            # A young one may be about to take its lock.
            if is_ours and age > MIN_SECONDS_BEFORE_SWEEP and not is_held(folder):
                shutil.rmtree(folder)


def _messages(events: Iterator[Event], cell: Cell) -> Iterator[bytes]:
    """Passes on what happens to a cell, with a sign of life where nothing does."""
    last = time.monotonic()
    end = None
    for event in events:
        if isinstance(event, Progressed):
            yield Message({"round": event.round}).sealed()
        elif isinstance(event, Finished):
            end = event
        elif time.monotonic() - last > BEAT_SECONDS:
            last = time.monotonic()
            yield Message({"alive": True}).sealed()
    # After the last event, so that the server is free again when the head stops listening.
    if end is not None:
        facts = {
            "state": end.state,
            "reason": end.reason,
            "seconds": end.seconds,
            "node": platform.node(),
        }
        yield Message(facts, pack(cell.folder)).sealed()


def _difference(head: Mapping[str, Any]) -> str:
    """Says where this node's versions differ from the head's; "" where all are equal.

    The run folder notes one environment: numbers of another one would not be what it says.
    """
    ours = _flat(environment())
    for name, asked in _flat(head).items():
        here = ours.get(name)
        if here != asked:
            return (
                f"the node {platform.node()} has {name} {here}, this machine {asked}: "
                "install the same versions on every node"
            )
    return ""


def _flat(versions: Mapping[str, Any]) -> dict[str, object]:
    """Name -> version, with the libraries next to the rest."""
    flat = {name: version for name, version in versions.items() if name != "libraries"}
    return {**flat, **versions["libraries"]}
