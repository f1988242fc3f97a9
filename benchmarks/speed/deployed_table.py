"""The table of rounds between real processes: rows and the page."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.experiments.table import markdown


class Row(NamedTuple):
    """Medians of one side; bytes are a mean, since trips of two rounds overlap."""

    link: str  # direct, flower or fedavg
    channel: str
    evaluation: str
    parameters: int
    rounds: int  # of the run; all but the first count
    wall_s: float  # of a round
    cpu_s: float
    site_bytes: float  # of a round, both directions
    trips: float  # of a round; 0 where nobody counts
    whole_s: float  # of the run with start-up, end and comparison
    simulated_bytes: float  # a site and round in the simulation; 0 for FedAvg
    train_s: float  # of the slowest site, alone on this machine; 0 for FedAvg
    load: float  # mean length of the machine's run queue in the minute before the run ended

    @classmethod
    def read(cls, cells: Mapping[str, str]) -> "Row":
        """Returns a row of the CSV file."""
        return cls(
            cells["link"],
            cells["channel"],
            cells["evaluation"],
            int(cells["parameters"]),
            int(cells["rounds"]),
            *(float(cells[name]) for name in cls._fields[5:]),
        )

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What was measured."""
        return self.link, self.channel, self.evaluation, self.parameters


class Goal(NamedTuple):
    """A figure, its bound, and what was measured."""

    what: str
    bound: float
    measured: float

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """A line of the table."""
        verdict = "met" if self.measured <= self.bound else "NOT met"
        return self.what, f"<= {self.bound:g}", f"{self.measured:.4g}", verdict


HEART = 16  # parameters
LARGE = 107_297
_LABELS = {
    "direct": "ours, direct link",
    "flower": "ours, over Flower",
    "fedavg": "Flower's FedAvg",
}


def rows_of(path: Path) -> list[Row]:
    """Reads the CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return [Row.read(cells) for cells in csv.DictReader(file)]


def goals(rows: Sequence[Row]) -> Iterator[Goal]:
    """Yields the goals whose rows were measured."""
    by = {row.key: row for row in rows}
    ours = by.get(("flower", "masked", "sums", HEART))
    for evaluation, bound, words in (("sums", 1.3, "with evaluation"), ("", 2.0, "training only")):
        peer = by.get(("fedavg", "plain", evaluation, HEART))
        if ours and peer:
            yield Goal(
                f"wall, masked round with evaluation over Flower / FedAvg {words}",
                bound,
                ours.wall_s / peer.wall_s,
            )
    if direct := by.get(("direct", "masked", "", HEART)):
        beyond = direct.wall_s - direct.train_s
        yield Goal("seconds of a masked round beyond training, direct", 0.3, beyond)
    for link in ("direct", "flower"):
        for channel, evaluation, bound in (("masked", "sums", 3.0), ("plain", "", 1.0)):
            if row := by.get((link, channel, evaluation, HEART)):
                with_ = " with evaluation" if evaluation else ""
                yield Goal(f"trips of a {channel} round{with_}, {link}", bound, row.trips)
    for channel in ("masked", "plain"):
        if row := by.get(("direct", channel, "", LARGE)):
            what = f"bytes over the simulation's, {channel}, {LARGE:,} parameters"
            yield Goal(what, 1.02, row.site_bytes / row.simulated_bytes)
    whole = [row.whole_s for row in rows if row.link == "direct" and row.parameters == HEART]
    if whole:
        yield Goal("seconds of a whole rehearsal, direct, the longest", 90.0, max(whole))


def page(rows: Sequence[Row], machine: str, notes: str) -> str:
    """Returns docs/results/deploy.md."""
    head = ("link", "channel", "evaluation", "wall", "CPU", "bytes a site", "trips", "load")
    small = [row for row in rows if row.parameters == HEART]
    large = [row for row in rows if row.parameters == LARGE]
    loads = [row.load for row in rows]
    lines = [
        "# Rounds between real processes",
        "",
        f"`make bench-deploy`; {machine}. Four sites with the Heart records, logistic regression,",
        "one epoch of SGD in batches of 64, one thread a process, all on one machine, over TLS. "
        "Medians of the",
        "rounds after the first. CPU is that of all processes. A relay before the one port that",
        "sites connect to counts the bytes, TLS included. With evaluation, validation records "
        "judge each round's model",
        "at the sites. FedAvg runs as Flower's tutorials write it: a SuperLink with TLS, four "
        "SuperNodes,",
        "`flwr.serverapp.strategy.FedAvg`, PyTorch in the ClientApp, the same records and epochs.",
        "",
        f"**The machine was busy**: {min(loads):.1f} to {max(loads):.1f} processes, "
        "ours among them, were ready for its two cores.",
        "Read ratios, and those of CPU before those of wall time.",
        "",
        *markdown(head, map(_cells, small)),
        "",
        "## Goals",
        "",
        *markdown(("what", "goal", "measured", ""), (goal.cells for goal in goals(rows))),
    ]
    if large:
        large_head = ("channel", "wall", "CPU", "bytes a site", "in the simulation")
        lines += [
            "",
            f"## A model of {LARGE:,} parameters, direct link, no evaluation",
            "",
            *markdown(large_head, map(_large_cells, large)),
        ]
    return "\n".join([*lines, "", notes.strip(), ""])


def _cells(row: Row) -> list[str]:
    return [
        _LABELS[row.link],
        row.channel,
        row.evaluation and "at the sites",
        f"{row.wall_s:.2f} s",
        f"{row.cpu_s:.2f} s",
        f"{row.site_bytes:,.0f}",
        f"{row.trips:g}" if row.trips else "",
        f"{row.load:.1f}",
    ]


def _large_cells(row: Row) -> list[str]:
    shown = [f"{row.wall_s:.2f} s", f"{row.cpu_s:.2f} s"]
    return [row.channel, *shown, f"{row.site_bytes:,.0f}", f"{row.simulated_bytes:,.0f}"]
