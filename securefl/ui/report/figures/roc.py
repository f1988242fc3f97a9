"""ROC of membership attacks, both axes logarithmic, with the most that the claim allows."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from securefl.privacy.accounting.profile import Profile
from securefl.ui.report.figure import Figure
from securefl.ui.report.figures.drawing import (
    BAD,
    INK,
    LINE,
    SERIES,
    SMALL,
    Panel,
    canvas,
    lines_of,
    panel,
    shown,
    svg_of,
)
from securefl.ui.report.figures.names import CHARACTERS, ROOM, Name, write_names
from securefl.ui.report.table import Table

if TYPE_CHECKING:  # these load torch
    from securefl.audit.findings import Findings
    from securefl.audit.lines import Line

HEIGHT = 236
LOWEST_RATE = 1e-4  # where both axes begin
MOST_LINES = len(SERIES)
MOST_STEPS = 120  # of a curve
BOUND_POINTS = 60
TICKS = {1e-4: "0.01 %", 1e-3: "0.1 %", 1e-2: "1 %", 1e-1: "10 %", 1.0: "100 %"}
PAD = 0.15  # around both axes, in powers of ten
APART = 0.1  # of a power of ten: intervals of several attacks at one rate
HEAD = ("attack", "false positive rate", "true positive rate", "lower", "upper", "claim allows")
ALLOWED, CHANCE = "the claim allows", "chance"


@dataclass(frozen=True)
class Measured:
    """An attack in the figure: its line, its colour, and how far its intervals are moved."""

    line: "Line"
    colour: str
    shift: float


def roc(
    findings: "Findings", profile: Profile | None = None, *, name: str = "roc"
) -> Figure | None:
    """Returns the ROC of an audit; None where no attack on membership was measured.

    Args:
        findings: of the audit. Its curves are drawn where they are at hand; findings from the disk
            have their points alone.
        profile: of the claim, where the findings do not carry it.
        name: of the figure, unique on its page.
    """
    lines = [
        line
        for line in findings.lines
        if line.curve is not None or any(point.share is not None for point in line.points)
    ]
    lines = sorted(lines, key=_strength, reverse=True)[:MOST_LINES]
    if not lines:
        return None
    profile = next((line.profile for line in lines if line.profile is not None), profile)
    middle = (len(lines) - 1) / 2
    measured = [
        Measured(line, SERIES[place], APART * (place - middle)) for place, line in enumerate(lines)
    ]
    figure = canvas(HEIGHT + 72)
    axes = panel(figure, top=22, height=HEIGHT, left=46, right=ROOM)
    _draw(axes, measured, profile)
    alt = _alt(lines)
    return Figure(
        name=name,
        title="Membership attacks",
        caption=_caption(lines, profile),
        alt=alt,
        svg=svg_of(figure, name=name, alt=alt),
        table=_table(lines),
    )


def _strength(line: "Line") -> tuple[float, float]:
    """Sorts attacks by what they find at the first rate of false positives, then by AUC."""
    shares = [point.share.value for point in line.points if point.share is not None]
    return (shares[0] if shares else -1.0, line.auc if line.auc is not None else -1.0)


def _draw(axes: Panel, measured: Sequence[Measured], profile: Profile | None) -> None:
    # The logarithms are drawn, so that places on the axes are plain numbers.
    lowest = math.log10(LOWEST_RATE)
    axes.set_xlim(lowest, PAD)
    axes.set_ylim(lowest - PAD, PAD)
    axes.plot([lowest, 0], [lowest, 0], color=INK, lw=0.9, linestyle=(0, (1, 3)))
    names = []
    for one in measured:
        curve = one.line.curve
        end = _draw_points(axes, one) if curve is None else _draw_curve(axes, curve, one.colour)
        names.append(Name(max(end, lowest), lines_of(one.line.attack, CHARACTERS), one.colour))
    names += _draw_bound(axes, [one.line for one in measured], profile)
    places = [math.log10(rate) for rate in TICKS]
    axes.set_xticks(places, TICKS.values())
    axes.set_yticks(places, TICKS.values())
    axes.grid(color=LINE, lw=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel("false positives", fontsize=SMALL)
    axes.set_title("true positives; dotted: chance", loc="left", fontsize=SMALL)
    write_names(axes, names, HEIGHT)


def _draw_curve(axes: Panel, curve: Any, colour: str) -> float:
    """Draws the steps of a curve; returns where it begins."""
    false = np.asarray(curve.false_positive, dtype=np.float64)
    true = np.asarray(curve.true_positive, dtype=np.float64)
    inside = (false >= LOWEST_RATE) & (true > 0)
    false, true = false[inside], true[inside]
    if len(false) > MOST_STEPS:
        kept = np.unique(np.round(np.linspace(0, len(false) - 1, MOST_STEPS)).astype(int))
        false, true = false[kept], true[kept]
    if len(false):
        axes.step(_log(false), _log(true), where="post", color=colour, lw=1.4)
    return float(_log(true[:1])[0]) if len(true) else math.log10(LOWEST_RATE)


def _draw_points(axes: Panel, one: Measured) -> float:
    """Draws the points of an attack with their 95 % intervals; returns the last one's place."""
    end = math.log10(LOWEST_RATE)
    for point in reversed(one.line.points):
        if point.share is None:
            continue
        place = math.log10(max(point.rate, LOWEST_RATE)) + one.shift
        value, low, high = _log(np.array(point.share))
        axes.plot([place, place], [low, high], color=one.colour, lw=1.3)
        axes.plot([place], [value], "o", color=one.colour, ms=5.5, mew=0)
        end = float(value)
    return end


def _draw_bound(axes: Panel, lines: Sequence["Line"], profile: Profile | None) -> list[Name]:
    """Draws the most that a claim allows: as a curve, or at the rates that an audit kept."""
    if profile is not None:
        rates = np.logspace(math.log10(LOWEST_RATE), 0, BOUND_POINTS)
        bound = _log(np.array([profile.most_true_positives(float(rate)) for rate in rates]))
        axes.plot(np.log10(rates), bound, color=BAD, lw=1.6)
        return [Name(float(bound[-1]), ALLOWED, BAD)]
    kept = sorted(set(_allowed(lines)))
    for rate, allowed in kept:
        place, height = math.log10(max(rate, LOWEST_RATE)), float(_log(np.array([allowed]))[0])
        axes.plot([place - 0.18, place + 0.18], [height] * 2, color=BAD, lw=2)
    return [Name(float(_log(np.array([kept[-1][1]]))[0]), ALLOWED, BAD)] if kept else []


def _allowed(lines: Sequence["Line"]) -> Iterator[tuple[float, float]]:
    for line in lines:
        for point in line.points:
            if point.allowed is not None and math.isfinite(point.allowed):
                yield point.rate, point.allowed


def _log(values: "np.typing.NDArray[np.float64]") -> "np.typing.NDArray[np.float64]":
    """Returns logarithms of rates; below the lowest one they stay on the axis."""
    return np.asarray(np.log10(np.clip(values, LOWEST_RATE, 1.0)))


def _caption(lines: Sequence["Line"], profile: Profile | None) -> str:
    words = [
        "Across: non-members that an attack takes for members. Upwards: members that it finds."
        " Both axes go in powers of ten."
    ]
    if any(line.curve is None for line in lines):
        words.append(
            "Each dot is one rate with its 95 % interval; dots of one rate lie side by side."
        )
    if profile is not None or any(True for _ in _allowed(lines)):
        words.append("Above the red no attack can be, if the claim is true.")
    else:
        words.append("Nothing was claimed, so that there is no bound.")
    return " ".join(words)


def _alt(lines: Sequence["Line"]) -> str:
    parts = []
    for line in lines:
        shares = [point for point in line.points if point.share is not None]
        if shares and shares[0].share is not None:
            found, rate = shares[0].share.value, shares[0].rate
            parts.append(f"{shown(line.attack, 60)} finds {found:.3f} at {rate:g}")
    return "True positives over false positives. " + "; ".join(parts) + "."


def _table(lines: Sequence["Line"]) -> Table:
    rows = []
    for line in lines:
        for point in line.points:
            share = (None, None, None) if point.share is None else tuple(point.share)
            rows.append((line.attack, point.rate, *share, point.allowed))
    return Table(HEAD, rows)
