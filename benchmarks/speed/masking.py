"""Time the stages of the masked channel, one measurement a process, one line of JSON each.

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
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import torch

from securefl.channels.masking.agreement import MAX_BLOCK, Agreement
from securefl.channels.masking.client import MaskedClient
from securefl.channels.masking.fixed_point import FixedPoint
from securefl.channels.masking.keys import Identity
from securefl.channels.masking.server import MaskedServer
from securefl.channels.masking.setup import SetupClient, SetupServer, hold
from securefl.channels.masking.stream import CHUNK_BYTES, add_masks, by_ctr, by_gcm, fastest
from securefl.channels.monotonic import MemoryMonotonic
from securefl.channels.protocol import ClientUpdate, Packet
from securefl.rng import seeded_keystream

HASH = bytes(32)
REPEATS = 5  # of the short measurements, within one process; the median is printed


def cpu_seconds(call: Callable[[], Any]) -> float:
    """CPU seconds of this process in one call."""
    started = time.process_time()
    call()
    return time.process_time() - started


class Session:
    """A masked session among `clients`, played stage by stage."""

    def __init__(self, clients: int, words: int, *, ring: int = 32) -> None:
        server = Identity.generate()
        self.identities = {client: Identity.generate() for client in range(clients)}
        self.terms = Agreement(
            session=secrets.token_bytes(16),
            roster={client: identity.public for client, identity in self.identities.items()},
            server=server.public,
            d=words,
            code=FixedPoint(ring, 8.0, "stochastic", most=min(clients, MAX_BLOCK)),
            corrupt=1,
            cohort=clients,
            rounds=1,
            min_cohort=3,
            max_weight=1,
            weights=dict.fromkeys(range(clients), 1),
            beacon=secrets.token_bytes(32),
        )
        self.server = MaskedServer(server, self.terms)
        self.clients = {client: self._client(client) for client in range(clients)}
        delta = np.random.default_rng(1).standard_normal(words, dtype=np.float32)
        self.update = ClientUpdate(torch.from_numpy(delta), 1, None, HASH)
        self.server.begin(0, tuple(self.clients), HASH)

    def _client(self, client: int) -> MaskedClient:
        return MaskedClient(
            client,
            self.identities[client],
            self.terms,
            stream_for=lambda round: seeded_keystream(0, "rounding", client, round),
            monotonic=MemoryMonotonic(),
        )

    def answer(self, client: int, request: bytes) -> Packet:
        """One client's reply."""
        reply = self.clients[client].receive(request)
        return self.clients[client].submit(self.update) if reply is None else reply

    def stage(self, *, silent: Iterable[int] = ()) -> None:
        """One stage, but for its end."""
        gone = set(silent)
        for client, request in self.server.requests().items():
            if client not in gone and not self.server.absorb(client, self.answer(client, request)):
                raise RuntimeError("an honest message was dropped")


def kernel(words: int, neighbours: int) -> dict[str, Any]:
    """Add neighbours + 1 masks by each path; beside it the AES-256-CTR bytes alone, nothing added."""
    vector = np.zeros(words, dtype="<u4")
    keys = [secrets.token_bytes(32) for _ in range(neighbours + 1)]

    def bytes_alone() -> None:
        buffer = memoryview(bytearray(CHUNK_BYTES + 16))
        for key in keys:
            write = by_ctr(key)
            for chunk in range(-(-vector.nbytes // CHUNK_BYTES)):
                size = min(CHUNK_BYTES, vector.nbytes - chunk * CHUNK_BYTES)
                write(chunk, size, buffer)

    def masks(path: Any) -> Callable[[], None]:
        return lambda: add_masks(vector, plus=keys, path=path)

    taken: dict[str, list[float]] = {"aes_ctr_bytes": [], "portable": [], "gcm": []}
    for _ in range(REPEATS):
        for name, call in (
            ("aes_ctr_bytes", bytes_alone),
            ("portable", masks(by_ctr)),
            ("gcm", masks(by_gcm)),
        ):
            taken[name].append(cpu_seconds(call))
    medians = {name: statistics.median(times) for name, times in taken.items()}
    ratios = {
        f"{name}_ratio": medians[name] / medians["aes_ctr_bytes"] for name in ("portable", "gcm")
    }
    return {
        "words": words,
        "neighbours": neighbours,
        "chosen": fastest().__name__,
        **medians,
        **ratios,
    }


def mask(words: int, neighbours: int, ring: int = 32) -> dict[str, Any]:
    """Stage 3 of one client: check the request, encode, agree on keys, mask, sign."""
    session = Session(neighbours + 1, words, ring=ring)
    for _ in range(2):
        session.stage()
        session.server.close_stage()
    client = neighbours // 2  # about half of its pair masks are added, the others subtracted
    requests = dict(session.server.requests())
    fastest()
    cpu, wall = [], []
    for other in range(client - 2, client - 2 + REPEATS):
        started = time.perf_counter()
        cpu.append(cpu_seconds(partial(session.answer, other, requests[other])))
        wall.append(time.perf_counter() - started)
    tracemalloc.start()  # it slows allocations down: another client, not timed
    before = tracemalloc.get_traced_memory()[0]
    packet = session.answer(client + 3, requests[client + 3])
    extra = tracemalloc.get_traced_memory()[1] - before - len(packet)
    return {
        "cpu_s": statistics.median(cpu),
        "wall_s": statistics.median(wall),
        "upload_bytes": len(packet),
        "extra_bytes": extra,
        "words": words,
        "neighbours": neighbours,
        "ring": ring,
    }


def share(clients: int) -> dict[str, Any]:
    """Stage 2 of one client: check all advertisements, share both secrets, seal the shares, sign."""
    session = Session(clients, 1)
    session.stage()
    session.server.close_stage()
    requests = dict(session.server.requests())
    started = time.perf_counter()
    times = [
        cpu_seconds(partial(session.answer, client, requests[client])) for client in range(REPEATS)
    ]
    wall = (time.perf_counter() - started) / REPEATS
    return {"cpu_s": statistics.median(times), "wall_s": wall, "clients": clients}


def unmask(clients: int, dropped: int, words: int) -> dict[str, Any]:
    """The server's last stage: take the shares, reconstruct, check, unmask, decode; the sum is checked, untimed."""
    session = Session(clients, words)
    gone = range(0, clients, max(1, clients // max(1, dropped)))[:dropped]
    for stage in range(1, 5):
        session.stage(silent=gone if stage >= 3 else ())
        session.server.close_stage()
    replies = {
        client: session.answer(client, request)
        for client, request in session.server.requests().items()
    }
    started, wall = time.process_time(), time.perf_counter()
    for client, reply in replies.items():
        session.server.absorb(client, reply)
    view = session.server.close_stage()
    seconds, wall = time.process_time() - started, time.perf_counter() - wall
    if view is None or len(view.clients) != clients - dropped:
        raise RuntimeError("no sum came out")
    error = float((view.rows[0] - session.update.delta.clamp(-8, 8)).abs().max())
    return {
        "cpu_s": seconds,
        "wall_s": wall,
        "clients": clients,
        "dropped": dropped,
        "words": words,
        "max_error": error,
    }


def scale(clients: int, words: int) -> dict[str, Any]:
    """A whole round in blocks with 5 % of the clients dropping out before the upload, all in one process."""
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
    gone = range(0, clients, 20)
    started = time.process_time()
    for stage in range(1, 6):
        session.stage(silent=gone if stage >= 3 else ())
        view = session.server.close_stage()
    seconds = time.process_time() - started
    if view is None:
        raise RuntimeError("no sum came out")
    return {
        "cpu_s": seconds,
        "cpu_ms_per_client": 1000 * seconds / clients,
        "set_up_ms_per_client": 1000 * set_up / clients,
        "clients": clients,
        "words": words,
        "blocks": len(terms.blocks(tuple(range(clients)))),
        "survivors": len(view.clients),
    }


def main() -> None:
    """Read the command line, run one measurement, print it as one line of JSON."""
    parser = argparse.ArgumentParser(description="time one stage of the masked channel")
    commands = parser.add_subparsers(dest="what", required=True)
    measurements: dict[str, tuple[Callable[..., dict[str, Any]], tuple[str, ...]]] = {
        "kernel": (kernel, ("words", "neighbours")),
        "mask": (mask, ("words", "neighbours", "ring")),
        "share": (share, ("clients",)),
        "unmask": (unmask, ("clients", "dropped", "words")),
        "scale": (scale, ("clients", "words")),
    }
    for name, (_, needed) in measurements.items():
        command = commands.add_parser(name)
        for option in needed:
            command.add_argument(f"--{option}", type=int, required=option != "ring", default=32)
    arguments = vars(parser.parse_args())
    what = arguments.pop("what")
    print(json.dumps({"what": what, **measurements[what][0](**arguments)}))


if __name__ == "__main__":
    main()
