"""The masked channel beside Flower's SecAgg+: interleaved sub-processes, CPU seconds, medians, ratios.

    python -m benchmarks.speed.secagg --peer .venv-peers/bin/python --out docs/results/secagg

Each side runs in an environment of its own. A ratio is the peer's median over ours in the same run.
"""

import argparse
import csv
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import __version__ as cryptography_version

PEER_SCRIPT = Path(__file__).parent / "flower_secagg.py"
WORDS, FEW_WORDS = 11_000_000, 100_000


@dataclass(frozen=True)
class Case:
    """One comparison: the words of the command line, what must be reached, and how often it is run."""

    label: str
    arguments: tuple[str, ...]
    goal: float  # peer over ours, at least
    repeats: int = 5


def options(**values: int) -> tuple[str, ...]:
    """Values as command line options."""
    return tuple(part for name, value in values.items() for part in (f"--{name}", str(value)))


def unmasking(words: int) -> tuple[str, ...]:
    """The server's last stage among 101 clients of whom 10 dropped out."""
    return ("unmask", *options(clients=101, dropped=10, words=words))


CASES = (
    Case(
        "client masking stage, 10 neighbours", ("mask", *options(words=WORDS, neighbours=10)), 8, 3
    ),
    Case(
        "client masking stage, 100 neighbours",
        ("mask", *options(words=WORDS, neighbours=100)),
        8,
        3,
    ),
    Case(
        "client masking stage, 10 neighbours, 1e6 words",
        ("mask", *options(words=1_000_000, neighbours=10)),
        8,
        3,
    ),
    Case("share stage, n = 100", ("share", *options(clients=100)), 50),
    Case("server unmask, n = 101, 10 dropped, 1e5 words", unmasking(FEW_WORDS), 100, 2),
    Case("server unmask, n = 101, 10 dropped, 1.1e7 words", unmasking(WORDS), 15, 2),
)


def run(command: Sequence[str]) -> dict[str, Any]:
    """The JSON line that a measurement prints."""
    environment = {
        **os.environ,
        **{f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")},
    }
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)  # noqa: S603
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def ours(*arguments: str) -> dict[str, Any]:
    """One measurement of the masked channel."""
    return run([sys.executable, "-m", "benchmarks.speed.masking", *arguments])


def compared(case: Case, peer: str) -> dict[str, Any]:
    """Both sides in turn, as often as the case says."""
    here, there = [], []
    for _ in range(case.repeats):
        here.append(ours(*case.arguments))
        there.append(run([peer, str(PEER_SCRIPT), *case.arguments]))
    row: dict[str, Any] = {"what": case.label, "goal": f">= {case.goal:g}x"}
    for clock in ("cpu", "wall"):
        mine, theirs = (
            statistics.median(result[f"{clock}_s"] for result in results)
            for results in (here, there)
        )
        row |= {f"ours_{clock}": mine, f"peer_{clock}": theirs, f"ratio_{clock}": theirs / mine}
    return row


def own_figures() -> Iterator[tuple[str, str, str]]:
    """What is measured against a bound instead of a peer: label, figure, goal."""
    for neighbours in (10, 100):
        found = ours("kernel", *options(words=WORDS, neighbours=neighbours))
        for path, goal in (("portable", 1.35), ("gcm", 0.75)):
            label = f"mask kernel, {neighbours} neighbours, {path} path, over the bytes of AES-256-CTR alone"
            yield label, f"{found[f'{path}_ratio']:.2f}x", f"<= {goal}x"
    for ring, wanted in ((32, "<= 1.01x"), (16, "0.5x")):
        found = ours("mask", *options(words=WORDS, neighbours=10, ring=ring))
        yield (
            f"upload over float32, ring 2^{ring}",
            f"{found['upload_bytes'] / (4 * WORDS):.4f}x",
            wanted,
        )
    for neighbours in (10, 100):
        found = ours("mask", *options(words=WORDS, neighbours=neighbours))
        yield (
            f"memory beside the upload, {neighbours} neighbours",
            f"{found['extra_bytes'] / 1e6:.2f} MB",
            "< 2 MB",
        )
    for clients in (100, 300, 1000):
        found = ours("scale", *options(clients=clients, words=FEW_WORDS))
        figure = (
            f"{found['cpu_ms_per_client']:.0f} ms, {found['blocks']} block(s), {found['survivors']} survivors; "
            f"set-up, once a session: {found['set_up_ms_per_client']:.0f} ms"
        )
        yield (
            f"{clients} clients, 1e5 words, 5 % dropped: CPU a client (its own and the server's part)",
            figure,
            "flat",
        )


def markdown(
    rows: list[dict[str, Any]], figures: list[tuple[str, str, str]], command: str, peer: str
) -> str:
    """Both tables and where they come from."""
    machine = f"Python {platform.python_version()}, cryptography {cryptography_version}, {platform.machine()}"
    lines = [
        "# Speed of the masked channel",
        "",
        f"`{command}`; {machine}, one thread a process; peer: {peer}. Medians of",
        "interleaved sub-processes; 1.1e7 words unless the row says otherwise.",
        "",
        "| what | ours, CPU | ours, wall | Flower SecAgg+, CPU | ratio of CPU | ratio of wall | goal |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {row['what']} | {row['ours_cpu']:.4f} s | {row['ours_wall']:.4f} s | {row['peer_cpu']:.3f} s "
            f"| {row['ratio_cpu']:.1f}x | {row['ratio_wall']:.1f}x | {row['goal']} |"
            for row in rows
        ),
        "",
        "| what | measured | goal |",
        "|---|---|---|",
        *(f"| {what} | {figure} | {goal} |" for what, figure, goal in figures),
        "",
        "What is timed: our stages whole, signatures, checks and encoding included; of the peer the stage functions",
        "alone, without transport. The peer's masks come from a generator with a 32-bit seed, ours from AES-256; its",
        "upload has 8 bytes a word, ours 4 (2^32) or 2 (2^16).",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure everything and write both files."""
    parser = argparse.ArgumentParser(description="the masked channel beside Flower's SecAgg+")
    parser.add_argument("--peer", required=True, help="Python of the environment that has flwr")
    parser.add_argument(
        "--out", type=Path, required=True, help="path of the results, without suffix"
    )
    arguments = parser.parse_args()
    peer = run([arguments.peer, str(PEER_SCRIPT), "share", "--clients", "4"])["peer"]
    figures = list(own_figures())
    for figure in figures:
        print(*figure, sep=" | ", flush=True)
    rows = []
    for case in CASES:
        rows.append(compared(case, arguments.peer))
        print(rows[-1], flush=True)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.with_suffix(".md").write_text(
        markdown(rows, figures, "make bench-secagg", peer), encoding="utf-8"
    )
    with arguments.out.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        columns = [
            f"{who}_{clock}" for clock in ("cpu", "wall") for who in ("ours", "peer", "ratio")
        ]
        writer.writerow(["what", "goal", *columns, "measured"])
        writer.writerows(
            [row["what"], row["goal"], *(row[column] for column in columns), ""] for row in rows
        )
        writer.writerows(
            [what, goal, *[""] * len(columns), figure] for what, figure, goal in figures
        )


if __name__ == "__main__":
    main()
