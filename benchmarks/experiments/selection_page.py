"""The rows and the page of the experiment of selection."""

import csv
import io
import statistics
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from benchmarks.experiments.selections import (
    CHANNELS,
    DEALS,
    FLIP,
    LIARS,
    LIES,
    MEAN,
    NONE,
    ROUNDS,
    ROWS,
    Way,
    attacks_on,
    rules_of,
    ways,
)
from benchmarks.experiments.table import NO_GOAL as NO_GOAL
from benchmarks.experiments.table import Row as Goal
from benchmarks.experiments.table import markdown, percent, plus_minus

SKETCH = "sketch 64"  # that the goals speak of
NEAR = 0.035
FAR_ENOUGH = 0.92
BROKEN = 0.11
UNHARMED = 0.01
_INTRO = f"""\
Twenty clients on digits, `mlp` with 64 hidden neurons, {ROUNDS} rounds of one local epoch; test
accuracy in per cent, mean ± standard error over five seeds, each with a split of its own. Four
clients attack and f = 4; in groups of 4 two attack and f = 2, since five sums withstand no more,
and multi_krum on five rows withstands one. ALIE, IPM, min-max and the adaptive attacks see all
honest updates of the round (`knows = "omniscient"`); under sketches the adaptive ones plan against
the same rule with matrices of their own. Sign flip uploads -5 times the own update; lies do so,
too, and deal the sketch of the honest one. Nothing was tuned, and there is no privacy claim.

Rounds under sketches are rehearsed in the clear: updates are encoded, sketched, chosen, summed and
blamed by the functions of the masked channel, without shares and masks. Tests hold a rehearsed
round equal, bit for bit, to a round of the masked channel with the same matrix. The last table has
runs of both. All other cells are played over their own channel.
"""
_SHOWN_INTRO = """\
Membership: AUC of a client's own records against records of nobody, by the server alone and with
one client that tells it its update, or asks by it. Class mixes: R2 of the clients' shares of each
class after ten rounds, by a server that knows all other mixes, and by one that knows none, with
four colluders under sketches; one sum of all was not asked, since it tells clients not apart. How
each was measured, and on which federations: [sketches.md](sketches.md). Bytes are those of a client
in a round without an attack, seconds the CPU time of such a round for all parties together,
training included.
"""


class Cell(NamedTuple):
    """One seed of one way.

    Attributes:
        channel: of the way, as the following three.
        rule: ...
        attack: ...
        deal: ...
        seed: of the run and the split.
        played: "rehearsed", or "channel" where the channel itself was played.
        accuracy: on test records, after the last round.
        lost: abandoned rounds.
        named: liars that were named or left out with another client.
        wronged: honest clients of which that is true.
    """

    channel: str
    rule: str
    attack: str
    deal: str
    seed: int
    played: str
    accuracy: float
    lost: int
    named: int
    wronged: int

    @property
    def way(self) -> Way:
        """The way that was run."""
        return Way(self.channel, self.rule, self.attack, self.deal)


class Shown(NamedTuple):
    """A figure of what a channel shows or costs: one seed, or one run."""

    channel: str
    figure: str
    value: float


AUCS = ("AUC, server, 1 round", "AUC, server, 5", "AUC, one client, 1", "AUC, one client, 5")
MIXES = tuple(f"R2, {deal}, {known}" for deal in DEALS for known in ("others known", "none known"))
COSTS = ("bytes up", "bytes down", "CPU seconds")
REHEARSED, PLAYED = "rehearsed", "channel"


def page(cells: Sequence[Cell], shown: Sequence[Shown]) -> str:
    """Returns docs/results/selection.md."""
    lines = ["# Rules that choose under one masked sum", "", "Made by `make bench-selection`.", ""]
    lines += [_INTRO, "## Goals", ""]
    head = ("what", "goal", "measured", "verdict")
    lines += markdown(head, [(*goal[:3], goal.verdict) for goal in goals(cells)])
    for deal in DEALS:
        lines += ["", f"## {deal}", "", *_accuracies(cells, deal)]
    lines += ["", "## What each channel shows and costs", "", _SHOWN_INTRO, *_shown(shown)]
    lines += ["", "## Rehearsed, and played over the channel", "", *_both(cells)]
    return "\n".join([*lines, ""])


def goals(cells: Sequence[Cell]) -> list[Goal]:
    """Returns what was asked for, with what was measured."""
    apart = {
        way: _differences(cells, way, way._replace(channel=ROWS))
        for way in ways()
        if way.channel == SKETCH and way.attack != LIES
    }
    means = {way: statistics.fmean(values) for way, values in apart.items()}
    lowest, highest = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
    far = sum(abs(mean) > NEAR for mean in means.values())
    against = [
        way
        for way in ways()
        if (way.channel, way.rule, way.deal) == (SKETCH, "dnc", "IID") and way.attack != NONE
    ]
    worst = min(against, key=lambda way: statistics.fmean(accuracies(cells, way)))
    flipped = accuracies(cells, Way(MEAN, "mean", FLIP, "IID"))
    return [
        Goal(
            f"{SKETCH} minus plain rows: same rule, attack and seeds",
            f"within {100 * NEAR:g} points in every cell",
            f"from {_points(apart[lowest])} ({_called(lowest)}) to {_points(apart[highest])} "
            f"({_called(highest)}); {far} of {len(means)} cells further apart",
            far == 0,
        ),
        Goal(
            f"{SKETCH}, dnc, IID, worst attack",
            f"at least {100 * FAR_ENOUGH:g} %",
            f"{percent(accuracies(cells, worst))} ({worst.attack})",
            statistics.fmean(accuracies(cells, worst)) >= FAR_ENOUGH,
        ),
        Goal(
            "masked mean, IID, sign flip",
            f"at most {100 * BROKEN:g} %",
            percent(flipped),
            statistics.fmean(flipped) <= BROKEN,
        ),
        *_goals_of_lies(cells),
    ]


def _goals_of_lies(cells: Sequence[Cell]) -> Iterator[Goal]:
    for rule in rules_of(SKETCH):
        lies = Way(SKETCH, rule, LIES, "IID")
        apart = _differences(cells, lies, lies._replace(attack=NONE))
        own = [cell for cell in cells if cell.way == lies and cell.played == REHEARSED]
        lost = [cell.lost for cell in own]
        named = statistics.fmean(cell.named for cell in own)
        wronged = sum(cell.wronged for cell in own)
        yield Goal(
            f"{SKETCH}, {rule}, IID, lies minus no attack",
            f"within {100 * UNHARMED:g} point; four named, at most four rounds lost",
            f"{_points(apart)}; {named:g} liars and {wronged} others named, {min(lost)} to "
            f"{max(lost)} rounds lost",
            abs(statistics.fmean(apart)) <= UNHARMED
            and (named, wronged) == (LIARS, 0)
            and max(lost) <= LIARS,
        )


def accuracies(cells: Sequence[Cell], way: Way) -> list[float]:
    """Returns the accuracies of a way by seed; under sketches those of rehearsals."""
    played = REHEARSED if way.sketched else PLAYED
    own = [cell for cell in cells if (cell.way, cell.played) == (way, played)]
    return [cell.accuracy for cell in sorted(own, key=lambda cell: cell.seed)]


def _differences(cells: Sequence[Cell], way: Way, other: Way) -> list[float]:
    pairs = zip(accuracies(cells, way), accuracies(cells, other), strict=True)
    return [one - two for one, two in pairs]


def _points(values: Sequence[float]) -> str:
    return plus_minus([100 * value for value in values])


def _called(way: Way) -> str:
    return f"{way.rule}, {way.deal}, {way.attack}"


def _accuracies(cells: Sequence[Cell], deal: str) -> Iterator[str]:
    attacks = list(attacks_on(SKETCH))
    table = []
    for channel in CHANNELS:
        for rule in rules_of(channel):
            found = {
                way.attack: accuracies(cells, way)
                for way in ways()
                if (way.channel, way.rule, way.deal) == (channel, rule, deal)
            }
            shown = [_points(found[attack]) if attack in found else "" for attack in attacks]
            table.append((channel, rule, *shown))
    yield from markdown(("channel", "rule", *attacks), table)


def _shown(shown: Sequence[Shown]) -> Iterator[str]:
    table = []
    for channel in CHANNELS:
        values = {
            figure: [row.value for row in shown if (row.channel, row.figure) == (channel, figure)]
            for figure in (*AUCS, *MIXES, *COSTS)
        }
        measured = [_seeds(values[figure], digits=3) for figure in AUCS]
        measured += [_seeds(values[figure], digits=2) for figure in MIXES]
        up, down, seconds = (values[figure][0] for figure in COSTS)
        costs = (f"{up / 1000:.1f} KB", f"{down / 1000:.1f} KB", f"{seconds:.2f}")
        table.append((channel, *measured, *costs))
    yield from markdown(("channel", *AUCS, *MIXES, "up", "down", "CPU seconds"), table)


def _seeds(values: Sequence[float], *, digits: int) -> str:
    return plus_minus(values, digits=digits) if values else ""


def _both(cells: Sequence[Cell]) -> Iterator[str]:
    yield "Seed 0. The matrices differ: those of the channel hang on its masks."
    yield ""
    table = []
    for played in cells:
        if played.played != PLAYED or not played.way.sketched:
            continue
        (rehearsed,) = (
            cell
            for cell in cells
            if (cell.way, cell.seed, cell.played) == (played.way, played.seed, REHEARSED)
        )
        found = [
            f"{100 * one.accuracy:.1f} %, {one.named} named, {one.lost} rounds lost"
            for one in (rehearsed, played)
        ]
        table.append((_called(played.way), *found))
    yield from markdown((f"{SKETCH}: rule, deal, attack", "rehearsed", "played"), table)


def read_cells(text: str) -> list[Cell]:
    """Reads selection.csv."""
    return [
        Cell(
            line["channel"],
            line["rule"],
            line["attack"],
            line["deal"],
            int(line["seed"]),
            line["played"],
            float(line["accuracy"]),
            int(line["lost"]),
            int(line["named"]),
            int(line["wronged"]),
        )
        for line in csv.DictReader(io.StringIO(text))
    ]


def read_shown(text: str) -> list[Shown]:
    """Reads selection-channels.csv."""
    return [
        Shown(line["channel"], line["figure"], float(line["value"]))
        for line in csv.DictReader(io.StringIO(text))
    ]
