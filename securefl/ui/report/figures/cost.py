"""What runs cost: bytes on the wire, and seconds by stage."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from securefl.errors import RunFolderError
from securefl.runs.table import size_in_words
from securefl.runs.timings import Timings
from securefl.ui.report.figure import Figure
from securefl.ui.report.figures.bars import (
    BAR,
    MOST_ROWS,
    height_of,
    label_rows,
    rows_panel,
    value_at,
)
from securefl.ui.report.figures.drawing import SERIES, WIDTH, Canvas, Panel, canvas, shown, svg_of
from securefl.ui.report.figures.names import draw_key, height_of_key
from securefl.ui.report.figures.settings import Setting
from securefl.ui.report.table import Table, Value

NAME = "cost"
UP, DOWN = "to the server", "to the clients"
SET_UP, ROUNDS, TOTAL = "set_up", "rounds", "total"
STAGES = {SET_UP: "set-up", ROUNDS: "rounds"}
COLOURS = (SERIES[0], SERIES[2], SERIES[3], SERIES[1])  # of both ways and both stages
HEAD = ("setting", "stage", "wall seconds", "bytes", "seeds")
Words = Callable[[float], str]  # a number with its unit


@dataclass(frozen=True)
class Cost:
    """The cost of a setting: means over its seeds.

    Attributes:
        setting: whose.
        seconds: stage -> wall seconds.
        size: direction, or stage of a profiled run -> bytes.
        is_profiled: whether the stages are those of a profile.
    """

    setting: Setting
    seconds: Mapping[str, float]
    size: Mapping[str, float]
    is_profiled: bool


def cost(settings: Sequence[Setting]) -> Figure | None:
    """Returns the figure of costs; None where no setting has ended."""
    costs = {setting.label: _cost(setting) for setting in settings}
    ended = [setting for setting in settings if costs[setting.label] is not None]
    drawn = [one for setting in ended if (one := costs[setting.label])]
    if len(drawn) > MOST_ROWS:
        drawn = sorted(drawn, key=lambda one: -sum(one.size.values()))[:MOST_ROWS]
    if not drawn:
        return None
    alt = _alt(drawn)
    return Figure(
        name=NAME,
        title="Bytes and seconds",
        caption=_caption(drawn, ended),
        alt=alt,
        svg=_of_one(drawn[0], alt) if len(drawn) == 1 else _of_several(drawn, alt),
        table=_table(drawn),
    )


def _cost(setting: Setting) -> Cost | None:
    """Returns the mean cost of a setting whose runs have all ended."""
    runs = setting.ended
    if len(runs) < len(setting.runs):
        return None
    try:
        timings = [run.cell.timings() for run in setting.runs]
    except RunFolderError:
        timings = []
    profiled = bool(timings) and all(len(_stages(one)) > len(STAGES) for one in timings)
    size = {
        UP: mean(run.get("bytes_up", 0) for run in runs),
        DOWN: mean(run.get("bytes_down", 0) for run in runs),
    }
    return Cost(setting, _seconds(timings), size, profiled)


def _stages(timings: Timings) -> list[str]:
    return [stage for stage in timings.stages if stage != TOTAL]


def _seconds(timings: Sequence[Timings]) -> dict[str, float]:
    """Returns the mean wall seconds of the stages that all seeds have."""
    if not timings:
        return {}
    common = [stage for stage in _stages(timings[0]) if all(stage in one.stages for one in timings)]
    return {stage: mean(one.stages[stage][0] for one in timings) for stage in common}


def _of_one(cost: Cost, alt: str) -> str:
    """Draws the stages of a single setting, and its bytes below them."""
    seconds = dict(cost.seconds)
    # The rounds are what a profile divides.
    if cost.is_profiled:
        seconds.pop(ROUNDS, None)
    upper = height_of(len(seconds)) - 20 if seconds else 0
    figure = canvas(upper + height_of(len(cost.size)) - 20)
    if seconds:
        labels = [STAGES.get(stage, stage) for stage in seconds]
        _bars(figure, 0, "seconds", labels, list(seconds.values()), "{:.2f} s".format)
    _bars(figure, upper, "bytes", list(cost.size), list(cost.size.values()), size_in_words)
    return svg_of(figure, name=NAME, alt=alt)


def _bars(
    figure: Canvas,
    top: float,
    title: str,
    labels: Sequence[str],
    values: Sequence[float],
    words: Words,
) -> None:
    axes = _quiet(rows_panel(figure, len(labels), top=top, right=70), title, max(values))
    for row, value in enumerate(values):
        axes.barh(-row - 0.14, value, height=BAR, color=SERIES[0])
        value_at(axes, value, row, words(value))
    label_rows(axes, labels)


def _of_several(costs: Sequence[Cost], alt: str) -> str:
    """Draws a row for each setting: its bytes on the left, its seconds on the right."""
    key = list(zip([UP, DOWN, *STAGES.values()], COLOURS, strict=True))
    extra = height_of_key(key)
    figure = canvas(height_of(len(costs)) + extra - 20)
    middle = WIDTH / 2
    left = rows_panel(figure, len(costs), top=extra, right=middle + 60)
    right = rows_panel(figure, len(costs), top=extra, left=middle + 8, right=52)
    size = [[cost.size[UP], cost.size[DOWN]] for cost in costs]
    seconds = [[cost.seconds.get(stage, 0.0) for stage in STAGES] for cost in costs]
    _stacked(left, "bytes of a run", size, COLOURS[:2], size_in_words)
    _stacked(right, "seconds of a run", seconds, COLOURS[2:], "{:.1f} s".format)
    label_rows(left, [cost.setting.label for cost in costs])
    draw_key(figure, key, top=2)
    return svg_of(figure, name=NAME, alt=alt)


def _stacked(
    axes: Panel,
    title: str,
    rows: Sequence[Sequence[float]],
    colours: Sequence[str],
    words: Words,
) -> None:
    _quiet(axes, title, max(sum(parts) for parts in rows))
    for row, parts in enumerate(rows):
        begin = 0.0
        for part, colour in zip(parts, colours, strict=True):
            axes.barh(-row - 0.14, part, left=begin, height=BAR, color=colour)
            begin += part
        value_at(axes, begin, row, words(begin))


def _quiet(axes: Panel, title: str, largest: float) -> Panel:
    """Takes the axis away: every bar has its number."""
    axes.set_xlim(0, largest or 1)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.set_title(title, loc="left", fontsize=10.5)
    return axes


def _caption(drawn: Sequence[Cost], ended: Sequence[Setting]) -> str:
    words = (
        "Bytes are those of all messages of a run. Seconds are wall time on the machine that ran"
        " it, clients and server together; they differ from run to run."
    )
    if any(len(cost.setting.runs) > 1 for cost in drawn):
        words += " Both are means over seeds."
    if len(drawn) < len(ended):
        words += f" Drawn are the {len(drawn)} of {len(ended)} settings with the most bytes."
    return words


def _alt(costs: Sequence[Cost]) -> str:
    parts = [
        f"{shown(cost.setting.label, 60)}: {size_in_words(sum(cost.size.values()))},"
        f" {sum(cost.seconds.get(stage, 0) for stage in STAGES):.1f} seconds"
        for cost in costs[:6]
    ]
    return "Bars of bytes and seconds of a run. " + "; ".join(parts) + "."


def _table(costs: Sequence[Cost]) -> Table:
    rows: list[tuple[Value, ...]] = []
    for cost in costs:
        label, seeds = cost.setting.label, len(cost.setting.runs)
        rows += [(label, stage, value, None, seeds) for stage, value in cost.seconds.items()]
        rows += [(label, way, None, value, seeds) for way, value in cost.size.items()]
    return Table(HEAD, rows)
