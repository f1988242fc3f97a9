"""Rehearsals over Flower: what they need, and how their processes are found and killed."""

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from securefl.files import read_lines
from securefl.runs.deployed.rehearsal import Rehearsed, rehearse
from securefl.runs.deployed.ways import OverFlower
from securefl.runs.flower.supervision import below
from securefl.scenario.scenario import parse_scenario

SECONDS = 600.0


def over_flower(
    text: str, programs: Path, out: Path, *, during: Callable[[], None] | None = None
) -> Rehearsed:
    """Rehearses over Flower while `during` runs in a thread, whose failure is the test's."""
    failures: list[BaseException] = []

    def play() -> None:
        try:
            if during is not None:
                during()
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=play)

    def start(agents: Mapping[int, Any]) -> None:
        thread.start()

    way = partial(OverFlower, programs)
    result = rehearse(
        parse_scenario(text), text, (), out, seconds=SECONDS, on_started=start, way=way
    )
    thread.join()
    if failures:
        raise failures[0]
    return result


def rounds_kept(out: Path) -> int:
    path = out / "coordinator/rounds.jsonl"
    return len(read_lines(path)) if path.exists() else 0


def wait_for_round(out: Path, count: int) -> None:
    """Waits until so many rounds are kept."""
    end = time.monotonic() + SECONDS
    while rounds_kept(out) < count:
        assert time.monotonic() < end, f"round {count} never came"
        time.sleep(0.05)


def processes(*words: str, parent: int | None = None) -> list[int]:
    """Returns the processes below a parent, or this one, whose command line has all words."""
    found = []
    for pid in below(parent or os.getpid()):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if all(word in line for word in words):
            found.append(pid)
    return found


def kill(program: str, folder: str) -> None:
    """Kills the one process of a program that the supervisor of a folder keeps running."""
    (supervisor,) = processes("supervision", folder)
    (pid,) = processes(program, parent=supervisor)
    os.kill(pid, signal.SIGKILL)
