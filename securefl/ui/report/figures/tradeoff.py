"""Utility against epsilon: what a stronger claim costs."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from securefl.runs.table import MeanAndError, title_of
from securefl.scenario.claim_words import UNITS, held_against
from securefl.ui.report.figure import Figure
from securefl.ui.report.figures.drawing import (
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
from securefl.ui.report.figures.settings import (
    Setting,
    by_records,
    number_or_none,
    quality_of,
    ranked,
    seeds_in_words,
)
from securefl.ui.report.table import Table

NAME = "tradeoff"
HEIGHT = 190
MOST_PANELS = 4
MOST_SERIES = len(SERIES)
MOST_TICKS = 6
LEAST_SPREAD = 1.2  # of epsilons: rounding makes those of one budget differ a little
HEAD = (
    *("setting", "series", "unit", "place", "epsilon", "metric", "mean", "standard error"),
    "seeds",
)
NO_CLAIM = "no claim"


class Point(NamedTuple):
    """A setting in the figure; its epsilon is None where it makes no claim."""

    setting: Setting
    series: str
    epsilon: float | None
    value: MeanAndError


class Group(NamedTuple):
    """A panel: settings that are judged on the same records, under claims of the same unit.

    Attributes:
        words: its title.
        metric: upwards.
        points: with a claim, by epsilon.
        plain: the best setting without one; None where there is none.
    """

    words: str
    metric: str
    points: list[Point]
    plain: Point | None


def tradeoff(settings: Sequence[Setting]) -> Figure | None:
    """Returns the figure of quality over epsilon; None without two epsilons of one unit."""
    honest = [setting for setting in settings if setting.scenario.get("attack") is None]
    groups = [
        group
        for words, judged in by_records(honest).items()
        for group in _groups(words, judged)
        if _spread(group) > LEAST_SPREAD
    ][:MOST_PANELS]
    if not groups:
        return None
    step = HEIGHT + 66
    figure = canvas(step * len(groups))
    for index, group in enumerate(groups):
        axes = panel(figure, top=step * index + 22, height=HEIGHT, right=ROOM)
        _draw(axes, group, several=len(groups) > 1)
    alt = _alt(groups[0])
    return Figure(
        name=NAME,
        title="Utility against epsilon",
        caption=_caption(groups),
        alt=alt,
        svg=svg_of(figure, name=NAME, alt=alt),
        table=_table(groups),
    )


def _spread(group: Group) -> float:
    """Returns the largest epsilon over the smallest."""
    epsilons = [point.epsilon for point in group.points if point.epsilon]
    return max(epsilons) / min(epsilons) if epsilons else 1.0


def _groups(words: str, judged: Sequence[Setting]) -> list[Group]:
    """Returns a group for each protected unit: epsilons of different units are never mixed."""
    metric = quality_of(judged)
    names = _series(judged)
    points: dict[str, list[Point]] = {}
    plain = None
    for setting in ranked(judged):
        value, epsilon = setting.mean(metric), epsilon_of(setting)
        if value is None:
            continue
        if not setting.claims:
            plain = plain or Point(setting, NO_CLAIM, None, value)
        elif epsilon is not None:
            unit = unit_of(setting)
            points.setdefault(unit, []).append(Point(setting, names[setting.label], epsilon, value))
    several = len(points) > 1
    return [
        Group(
            f"{words}, {UNITS.get(unit, unit)}" if several else words,
            metric,
            sorted(some, key=lambda point: (point.epsilon or 0, point.setting.label)),
            plain,
        )
        for unit, some in points.items()
    ]


def unit_of(setting: Setting) -> str:
    """Returns the protected unit of a claim."""
    return str(setting.scenario["privacy"].get("unit") or "example")


def place_of(setting: Setting) -> str:
    """Returns where the noise of a claim is added."""
    return str(setting.scenario["privacy"].get("place") or "local")


def epsilon_of(setting: Setting) -> float | None:
    """Returns the largest epsilon of a setting's runs; None where one of them has none."""
    values = [number_or_none(run.metrics.get("epsilon")) for run in setting.runs]
    measured = [value for value in values if value is not None]
    return max(measured) if measured and len(measured) == len(values) else None


def _series(settings: Sequence[Setting]) -> dict[str, str]:
    """Returns label -> the line of a setting: what it has beside its epsilon."""
    claiming = [setting for setting in settings if setting.claims]
    axes = [axis for axis in dict.fromkeys(axis for one in claiming for axis in one.levels)]
    # An axis that decides epsilon is the way along a line; one with a single level says nothing.
    telling = [
        axis
        for axis in axes
        if len({one.levels.get(axis) for one in claiming}) > 1 and not _decides(axis, claiming)
    ]
    return {
        one.label: ", ".join(one.levels[axis] for axis in telling if axis in one.levels)
        or f"{place_of(one)} noise, {one.scenario['channel']['kind']} channel"
        for one in claiming
    }


def _decides(axis: str, claiming: Sequence[Setting]) -> bool:
    """Returns whether every level of an axis has one epsilon, and not all the same."""
    budgets: dict[str | None, set[float]] = {}
    for one in claiming:
        budget = float(one.scenario["privacy"]["epsilon"])
        budgets.setdefault(one.levels.get(axis), set()).add(budget)
    single = all(len(some) == 1 for some in budgets.values())
    return single and len({next(iter(some)) for some in budgets.values()}) > 1


def _lines(group: Group) -> dict[str, list[Point]]:
    """Returns the points of each line, of at most `MOST_SERIES` lines."""
    lines: dict[str, list[Point]] = {}
    for point in group.points:
        lines.setdefault(point.series, []).append(point)
    longest = sorted(lines, key=lambda series: -len(lines[series]))[:MOST_SERIES]
    return {series: lines[series] for series in lines if series in longest}


def _draw(axes: Panel, group: Group, *, several: bool) -> None:
    names = []
    for colour, (series, points) in zip(SERIES, _lines(group).items(), strict=False):
        epsilons = [point.epsilon for point in points]
        means = [point.value.mean for point in points]
        axes.plot(epsilons, means, "o-", color=colour, ms=5.5, mew=0, lw=1.6)
        for point in points:
            if point.value.error is not None:
                low, high = (point.value.mean + sign * point.value.error for sign in (-1, 1))
                axes.plot([point.epsilon] * 2, [low, high], color=colour, lw=1.3)
        names.append(Name(means[-1], lines_of(series, CHARACTERS), colour))
    if group.plain is not None:
        axes.axhline(group.plain.value.mean, color=INK, lw=0.9, linestyle=(0, (1, 3)))
        words = lines_of(f"{NO_CLAIM}: {group.plain.setting.label}", CHARACTERS)
        names.append(Name(group.plain.value.mean, words, INK))
    axes.set_xscale("log")
    _ticks(axes, group)
    axes.grid(axis="y", color=LINE, lw=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel("epsilon (smaller protects more)", fontsize=SMALL)
    title = title_of(group.metric) + (f", {shown(group.words, 50)}" if several else "")
    axes.set_title(title, loc="left", fontsize=SMALL)
    write_names(axes, names, HEIGHT)


def _ticks(axes: Panel, group: Group) -> None:
    """Writes the epsilons below the axis, as far as they have room."""
    epsilons = sorted({f"{point.epsilon:.3g}" for point in group.points}, key=float)
    if len(epsilons) > MOST_TICKS:
        epsilons = [epsilons[0], epsilons[len(epsilons) // 2], epsilons[-1]]
    kept: list[str] = []
    for text in epsilons:
        # Two that are nearly equal would be written over each other.
        if not kept or float(text) > 1.12 * float(kept[-1]):
            kept.append(text)
    axes.set_xticks([float(text) for text in kept], kept)
    axes.set_xticks([], minor=True)


def _caption(groups: Sequence[Group]) -> str:
    points = [point for group in groups for point in group.points]
    settings = list({point.setting.label: point.setting for point in points}.values())
    units = {UNITS.get(unit_of(one), unit_of(one)) for one in settings}
    words = [f"Epsilon is for {' or '.join(sorted(units))}, the largest over clients and seeds."]
    words += _against(settings)
    words.append(seeds_in_words(settings, "An upright line"))
    if any(group.plain for group in groups):
        words.append("Dotted: the best setting without a claim.")
    if any(run.get("noise") == "seeded" for one in settings for run in one.ended):
        words.append("Noise is seeded in some of them: anybody with the seed can remove it.")
    return " ".join(words)


def _against(settings: Sequence[Setting]) -> list[str]:
    """Returns a sentence for each place of noise: whom such a claim holds against."""
    sentences: Mapping[str, str] = {
        place_of(one): held_against(place_of(one), one.scenario["channel"]) for one in settings
    }
    return [f"With {place} noise {words}." for place, words in sentences.items()]


def _alt(group: Group) -> str:
    parts = [
        f"{shown(series, 60)} goes from {points[0].value.mean:.3f} at epsilon"
        f" {points[0].epsilon:.3g} to {points[-1].value.mean:.3f} at {points[-1].epsilon:.3g}"
        for series, points in _lines(group).items()
    ]
    return f"Lines of {title_of(group.metric)} over epsilon. " + "; ".join(parts) + "."


def _table(groups: Sequence[Group]) -> Table:
    rows = []
    for group in groups:
        for point in [*group.points, *([group.plain] if group.plain else [])]:
            one, value = point.setting, point.value
            claim = (unit_of(one), place_of(one)) if one.claims else (None, None)
            numbers = (point.epsilon, group.metric, value.mean, value.error, len(one.runs))
            rows.append((one.label, point.series, *claim, *numbers))
    return Table(HEAD, rows)
