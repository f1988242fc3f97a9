"""The masked channel next to Flower's SecAgg+: CPU seconds, medians, ratios.

    python -m benchmarks.speed.secagg --peer .venv-peers/bin/python --out docs/results/secagg

Each side runs in an environment of its own, in sub-processes that take turns. A ratio is the peer's
median over ours in the same run.
"""

import argparse
import csv
import platform
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cryptography import __version__ as cryptography_version

from benchmarks.experiments.table import markdown
from benchmarks.speed.process import Answer, options, run

PEER_SCRIPT = Path(__file__).parent / "flower_secagg.py"
WORDS = 11_000_000  # of ResNet-18
FEW_WORDS = 100_000


@dataclass(frozen=True)
class Case:
    """One comparison: the words of the command line, the goal, and how often it is run."""

    label: str
    arguments: tuple[str, ...]
    goal: float  # peer over ours, at least
    repeats: int = 5


class Comparison(NamedTuple):
    """Medians of both sides, in seconds; a ratio is the peer's over ours."""

    what: str
    goal: str
    ours_cpu: float
    peer_cpu: float
    ratio_cpu: float
    ours_wall: float
    peer_wall: float
    ratio_wall: float


class Figure(NamedTuple):
    """A figure of ours that is compared with a bound in place of a peer."""

    what: str
    measured: str
    goal: str


def unmasking(words: int) -> tuple[str, ...]:
    """Returns the server's last stage among 101 clients of whom 10 dropped out."""
    return ("unmask", *options(clients=101, dropped=10, words=words))


def masking(words: int, neighbours: int) -> tuple[str, ...]:
    """Returns one client's masking stage."""
    return ("mask", *options(words=words, neighbours=neighbours))


CASES = (
    Case("client masking stage, 10 neighbours", masking(WORDS, 10), 8, 3),
    Case("client masking stage, 100 neighbours", masking(WORDS, 100), 8, 3),
    Case("client masking stage, 10 neighbours, 1e6 words", masking(1_000_000, 10), 8, 3),
    Case("share stage, n = 100", ("share", *options(clients=100)), 50),
    Case("server unmask, n = 101, 10 dropped, 1e5 words", unmasking(FEW_WORDS), 100, 2),
    Case("server unmask, n = 101, 10 dropped, 1.1e7 words", unmasking(WORDS), 15, 2),
)


def ours(*arguments: str) -> Answer:
    """Returns one measurement of the masked channel."""
    return run([sys.executable, "-m", "benchmarks.speed.masking", *arguments])


def compared(case: Case, peer: str) -> Comparison:
    """Runs both sides in turn, as often as the case says."""
    here = []
    there = []
    # In turn, so that a slow moment of the machine hits both sides.
    for _ in range(case.repeats):
        here.append(ours(*case.arguments))
        there.append(run([peer, str(PEER_SCRIPT), *case.arguments]))

    def medians(clock: str) -> tuple[float, float, float]:
        mine = statistics.median(answer.number(clock) for answer in here)
        theirs = statistics.median(answer.number(clock) for answer in there)
        return mine, theirs, theirs / mine

    return Comparison(case.label, f">= {case.goal:g}x", *medians("cpu_s"), *medians("wall_s"))


def own_figures() -> Iterator[Figure]:
    """Yields the figures that have a bound in place of a peer."""
    for neighbours in (10, 100):
        answer = ours("kernel", *options(words=WORDS, neighbours=neighbours))
        for path, goal in (("portable", 1.35), ("gcm", 0.75)):
            yield Figure(
                f"mask kernel, {neighbours} neighbours, {path} path, "
                "over the bytes of AES-256-CTR alone",
                f"{answer.number(f'{path}_ratio'):.2f}x",
                f"<= {goal}x",
            )
    for ring, bound in ((32, "<= 1.01x"), (16, "0.5x")):
        answer = ours("mask", *options(words=WORDS, neighbours=10, ring=ring))
        factor = answer.number("upload_bytes") / (4 * WORDS)
        yield Figure(f"upload over float32, ring 2^{ring}", f"{factor:.4f}x", bound)
    for neighbours in (10, 100):
        answer = ours(*masking(WORDS, neighbours))
        megabytes = answer.number("extra_bytes") / 1e6
        what = f"memory beside the upload, {neighbours} neighbours"
        yield Figure(what, f"{megabytes:.2f} MB", "< 2 MB")
    for clients in (100, 300, 1000):
        answer = ours("scale", *options(clients=clients, words=FEW_WORDS))
        yield Figure(
            f"{clients} clients, 1e5 words, 5 % dropped: "
            "CPU a client (its own and the server's part)",
            f"{answer.number('cpu_ms_per_client'):.0f} ms, {answer.text('blocks')} block(s), "
            f"{answer.text('survivors')} survivors; set-up, once a session: "
            f"{answer.number('set_up_ms_per_client'):.0f} ms",
            "flat",
        )


def page(rows: Sequence[Comparison], figures: Sequence[Figure], peer: str) -> str:
    """Returns docs/results/secagg.md."""
    machine = (
        f"Python {platform.python_version()}, cryptography {cryptography_version}, "
        f"{platform.machine()}"
    )
    head = (
        "what",
        "ours, CPU",
        "ours, wall",
        "Flower SecAgg+, CPU",
        "ratio of CPU",
        "ratio of wall",
        "goal",
    )
    lines = [
        "# Speed of the masked channel",
        "",
        f"`make bench-secagg`; {machine}, one thread a process; peer: {peer}. Medians of",
        "interleaved sub-processes; 1.1e7 words unless the row says otherwise.",
        "",
        *markdown(head, map(_cells, rows)),
        "",
        *markdown(("what", "measured", "goal"), figures),
        "",
        "What is timed: our stages whole, signatures, checks and encoding included; of the peer "
        "the stage functions",
        "alone, without transport. The peer's masks come from a generator with a 32-bit seed, "
        "ours from AES-256; its",
        "upload has 8 bytes a word, ours 4 (2^32) or 2 (2^16).",
    ]
    return "\n".join(lines) + "\n"


def _cells(row: Comparison) -> list[str]:
    return [
        row.what,
        f"{row.ours_cpu:.4f} s",
        f"{row.ours_wall:.4f} s",
        f"{row.peer_cpu:.3f} s",
        f"{row.ratio_cpu:.1f}x",
        f"{row.ratio_wall:.1f}x",
        row.goal,
    ]


def main() -> None:
    """Measures everything and writes both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", required=True, help="Python of the environment that has flwr")
    parser.add_argument(
        "--out", type=Path, required=True, help="path of the results, without suffix"
    )
    arguments = parser.parse_args()
    # A small case, which also shows early whether the peer's environment works.
    version = run([arguments.peer, str(PEER_SCRIPT), "share", "--clients", "4"]).text("peer")
    figures = list(own_figures())
    for figure in figures:
        print(*figure, sep=" | ", flush=True)
    rows = []
    for case in CASES:
        rows.append(compared(case, arguments.peer))
        print(rows[-1], flush=True)
    out: Path = arguments.out
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".md").write_text(page(rows, figures, version), encoding="utf-8")
    with out.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*Comparison._fields, "measured"])
        writer.writerows([*row, ""] for row in rows)
        empty = [""] * (len(Comparison._fields) - 2)
        writer.writerows([figure.what, figure.goal, *empty, figure.measured] for figure in figures)


if __name__ == "__main__":
    main()
