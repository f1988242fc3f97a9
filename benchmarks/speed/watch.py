"""A measurement watched from outside: seconds and memory of all its processes."""

import json
import resource
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

from benchmarks.speed.clocks import cpu_seconds, family
from benchmarks.speed.process import Answer
from securefl.runs.threads import environment_of_one_thread

_INTERVAL = 0.2  # seconds between two looks
_STDERR_SHOWN = 2000  # bytes
_ROOT = Path(__file__).parents[2]


class Whole(NamedTuple):
    """What a command took from its start to its end, with all that it started."""

    cpu: float  # seconds
    wall: float  # seconds
    peak: int  # bytes at once; memory that processes share counts once


def run(command: Sequence[str]) -> tuple[Answer, Whole]:
    """Runs a measurement with one thread per library; returns its line of JSON, too.

    Raises:
        SystemExit: the command failed; with the end of its error output.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        before = _reaped()
        start = time.perf_counter()
        child = subprocess.Popen(  # noqa: S603
            command, stdout=out, stderr=errors, cwd=_ROOT, env=environment_of_one_thread()
        )
        sampled, peak = _look_until_it_ends(child)
        wall = time.perf_counter() - start
        if child.returncode:
            shown = _text(errors)[-_STDERR_SHOWN:]
            raise SystemExit(f"{' '.join(command)} failed:\n{shown}")
        # The system counts to the end, but only descendants whose parents waited for them.
        whole = Whole(max(sampled, _reaped() - before), wall, peak)
        return Answer(json.loads(_text(out).splitlines()[-1])), whole


def _look_until_it_ends(child: subprocess.Popen[bytes]) -> tuple[float, int]:
    """Returns CPU seconds and the peak of memory of a process and of all below it."""
    seconds: dict[int, float] = {}
    peak = 0
    while child.poll() is None:
        # Also the families of those seen before: a parent may have ended and left its children.
        alive = {pid for known in (child.pid, *seconds) for pid in family(known)}
        for pid in alive:
            seconds[pid] = max(seconds.get(pid, 0.0), cpu_seconds(pid))
        peak = max(peak, sum(map(_memory, alive)))
        time.sleep(_INTERVAL)
    return sum(seconds.values()), peak


def _memory(pid: int) -> int:
    """Returns a process' share of the memory that it uses; 0 once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _reaped() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
