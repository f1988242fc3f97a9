"""The CKKS channel next to the raw TenSEAL calls it is made of: CPU seconds, medians, ratios.

    python -m benchmarks.speed.ckks --out docs/results/ckks

Both sides have the same parameters and take turns in one process of one thread. The last column is
TenSEAL's own calls with the parameters of NVFlare's documentation: CPU seconds and bytes sent.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import tenseal
import torch
from numpy.typing import NDArray

from benchmarks.experiments.table import csv_text, markdown
from securefl.channels.ckks.cipher import KeyHolder
from securefl.channels.ckks.client import CkksClient
from securefl.channels.ckks.server import CkksServer
from securefl.channels.ckks.terms import SLOTS, CkksTerms
from securefl.channels.protocol import ClientUpdate
from securefl.runs.threads import one_thread

CHUNKS = 100
CLIENTS = 5
REPEATS = 7
D = CHUNKS * SLOTS
LARGEST_RATIO = 1.10
_FLOAT32_BYTES = 4
_HASH = bytes(32)
_SESSION = bytes(16)

T = TypeVar("T")


class Round(NamedTuple):
    """One round: CPU seconds of its parts, and the size of an upload."""

    upload: float  # one client's
    server: float  # of all clients
    opening: float  # one key holder's
    bytes: float  # of an upload, over those of float32

    @property
    def whole(self) -> float:
        """Returns the seconds of a round: every client uploads and opens, the server adds."""
        return CLIENTS * (self.upload + self.opening) + self.server


class Medians(NamedTuple):
    """Medians over the repetitions."""

    parts: Round
    whole: float


PARTS: Mapping[str, Callable[[Medians], float]] = {
    "whole round": lambda side: side.whole,
    "client, upload": lambda side: side.parts.upload,
    "server, all of a round": lambda side: side.parts.server,
    "key holder, opening": lambda side: side.parts.opening,
}


def cpu(work: Callable[[], T]) -> tuple[float, T]:
    """Returns the CPU seconds of a call, and its result."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def ours(deltas: Sequence[torch.Tensor]) -> Round:
    """Plays one round of the channel."""
    holder = KeyHolder.generate()
    everyone = tuple(range(CLIENTS))
    terms = CkksTerms(_SESSION, everyone, D, 4.0, CLIENTS, CLIENTS, dict.fromkeys(everyone, 1), 1)
    server = CkksServer(terms, key_id=holder.key_id, public_parameters=holder.public_parameters())
    clients = [CkksClient(client, terms, holder) for client in everyone]
    server.begin(0, everyone, _HASH)
    uploads = []
    absorbed = 0.0
    for client, request in server.requests().items():
        clients[client].receive(request)
        update = ClientUpdate(deltas[client], 1, None, _HASH)
        seconds, message = cpu(partial(clients[client].submit, update))
        uploads.append(seconds)
        seconds, accepted = cpu(partial(server.absorb, client, message))
        absorbed += seconds
        if not accepted:
            raise SystemExit("the server dropped an honest update")
    closed, _ = cpu(server.close_stage)
    request = server.requests()[0]
    opened, _ = cpu(lambda: clients[0].receive(request))
    size = len(message) / (_FLOAT32_BYTES * D)
    return Round(statistics.median(uploads), absorbed + closed, opened, size)


def raw(chunks: Sequence[NDArray[np.float64]], context: Any) -> Round:
    """Runs the TenSEAL calls of the same round and nothing else, on one client's chunks."""
    uploads: list[float] = []
    messages: list[list[bytes]] = []
    for _ in range(CLIENTS):
        seconds, message = cpu(
            lambda: [tenseal.ckks_vector(context, chunk).serialize() for chunk in chunks]
        )
        uploads.append(seconds)
        messages.append(message)
    added, total = cpu(lambda: _sum(messages, context))
    dumped, sums = cpu(lambda: [vector.serialize() for vector in total])
    opened, _ = cpu(
        lambda: np.concatenate(
            [tenseal.ckks_vector_from(context, chunk).decrypt() for chunk in sums]
        )
    )
    size = sum(map(len, messages[0])) / (_FLOAT32_BYTES * sum(map(len, chunks)))
    return Round(statistics.median(uploads), added + dumped, opened, size)


def _sum(messages: Sequence[Sequence[bytes]], context: Any) -> list[Any]:
    """Loads all uploads and adds them up."""
    total = [tenseal.ckks_vector_from(context, chunk) for chunk in messages[0]]
    for message in messages[1:]:
        for vector, chunk in zip(total, message, strict=True):
            vector.add_(tenseal.ckks_vector_from(context, chunk))
    return total


def context_of(degree: int, bits: Sequence[int], *, symmetric: bool) -> Any:
    """Returns a TenSEAL context with these parameters."""
    kind = tenseal.ENCRYPTION_TYPE.SYMMETRIC if symmetric else tenseal.ENCRYPTION_TYPE.ASYMMETRIC
    context = tenseal.context(
        tenseal.SCHEME_TYPE.CKKS,
        degree,
        coeff_mod_bit_sizes=list(bits),
        encryption_type=kind,
        n_threads=1,
    )
    context.global_scale = 2.0**40
    return context


def measured() -> dict[str, Medians]:
    """Measures our side, raw calls, those with a public key, and NVFlare's parameters."""
    deltas = [
        torch.randn(D, generator=torch.Generator().manual_seed(client)) for client in range(CLIENTS)
    ]
    numbers = deltas[0].double().numpy()
    chunks = list(numbers.reshape(-1, SLOTS))
    wide_chunks = list(numbers.reshape(-1, 2 * SLOTS))
    sides: dict[str, Callable[[], Round]] = {
        "ours": lambda: ours(deltas),
        "raw": lambda: raw(chunks, context_of(4096, (54, 55), symmetric=True)),
        "public key": lambda: raw(chunks, context_of(4096, (54, 55), symmetric=False)),
        "NVFlare": lambda: raw(wide_chunks, context_of(8192, (60, 40, 40), symmetric=False)),
    }
    # In turn, so that a slow moment of the machine hits all sides.
    turns = [{name: side() for name, side in sides.items()} for _ in range(REPEATS)]
    return {name: _medians([turn[name] for turn in turns]) for name in sides}


def _medians(rounds: Sequence[Round]) -> Medians:
    parts = Round(*map(statistics.median, zip(*rounds, strict=True)))
    return Medians(parts, statistics.median(played.whole for played in rounds))


def page(sides: Mapping[str, Medians]) -> str:
    """Returns docs/results/ckks.md."""
    machine = (
        f"Python {platform.python_version()}, tenseal {version('tenseal')}, {platform.machine()}"
    )
    rows = []
    for what, seconds in PARTS.items():
        mine = seconds(sides["ours"])
        theirs = seconds(sides["raw"])
        rows.append(
            [
                what,
                f"{mine:.4f} s",
                f"{theirs:.4f} s",
                f"{mine / theirs:.3f}x",
                f"<= {LARGEST_RATIO:.2f}x" if what == "whole round" else "",
                f"{seconds(sides['public key']):.4f} s",
                f"{seconds(sides['NVFlare']):.4f} s",
            ]
        )
    ours, raw, public, nvflare = (f"{side.parts.bytes:.2f}x" for side in sides.values())
    head = (
        "what",
        "ours",
        "raw TenSEAL",
        "ratio",
        "goal",
        "raw, public key",
        "raw, NVFlare's 8192 [60, 40, 40]",
    )
    lines = [
        "# Speed of the CKKS channel",
        "",
        f"`make bench-secagg`; {machine}, one thread. CPU time, medians of {REPEATS} turns; "
        f"{CLIENTS} clients,",
        f"{D} coordinates in {CHUNKS} ciphertexts. Raw: TenSEAL's calls with our parameters and "
        "nothing around them.",
        "",
        *markdown(head, rows),
        f"| upload over float32 | {ours} | {raw} | | 7.6x | {public} | {nvflare} |",
        "",
        "Ours includes clipping, weights, message heads, every check of what arrives, and the own "
        "form in which",
        "ciphertexts travel: 7 bytes a coefficient and no frame, where TenSEAL sends a frame and a "
        "compressed body.",
    ]
    return "\n".join(lines) + "\n"


def table(sides: Mapping[str, Medians]) -> str:
    """Returns docs/results/ckks.csv."""
    rows: list[tuple[str, str, float]] = []
    for name, side in sides.items():
        parts = side.parts
        rows += [
            (name, "client, upload", parts.upload),
            (name, "server, all of a round", parts.server),
            (name, "key holder, opening", parts.opening),
            (name, "bytes", parts.bytes),
            (name, "whole round", side.whole),
        ]
    return csv_text(("side", "what", "value"), rows, digits=6)


def main() -> None:
    """Measures, prints, and writes both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, required=True, help="path of the results, without suffix"
    )
    out: Path = parser.parse_args().out
    one_thread()
    sides = measured()
    text = page(sides)
    print(text)
    out.with_suffix(".md").write_text(text, encoding="utf-8")
    out.with_suffix(".csv").write_text(table(sides), encoding="utf-8")


if __name__ == "__main__":
    main()
