"""Quality of the global model after each round, one line a setting."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from securefl.errors import RunFolderError
from securefl.federation.record import RoundRecord
from securefl.runs.table import MeanAndError, mean_and_error, title_of
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
    in_steps,
    label_parts,
    number_or_none,
    quality_of,
    ranked,
    seeds_in_words,
)
from securefl.ui.report.table import Table

MOST_LINES = 12
MOST_IN_COLOUR = 6
MOST_ROUNDS = 60
MOST_PANELS = 4
METRICS = ("accuracy", "auc", "rmse")
LEAST_RANGE = 0.1  # of an axis of shares
HEIGHT = 190  # of a panel, in points
LARGEST_CLASS = "largest class"


@dataclass(frozen=True)
class Curve:
    """A line of the figure.

    Attributes:
        setting: whose.
        rounds: from 1, those after which the model of every seed was measured.
        values: mean and standard error after each of them.
    """

    setting: Setting
    rounds: Sequence[int]
    values: Sequence[MeanAndError]


def progress(settings: Sequence[Setting]) -> Figure | None:
    """Returns the figure of quality over rounds; None where no line has two points."""
    panels = [
        (words, metric, curves)
        for words, group in by_records(settings).items()
        for metric, curves in _curves(group)
    ][:MOST_PANELS]
    if not panels:
        return None
    drawn = [curve for _, _, curves in panels for curve in curves]
    several = len({words for words, _, _ in panels}) > 1
    step = HEIGHT + 62
    figure = canvas(step * len(panels))
    for index, (words, metric, curves) in enumerate(panels):
        axes = panel(figure, top=step * index + 22, height=HEIGHT, right=ROOM)
        title = title_of(metric) + (f", {shown(words, 50)}" if several else "")
        _draw(axes, metric, title, curves)
    used = list({curve.setting.label: curve.setting for curve in drawn}.values())
    return Figure(
        name="progress",
        title="Quality after each round",
        caption=_caption(used, settings),
        alt=_alt(panels[0][1], panels[0][2]),
        svg=svg_of(figure, name="progress", alt=_alt(panels[0][1], panels[0][2])),
        table=_table(panels),
    )


def _curves(group: Sequence[Setting]) -> Iterator[tuple[str, list[Curve]]]:
    """Yields the metrics of a data set that were measured after several rounds."""
    chosen = _chosen(group)
    records = {setting.label: _records(setting) for setting in chosen}
    for metric in METRICS:
        curves = [_curve(setting, records[setting.label], metric) for setting in chosen]
        if curves := [curve for curve in curves if len(curve.rounds) > 1]:
            yield metric, curves


def _chosen(group: Sequence[Setting]) -> list[Setting]:
    """Returns the settings to draw; in colour are all of them, or best, middle and worst."""
    if len(group) <= MOST_IN_COLOUR:
        return list(group)
    return in_steps(ranked(group), MOST_LINES)


def _records(setting: Setting) -> list[list[RoundRecord]]:
    try:
        return [run.cell.rounds() for run in setting.runs]
    except RunFolderError:
        return []


def _curve(setting: Setting, records: Sequence[Sequence[RoundRecord]], metric: str) -> Curve:
    seeds = []
    for rounds in records:
        values = {one.round + 1: number_or_none(getattr(one, metric, None)) for one in rounds}
        seeds.append({round: value for round, value in values.items() if value is not None})
    common = sorted(set.intersection(*map(set, seeds))) if seeds else []
    rounds_drawn = in_steps(common, MOST_ROUNDS)
    means = [mean_and_error([seed[round] for seed in seeds]) for round in rounds_drawn]
    return Curve(setting, rounds_drawn, means)


def _draw(axes: Panel, metric: str, title: str, curves: Sequence[Curve]) -> None:
    """Draws a panel: lines with their bands, and their names at their ends."""
    colours = _colours(curves)
    names = _names(curves, colours)
    for curve, colour in zip(curves, colours, strict=True):
        means = [value.mean for value in curve.values]
        quiet = colour == LINE
        axes.plot(curve.rounds, means, color=colour, lw=1.2 if quiet else 1.8, zorder=2 - quiet)
        if not quiet:
            _draw_band(axes, curve, colour)
    if metric == "accuracy" and (majority := _majority(curves)) is not None:
        axes.axhline(majority, color=INK, lw=0.9, linestyle=(0, (1, 3)))
        names.append(Name(majority, LARGEST_CLASS, INK))
    axes.margins(x=0.02)
    if metric != "rmse":
        _widen(axes)
    axes.grid(axis="y", color=LINE, lw=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel("round", fontsize=SMALL)
    axes.xaxis.get_major_locator().set_params(integer=True, nbins=6)
    axes.set_title(title, loc="left", fontsize=SMALL, color=INK)
    write_names(axes, names, HEIGHT)


def _widen(axes: Panel) -> None:
    """Gives an axis of shares a least range, so that chance does not look like a change."""
    low, high = axes.get_ylim()
    if high - low < LEAST_RANGE:
        top = min((low + high + LEAST_RANGE) / 2, max(high, 1.0))
        axes.set_ylim(top - LEAST_RANGE, top)


def _draw_band(axes: Panel, curve: Curve, colour: str) -> None:
    """Draws one standard error to either side, where there are several seeds."""
    errors = [value.error for value in curve.values if value.error is not None]
    if len(errors) < len(curve.values):
        return
    low = [value.mean - error for value, error in zip(curve.values, errors, strict=True)]
    high = [value.mean + error for value, error in zip(curve.values, errors, strict=True)]
    axes.fill_between(curve.rounds, low, high, color=colour, alpha=0.18, lw=0)


def _majority(curves: Sequence[Curve]) -> float | None:
    """Returns the accuracy of always naming the largest class, where all lines have the same."""
    shares = {value for curve in curves for value in curve.setting.values("majority")}
    return shares.pop() if len(shares) == 1 else None


def _colours(curves: Sequence[Curve]) -> list[str]:
    """Returns a colour for each line; of many lines only the first, the middle and the last."""
    if len(curves) <= MOST_IN_COLOUR:
        return list(SERIES[: len(curves)])
    marked = (0, len(curves) // 2, len(curves) - 1)
    return [
        SERIES[marked.index(index)] if index in marked else LINE for index in range(len(curves))
    ]


def _names(curves: Sequence[Curve], colours: Sequence[str]) -> list[Name]:
    parts = label_parts([curve.setting for curve in curves])
    return [
        Name(curve.values[-1].mean, lines_of(parts[curve.setting.label], CHARACTERS), colour)
        for curve, colour in zip(curves, colours, strict=True)
        if colour != LINE
    ]


def _caption(drawn: Sequence[Setting], settings: Sequence[Setting]) -> str:
    words = [_direction(drawn), seeds_in_words(drawn, "A band")]
    if len(drawn) < len(settings):
        words.append(f"{len(drawn)} of {len(settings)} settings are drawn.")
    if len(drawn) > MOST_IN_COLOUR:
        words.append("The best, the middle and the worst at the end are in colour.")
    return " ".join(words)


def _direction(drawn: Sequence[Setting]) -> str:
    return "Lower is better." if quality_of(drawn) == "rmse" else "Higher is better."


def _alt(metric: str, curves: Sequence[Curve]) -> str:
    ends = [
        f"{shown(curve.setting.label, 60)} ends at {curve.values[-1].mean:.3f}"
        for curve in curves[:MOST_IN_COLOUR]
    ]
    return f"Lines of {title_of(metric)} over rounds. " + "; ".join(ends) + "."


def _table(panels: Sequence[tuple[str, str, Sequence[Curve]]]) -> Table:
    rows = [
        (curve.setting.label, metric, round, value.mean, value.error, len(curve.setting.runs))
        for _, metric, curves in panels
        for curve in curves
        for round, value in zip(curve.rounds, curve.values, strict=True)
    ]
    return Table(("setting", "metric", "round", "mean", "standard error", "seeds"), rows)
