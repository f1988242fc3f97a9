"""The rows and the page of the experiment of topologies."""

import csv
import io
import statistics
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from benchmarks.experiments.meetings import (
    CLOCK,
    DEALS,
    FEDBUFF,
    ORDERS,
    PLACES,
    RATES,
    TORUS,
    Way,
    ways,
)
from benchmarks.experiments.table import markdown, plus_minus

TUNING_SEEDS = (100, 101)
LAST_UPDATES = 100  # whose rounds the accuracy of a way with a clock is the mean of
NEARLY = 0.005  # below FedAvg's accuracy, that counts as having reached it


class Row(NamedTuple):
    """One seed of one way.

    Attributes:
        way: its number.
        lr: that was chosen.
        seed: of the run and the split.
        accuracy: of the model, or the mean over honest nodes; with a clock, over the last rounds.
        worst: of the worst honest node.
        consensus: of honest nodes' models, the root of the mean squared distance from their mean.
        bytes: up and down, of the whole run.
        reached: simulated time at which the mean over the last rounds comes near FedAvg's.
        slow_share: share of updates in the model that are of slow clients.
        slow_accuracy: on the records that slow clients train on.
        curve: the clock and the accuracy of every round.
    """

    way: int
    lr: float
    seed: int
    accuracy: float
    worst: float | None
    consensus: float | None
    bytes: float
    reached: float | None
    slow_share: float | None
    slow_accuracy: float | None
    curve: str


def span(way: Way) -> int:
    """Returns the number of rounds that hold the last updates."""
    return LAST_UPDATES // (5 if way.label == FEDBUFF else 20)


def smooth(values: Sequence[float], span: int) -> list[float]:
    """Returns the mean of each value and of those before it, `span` in all where there are."""
    return [statistics.fmean(values[max(0, end - span) : end]) for end in range(1, len(values) + 1)]


def points(row: Row) -> tuple[list[int], list[float]]:
    """Returns the clocks of a curve, and its accuracies as means over the last rounds."""
    pairs = [pair.split(":") for pair in row.curve.split()]
    values = smooth([float(value) for _, value in pairs], span(ways()[row.way]))
    return [int(clock) for clock, _ in pairs], values


def page(rows: Sequence[Row]) -> str:
    """Returns docs/results/topologies.md."""
    lines = [
        "# Other ways to federate",
        "",
        "`make bench-topologies`; digits, an MLP of 32, one local epoch; five seeds, each with a "
        "split of its own; mean ±",
        f"standard error. Each way was tuned on seeds {TUNING_SEEDS[0]} and {TUNING_SEEDS[1]} over "
        f"the learning rates {', '.join(f'{rate:g}' for rate in RATES)}, without an attack.",
        "Nothing is claimed; [topologies.md](../topologies.md) says what each does.",
        "",
        "## Sixteen peers on a 4 x 4 torus, two of which flip the sign of the model that they send",
        "",
        "f = 1, after 40 rounds. `apart`: no node has both as neighbours. `sharing`: two honest "
        "nodes do, and there a rule",
        "with f = 1 promises nothing.",
        *_torus(rows),
        "",
        "## Nine sites, equal passes over the data",
        "",
        "Server and cyclic: 20 rounds. Hierarchical: 10 rounds of two inner rounds in three "
        "regions.",
        "",
        *_orders(rows),
        "",
        "## Twenty clients, five of them eight times slower",
        "",
        "800 trainings in each way. Accuracy is the mean over the rounds of the last "
        f"{LAST_UPDATES} trainings. The time is that at which",
        f"the same mean comes within {NEARLY:g} of FedAvg's, of the same seed. FedBuff: buffer 5, "
        "concurrency 20.",
        "",
        "![Accuracy over simulated time](../figures/topologies.svg)",
        *_clock(rows),
    ]
    return "\n".join([*lines, ""])


def _of(rows: Sequence[Row], way: Way) -> list[Row]:
    number = ways().index(way)
    return [row for row in rows if row.way == number]


def _torus(rows: Sequence[Row]) -> Iterator[str]:
    peers = [way for way in ways() if way.section == TORUS]
    for deal in DEALS:
        labels = dict.fromkeys(way.label for way in peers)
        table = []
        for label in labels:
            cells = []
            for place in PLACES:
                (way,) = [
                    one
                    for one in peers
                    if (one.label, one.deal, one.corrupt) == (label, deal, place)
                ]
                own = _of(rows, way)
                worst = statistics.fmean(row.worst or 0.0 for row in own)
                mean = plus_minus([row.accuracy for row in own], digits=3)
                cells.append(f"{mean} ({worst:.3f})")
            lr = f"{_of(rows, way)[0].lr:g}"
            apart = statistics.fmean(row.consensus or 0.0 for row in _of(rows, way))
            sent = statistics.fmean(row.bytes for row in own) / 1e6
            table.append((label, lr, *cells, f"{apart:.2f}", f"{sent:.0f}"))
        head = ("rule", "lr", *(f"corrupt: {place}" for place in PLACES))
        yield from ["", f"{deal}: accuracy, mean of honest nodes (mean of the worst ones)", ""]
        yield from markdown((*head, "consensus distance, sharing", "MB sent"), table)


def _orders(rows: Sequence[Row]) -> Iterator[str]:
    found = [way for way in ways() if way.section == ORDERS]
    reference = [row.accuracy for row in _of(rows, found[0])]
    table = []
    for way in found:
        own = _of(rows, way)
        values = [row.accuracy for row in own]
        apart = [one - other for one, other in zip(values, reference, strict=True)]
        sent = statistics.fmean(row.bytes for row in own) / 1e6
        difference = "" if way is found[0] else plus_minus(apart, digits=3)
        table.append(
            (way.label, f"{own[0].lr:g}", plus_minus(values, digits=3), difference, f"{sent:.1f}")
        )
    yield from markdown(("topology", "lr", "accuracy", "minus server", "MB sent"), table)


def _clock(rows: Sequence[Row]) -> Iterator[str]:
    for deal in DEALS:
        table = []
        for way in ways():
            if (way.section, way.deal) != (CLOCK, deal):
                continue
            own = _of(rows, way)
            times = [row.reached for row in own]
            reached = [time for time in times if time is not None]
            time = f"{statistics.median(reached):g}" if reached else "never"
            if 0 < len(reached) < len(times):
                time += f" (in {len(reached)} of {len(times)} seeds)"
            ends = statistics.fmean(points(row)[0][-1] for row in own)
            share = statistics.fmean(row.slow_share or 0.0 for row in own)
            slow = plus_minus([row.slow_accuracy or 0.0 for row in own], digits=3)
            mean = plus_minus([row.accuracy for row in own], digits=3)
            table.append(
                (way.label, f"{own[0].lr:g}", mean, time, f"{ends:g}", f"{share:.0%}", slow)
            )
        head = (
            "way",
            "lr",
            "accuracy",
            "median time to FedAvg's accuracy",
            "time of the run",
            "slow clients' share of updates",
            "accuracy on slow clients' records",
        )
        yield from ["", deal, "", *markdown(head, table)]


def read_rows(text: str) -> list[Row]:
    """Reads the CSV file."""

    def number(cell: str) -> float | None:
        return float(cell) if cell else None

    return [
        Row(
            int(line["way"]),
            float(line["lr"]),
            int(line["seed"]),
            float(line["accuracy"]),
            number(line["worst"]),
            number(line["consensus"]),
            float(line["bytes"]),
            number(line["reached"]),
            number(line["slow_share"]),
            number(line["slow_accuracy"]),
            line["curve"],
        )
        for line in csv.DictReader(io.StringIO(text))
    ]


def curves(rows: Sequence[Row]) -> dict[str, dict[str, list[tuple[list[int], list[float]]]]]:
    """Returns deal -> way -> a curve a seed, of the ways with a clock."""
    return {
        deal: {
            way.label: [points(row) for row in _of(rows, way)]
            for way in ways()
            if (way.section, way.deal) == (CLOCK, deal)
        }
        for deal in DEALS
    }
