"""What rounds of a deployment take, seen from outside: a file that grows, processes, and a relay.

relay = Relay(("127.0.0.1", port))  # sites connect to relay.address instead
watch = Watch(progress, relay, marks=lambda: 0)
...                                 # the deployment runs below this process
rounds = watch.stop()
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from benchmarks.speed.clocks import family

_TICKS = os.sysconf("SC_CLK_TCK")
_SECONDS_BETWEEN_LOOKS = 0.02
_PIECE_BYTES = 1 << 16


class Relay:
    """Passes connections on to an address, and counts their bytes in both directions.

    Args:
        target: where connections go.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.bytes = 0
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        starting = asyncio.start_server(self._pass, "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result()
        self.address: tuple[str, int] = self._server.sockets[0].getsockname()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            beyond, onward = await asyncio.open_connection(*self._target)
        except OSError:  # nobody listens yet
            writer.transport.abort()
            return
        try:
            await asyncio.gather(self._pump(reader, onward), self._pump(beyond, writer))
        finally:
            onward.transport.abort()
            writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(_PIECE_BYTES):
                self.bytes += len(piece)
                writer.write(piece)
                await writer.drain()
        writer.close()

    def close(self) -> None:
        """Ends all connections and the thread."""
        asyncio.run_coroutine_threadsafe(self._hang_up(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _hang_up(self) -> None:
        self._server.close()
        remaining = asyncio.all_tasks() - {asyncio.current_task()}
        for task in remaining:
            task.cancel()
        await asyncio.gather(*remaining, return_exceptions=True)
        await asyncio.sleep(0)  # the loop closes aborted connections in its next turn


class Mark(NamedTuple):
    """The clocks at the end of a round, or what a round took."""

    wall: float
    cpu: float
    bytes: int
    trips: int


class Watch:
    """Reads the clocks whenever a file has grown by a line.

    Args:
        progress: the file that gets a line for each round.
        relay: counts the bytes of all sites.
        trips: returns the trips so far.
    """

    def __init__(self, progress: Path, relay: Relay, trips: Callable[[], int]) -> None:
        self._progress = progress
        self._relay = relay
        self._trips = trips
        self._marks: list[Mark] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> list[Mark]:
        """Returns what each round took, the first one left out."""
        self._over.set()
        self._thread.join()
        return [
            Mark(
                after.wall - before.wall,
                after.cpu - before.cpu,
                after.bytes - before.bytes,
                after.trips - before.trips,
            )
            for before, after in pairwise(self._marks)
        ]

    def _look(self) -> None:
        size = 0
        while not self._over.wait(_SECONDS_BETWEEN_LOOKS):
            try:
                now = self._progress.stat().st_size
            except OSError:
                continue
            if now > size:
                size = now
                mark = Mark(time.perf_counter(), cpu_below(), self._relay.bytes, self._trips())
                self._marks.append(mark)


def cpu_below() -> float:
    """Returns the CPU seconds of all processes below this one, and of those they waited for."""
    here = os.getpid()
    return sum(_cpu_seconds(pid) for pid in family(here) if pid != here)


def _cpu_seconds(pid: int) -> float:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:  # it ended meanwhile
        return 0.0
    # After the name, which may hold anything: fields 14 to 17 are its own times, and those of
    # children that it waited for.
    fields = stat.rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS
