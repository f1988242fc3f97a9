"""Clocks of a process and of all that it starts. Imports nothing but the standard library."""

import argparse
import json
import os
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

_TICKS = os.sysconf("SC_CLK_TCK")


class Seconds(NamedTuple):
    """A time on two clocks; CPU of this process and of all below it."""

    cpu: float
    wall: float

    @classmethod
    def now(cls) -> "Seconds":
        """Returns both clocks."""
        below = sum(cpu_seconds(pid) for pid in family(os.getpid()) if pid != os.getpid())
        return cls(time.process_time() + below, time.perf_counter())


def family(pid: int) -> Iterator[int]:
    """Yields a process and all that descend from it and still run."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            below = children.read_text().split()
        except OSError:  # it ended meanwhile
            continue
        for child in below:
            yield from family(int(child))


def cpu_seconds(pid: int) -> float:
    """Returns a process' user and system time; 0 once it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    # After the name, which may hold anything: user and system time are fields 14 and 15.
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def a_round(clocks: Sequence[Seconds]) -> Seconds:
    """Returns the seconds of a round, from the clocks after each; the first does not count.

    Raises:
        ValueError: fewer than two rounds.
    """
    if len(clocks) < 2:
        raise ValueError(f"a round's time needs two rounds or more, got {len(clocks)}")
    spent = (end - start for start, end in zip(clocks[0], clocks[-1], strict=True))
    return Seconds(*(seconds / (len(clocks) - 1) for seconds in spent))


class Task(NamedTuple):
    """What a peer's script has to do."""

    workload: str
    rounds: int
    workers: int


def task(about: str | None) -> Task:
    """Returns what the command line of a peer's script asks for."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--workload", required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    chosen = parser.parse_args()
    return Task(chosen.workload, chosen.rounds, chosen.workers)


def report(package: str, seconds: Seconds, learned: float) -> None:
    """Prints a peer's line of JSON.

    Args:
        package: name of the distribution.
        seconds: of a round.
        learned: how far the model moved, so that a peer that trains nothing is seen.
    """
    named = {"peer": f"{package} {version(package)}", "moved": learned}
    print(json.dumps(seconds._asdict() | named), flush=True)
