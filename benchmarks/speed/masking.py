"""Times the stages of the masked channel: one measurement per process, one line of JSON each.

python -m benchmarks.speed.masking kernel --words 11000000 --neighbours 10
python -m benchmarks.speed.masking mask   --words 11000000 --neighbours 100
python -m benchmarks.speed.masking share  --clients 100
python -m benchmarks.speed.masking unmask --clients 101 --dropped 10 --words 11000000
python -m benchmarks.speed.masking scale  --clients 1000 --words 100000
"""

import argparse
import json
import secrets
import statistics
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from benchmarks.speed.session import Session
from securefl.channels.masking.setup import SetupClient, SetupServer, hold
from securefl.channels.masking.stream import (
    CHUNK_BYTES,
    Path,
    add_masks,
    by_ctr,
    by_gcm,
    fastest,
)
from securefl.channels.monotonic import MemoryMonotonic

REPEATS = 5  # of the short measurements, within one process; the median is printed
_DROP_EVERY = 20  # clients, in the measurement of scale


class Kernel(NamedTuple):
    """CPU seconds of adding masks, by path, and of making the AES-256-CTR bytes alone."""

    words: int
    neighbours: int
    chosen: str
    aes_ctr_bytes: float
    portable: float
    gcm: float
    portable_ratio: float
    gcm_ratio: float


class Masked(NamedTuple):
    """One client's masking stage."""

    cpu_s: float
    wall_s: float
    upload_bytes: int
    extra_bytes: int  # of memory, on top of the upload
    words: int
    neighbours: int
    ring: int


class Shared(NamedTuple):
    """One client's share stage."""

    cpu_s: float
    wall_s: float
    clients: int


class Unmasked(NamedTuple):
    """The server's last stage."""

    cpu_s: float
    wall_s: float
    clients: int
    dropped: int
    words: int
    max_error: float


class Scaled(NamedTuple):
    """A whole round, all parties in one process."""

    cpu_s: float
    cpu_ms_per_client: float
    set_up_ms_per_client: float
    clients: int
    words: int
    blocks: int
    survivors: int


def cpu_seconds(call: Callable[[], object]) -> float:
    """Returns the CPU seconds of this process in one call."""
    start = time.process_time()
    call()
    return time.process_time() - start


def kernel(words: int, neighbours: int) -> Kernel:
    """Adds neighbours + 1 masks by each path; next to it, makes the AES-256-CTR bytes alone."""
    vector = np.zeros(words, dtype="<u4")
    keys = [secrets.token_bytes(32) for _ in range(neighbours + 1)]

    # The floor: no mask can be made faster than the bytes that it consists of.
    def bytes_alone() -> None:
        buffer = memoryview(bytearray(CHUNK_BYTES + 16))
        for key in keys:
            write = by_ctr(key)
            for chunk in range(-(-vector.nbytes // CHUNK_BYTES)):
                size = min(CHUNK_BYTES, vector.nbytes - chunk * CHUNK_BYTES)
                write(chunk, size, buffer)

    def masks(path: Path) -> Callable[[], None]:
        return lambda: add_masks(vector, plus=keys, path=path)

    calls = (bytes_alone, masks(by_ctr), masks(by_gcm))
    # In turn, so that a slow moment of the machine hits all of them.
    turns = [[cpu_seconds(call) for call in calls] for _ in range(REPEATS)]
    alone, portable, gcm = (statistics.median(times) for times in zip(*turns, strict=True))
    return Kernel(
        words,
        neighbours,
        chosen=fastest().__name__,
        aes_ctr_bytes=alone,
        portable=portable,
        gcm=gcm,
        portable_ratio=portable / alone,
        gcm_ratio=gcm / alone,
    )


def mask(words: int, neighbours: int, ring: int = 32) -> Masked:
    """Times stage 3 of one client: check the request, encode, agree on keys, mask, sign."""
    session = Session(neighbours + 1, words, ring=ring)
    # Stages 1 and 2, which leave every client ready to mask.
    for _ in range(2):
        session.stage()
        session.server.close_stage()
    client = neighbours // 2  # about half of its pair masks are added, the others subtracted
    requests = dict(session.server.requests())
    fastest()  # measured once a process, and not here
    cpu = []
    wall = []
    for timed in range(client - 2, client - 2 + REPEATS):
        start = time.perf_counter()
        cpu.append(cpu_seconds(partial(session.answer, timed, requests[timed])))
        wall.append(time.perf_counter() - start)
    # Tracing slows allocations down, so another client is traced and not timed.
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    packet = session.answer(client + 3, requests[client + 3])
    extra = tracemalloc.get_traced_memory()[1] - before - len(packet)
    return Masked(
        cpu_s=statistics.median(cpu),
        wall_s=statistics.median(wall),
        upload_bytes=len(packet),
        extra_bytes=extra,
        words=words,
        neighbours=neighbours,
        ring=ring,
    )


def share(clients: int) -> Shared:
    """Times stage 2 of one client: check advertisements, share both secrets, seal, sign."""
    session = Session(clients, 1)
    session.stage()
    session.server.close_stage()
    requests = dict(session.server.requests())
    start = time.perf_counter()
    times = [
        cpu_seconds(partial(session.answer, client, requests[client])) for client in range(REPEATS)
    ]
    wall = (time.perf_counter() - start) / REPEATS
    return Shared(statistics.median(times), wall, clients)


def unmask(clients: int, dropped: int, words: int) -> Unmasked:
    """Times the server's last stage: take the shares, reconstruct, check, unmask, decode.

    The sum is compared with the true one, outside of the time.
    """
    session = Session(clients, words)
    # Spread over the ids, as real drop-outs are.
    gone = range(0, clients, max(1, clients // max(1, dropped)))[:dropped]
    # Clients drop out after they shared their secrets, so that the server has to rebuild them.
    for stage in range(1, 5):
        session.stage(silent=gone if stage >= 3 else ())
        session.server.close_stage()
    # The clients' own work in the last stage is not the server's.
    replies = {
        client: session.answer(client, request)
        for client, request in session.server.requests().items()
    }
    cpu_start = time.process_time()
    wall_start = time.perf_counter()
    for client, reply in replies.items():
        session.server.absorb(client, reply)
    view = session.server.close_stage()
    cpu = time.process_time() - cpu_start
    wall = time.perf_counter() - wall_start
    if view is None or len(view.clients) != clients - dropped:
        raise RuntimeError("no sum came out")
    error = float((view.rows[0] - session.update.delta.clamp(-8, 8)).abs().max())
    return Unmasked(cpu, wall, clients, dropped, words, error)


def scale(clients: int, words: int) -> Scaled:
    """Plays a whole round in blocks; 5 % of the clients drop out before the upload.

    Members share nothing, as in a deployment: each verifies every reveal of the set-up.
    """
    session = Session(clients, words)
    terms = session.terms
    members = {
        client: SetupClient(
            client,
            identity,
            terms,
            draw=lambda attempt: secrets.token_bytes(32),
            monotonic=MemoryMonotonic(),
        )
        for client, identity in session.identities.items()
    }
    set_up = cpu_seconds(lambda: hold(SetupServer(session.server._identity, terms), members))
    gone = range(0, clients, _DROP_EVERY)
    start = time.process_time()
    for stage in range(1, 6):
        session.stage(silent=gone if stage >= 3 else ())
        view = session.server.close_stage()
    seconds = time.process_time() - start
    if view is None:
        raise RuntimeError("no sum came out")
    return Scaled(
        cpu_s=seconds,
        cpu_ms_per_client=1000 * seconds / clients,
        set_up_ms_per_client=1000 * set_up / clients,
        clients=clients,
        words=words,
        blocks=len(terms.blocks(tuple(range(clients)))),
        survivors=len(view.clients),
    )


class Command(NamedTuple):
    """One measurement and the options that it takes."""

    measure: Callable[..., Kernel | Masked | Shared | Unmasked | Scaled]
    options: tuple[str, ...]


COMMANDS = {
    "kernel": Command(kernel, ("words", "neighbours")),
    "mask": Command(mask, ("words", "neighbours", "ring")),
    "share": Command(share, ("clients",)),
    "unmask": Command(unmask, ("clients", "dropped", "words")),
    "scale": Command(scale, ("clients", "words")),
}


def main() -> None:
    """Reads the command line, runs one measurement, prints it as one line of JSON."""
    parser = argparse.ArgumentParser(description="time one stage of the masked channel")
    subparsers = parser.add_subparsers(dest="what", required=True)
    for name, command in COMMANDS.items():
        subparser = subparsers.add_parser(name)
        for option in command.options:
            subparser.add_argument(f"--{option}", type=int, required=option != "ring", default=32)
    arguments = vars(parser.parse_args())
    what = arguments.pop("what")
    measured = COMMANDS[what].measure(**arguments)
    print(json.dumps({"what": what, **measured._asdict()}))


if __name__ == "__main__":
    main()
