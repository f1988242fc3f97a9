"""The CKKS channel beside the raw TenSEAL calls it is made of, at equal parameters: CPU seconds, medians, ratios.

    python -m benchmarks.speed.ckks --out docs/results/ckks

Both sides take turns in one process of one thread. The last rows are the parameters that NVFlare's documentation
uses, by TenSEAL's own calls: what they cost, and how many bytes they send.
"""

import argparse
import csv
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import tenseal
import torch
from numpy.typing import NDArray

from securefl.channels.ckks.cipher import KeyHolder
from securefl.channels.ckks.client import CkksClient
from securefl.channels.ckks.server import CkksServer
from securefl.channels.ckks.terms import SLOTS, CkksTerms
from securefl.channels.protocol import ClientUpdate

CHUNKS, CLIENTS, REPEATS = 100, 5, 7
D = CHUNKS * SLOTS
GOAL = 1.10
_PARTS = ("client, upload", "server, all of a round", "key holder, opening")
_HASH, _SESSION = bytes(32), bytes(16)


def cpu(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of work, and what it gave."""
    begun = time.process_time()
    result = work()
    return time.process_time() - begun, result


def ours(deltas: Sequence[torch.Tensor]) -> dict[str, float]:
    """One round of the channel: a client's upload, the server's part for a client, and an opening."""
    holder, everyone = KeyHolder.generate(), tuple(range(CLIENTS))
    terms = CkksTerms(_SESSION, everyone, D, 4.0, CLIENTS, CLIENTS, dict.fromkeys(everyone, 1), 1)
    server = CkksServer(terms, key_id=holder.key_id, public_parameters=holder.public_parameters())
    clients = [CkksClient(client, terms, holder) for client in everyone]
    server.begin(0, everyone, _HASH)
    uploads, added = [], 0.0
    for client, request in server.requests().items():
        clients[client].receive(request)
        update = ClientUpdate(deltas[client], 1, None, _HASH)
        seconds, message = cpu(partial(clients[client].submit, update))
        uploads.append(seconds)
        seconds, taken = cpu(partial(server.absorb, client, message))
        added += seconds
        if not taken:
            raise SystemExit("the server dropped an honest update")
    closed, _ = cpu(server.close_stage)
    request = server.requests()[0]
    opened, _ = cpu(lambda: clients[0].receive(request))
    return {
        "client, upload": statistics.median(uploads),
        "server, all of a round": added + closed,
        "key holder, opening": opened,
        "bytes": len(message) / (4 * D),
    }


def raw(parts: Sequence[NDArray[np.float64]], context: Any) -> dict[str, float]:
    """The TenSEAL calls of the same round and nothing else; parts are one client's chunks."""
    uploads: list[float] = []
    sent: list[list[bytes]] = []
    for _ in range(CLIENTS):
        seconds, message = cpu(
            lambda: [tenseal.ckks_vector(context, part).serialize() for part in parts]
        )
        uploads.append(seconds)
        sent.append(message)
    added, total = cpu(lambda: _sum(sent, context))
    dumped, sums = cpu(lambda: [one.serialize() for one in total])
    opened, _ = cpu(
        lambda: np.concatenate([tenseal.ckks_vector_from(context, one).decrypt() for one in sums])
    )
    return {
        "client, upload": statistics.median(uploads),
        "server, all of a round": added + dumped,
        "key holder, opening": opened,
        "bytes": sum(map(len, sent[0])) / (4 * sum(map(len, parts))),
    }


def _sum(sent: Sequence[Sequence[bytes]], context: Any) -> list[Any]:
    """All uploads, loaded and added up."""
    total = [tenseal.ckks_vector_from(context, one) for one in sent[0]]
    for message in sent[1:]:
        for one, other in zip(total, message, strict=True):
            one.add_(tenseal.ckks_vector_from(context, other))
    return total


def context_of(degree: int, bits: Sequence[int], *, symmetric: bool) -> Any:
    """A context with these parameters."""
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


def measured() -> dict[str, dict[str, float]]:
    """Medians of every figure for us, the raw calls, those with a public key, and NVFlare's parameters."""
    deltas = [
        torch.randn(D, generator=torch.Generator().manual_seed(client)) for client in range(CLIENTS)
    ]
    numbers = deltas[0].double().numpy()
    sides: dict[str, Callable[[], dict[str, float]]] = {
        "ours": lambda: ours(deltas),
        "raw": lambda: raw(
            list(numbers.reshape(-1, SLOTS)), context_of(4096, (54, 55), symmetric=True)
        ),
        "public key": lambda: raw(
            list(numbers.reshape(-1, SLOTS)), context_of(4096, (54, 55), symmetric=False)
        ),
        "NVFlare": lambda: raw(
            list(numbers.reshape(-1, 2 * SLOTS)), context_of(8192, (60, 40, 40), symmetric=False)
        ),
    }
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for _ in range(REPEATS):
        for name, side in sides.items():
            runs[name].append(side())
    return {
        name: {what: statistics.median(run[what] for run in found) for what in found[0]}
        | {"whole round": statistics.median(whole(run) for run in found)}
        for name, found in runs.items()
    }


def whole(part: dict[str, float]) -> float:
    """Seconds of a round: every client uploads and opens, the server adds."""
    return (
        CLIENTS * (part["client, upload"] + part["key holder, opening"])
        + part["server, all of a round"]
    )


def markdown(found: dict[str, dict[str, float]]) -> str:
    """The table and where it comes from."""
    machine = (
        f"Python {platform.python_version()}, tenseal {version('tenseal')}, {platform.machine()}"
    )
    lines = [
        "# Speed of the CKKS channel",
        "",
        f"`make bench-secagg`; {machine}, one thread. CPU time, medians of {REPEATS} turns; {CLIENTS} clients,",
        f"{D} coordinates in {CHUNKS} ciphertexts. Raw: TenSEAL's calls with our parameters and nothing around them.",
        "",
        "| what | ours | raw TenSEAL | ratio | goal | raw, public key | raw, NVFlare's 8192 [60, 40, 40] |",
        "|---|---|---|---|---|---|---|",
    ]
    for what in ("whole round", *_PARTS):
        mine, theirs = found["ours"][what], found["raw"][what]
        others = [f"{found[name][what]:.4f} s" for name in ("public key", "NVFlare")]
        goal = "" if what in _PARTS else f"<= {GOAL:.2f}x"
        lines.append(
            f"| {what} | {mine:.4f} s | {theirs:.4f} s | {mine / theirs:.3f}x | {goal} | {' | '.join(others)} |"
        )
    size = [f"{found[name]['bytes']:.2f}x" for name in ("ours", "raw", "public key", "NVFlare")]
    lines.append(
        f"| upload over float32 | {size[0]} | {size[1]} | | 7.6x | {size[2]} | {size[3]} |"
    )
    lines += [
        "",
        "Ours includes clipping, weights, message heads, every check of what arrives, and the own form in which",
        "ciphertexts travel: 7 bytes a coefficient and no frame, where TenSEAL sends a frame and a compressed body.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, and write both files."""
    parser = argparse.ArgumentParser(description="the CKKS channel beside raw TenSEAL")
    parser.add_argument(
        "--out", type=Path, required=True, help="path of the results, without suffix"
    )
    out = parser.parse_args().out
    torch.set_num_threads(1)
    found = measured()
    page = markdown(found)
    print(page)
    out.with_suffix(".md").write_text(page, encoding="utf-8")
    with out.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["side", "what", "value"])
        writer.writerows(
            [name, what, f"{value:.6g}"]
            for name, side in found.items()
            for what, value in side.items()
        )


if __name__ == "__main__":
    main()
