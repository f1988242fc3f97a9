"""Fairness across sites: how well one model serves each of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from securefl.runs.metrics import OUTSIDE
from securefl.runs.table import MeanAndError, mean_and_error, title_of
from securefl.ui.report.figure import Figure
from securefl.ui.report.figures.bars import (
    MOST_ROWS,
    height_of,
    label_rows,
    rows_panel,
    value_at,
)
from securefl.ui.report.figures.drawing import INK, LINE, SERIES, Panel, canvas, shown, svg_of
from securefl.ui.report.figures.names import draw_key, height_of_key
from securefl.ui.report.figures.settings import (
    Setting,
    number_or_none,
    quality_of,
    seeds_in_words,
    some_of,
)
from securefl.ui.report.table import Table

NAME = "sites"
HEAD = ("setting", "site", "metric", "mean", "standard error", "seeds")


@dataclass(frozen=True)
class Row:
    """A setting with the quality of its model at every site.

    Attributes:
        setting: whose.
        sites: site -> mean over seeds and its error.
        whole: the same over all test records; None where that was not measured.
    """

    setting: Setting
    sites: Mapping[str, MeanAndError]
    whole: MeanAndError | None

    @property
    def lowest(self) -> float:
        """The worst site's mean, or the best one's where a metric is an error."""
        return min(value.mean for value in self.sites.values())

    @property
    def highest(self) -> float:
        """The best site's mean, or the worst one's where a metric is an error."""
        return max(value.mean for value in self.sites.values())


def sites(settings: Sequence[Setting]) -> Figure | None:
    """Returns the figure of quality by site; None where no setting has two sites with numbers."""
    metric = quality_of(settings)
    rows = [row for setting in settings if (row := _row(setting, metric)) is not None]
    group = _largest(rows)
    if not group:
        return None
    chosen = {setting.label for setting in some_of([row.setting for row in group], MOST_ROWS)}
    drawn = [row for row in group if row.setting.label in chosen]
    alt = _alt(drawn, metric)
    svg = _of_one(drawn[0], metric, alt) if len(drawn) == 1 else _of_several(drawn, metric, alt)
    return Figure(
        name=NAME,
        title="Quality at each site",
        caption=_caption(drawn, group, metric),
        alt=alt,
        svg=svg,
        table=_table(drawn, metric),
    )


def _row(setting: Setting, metric: str) -> Row | None:
    """Returns a setting's means by site; a site counts where every seed has a number."""
    runs = setting.ended
    # Figures of models that a claim does not cover are not shown, as in results.csv.
    if len(runs) < len(setting.runs) or any(OUTSIDE in run.get("site_models", "") for run in runs):
        return None
    values: dict[str, MeanAndError] = {}
    for site in runs[0].get("sites", {}):
        by_seed = [number_or_none(run.get("sites", {}).get(site, {}).get(metric)) for run in runs]
        measured = [value for value in by_seed if value is not None]
        if len(measured) == len(runs):
            values[site] = mean_and_error(measured)
    return Row(setting, values, setting.mean(metric)) if len(values) > 1 else None


def _largest(rows: Sequence[Row]) -> list[Row]:
    """Returns the settings that have the same sites, as many as possible."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.setting.judged_on, *row.sites), []).append(row)
    return max(groups.values(), key=len, default=[])


def _of_one(row: Row, metric: str, alt: str) -> str:
    """Draws a dot for each site, the best on top."""
    names = sorted(row.sites, key=lambda site: -row.sites[site].mean)
    figure = canvas(height_of(len(names)))
    axes = rows_panel(figure, len(names), right=44)
    for place, name in enumerate(names):
        value = row.sites[name]
        _dot(axes, value, -place - 0.14, SERIES[0])
        value_at(axes, value.mean + (value.error or 0), place, f"\u00a0{value.mean:.3f}")
    if row.whole is not None:
        axes.axvline(row.whole.mean, color=INK, lw=0.9, linestyle=(0, (1, 3)))
    label_rows(axes, names)
    axes.set_title(f"{title_of(metric)}; dotted: all sites together", loc="left", fontsize=10.5)
    return svg_of(figure, name=NAME, alt=alt)


def _of_several(rows: Sequence[Row], metric: str, alt: str) -> str:
    """Draws a row for each setting, with a dot in each site's colour."""
    names = list(rows[0].sites)
    coloured = len(names) <= len(SERIES)
    colours = {name: SERIES[place if coloured else 0] for place, name in enumerate(names)}
    key = [(shown(name, 24), colours[name]) for name in names] if coloured else []
    extra = height_of_key(key) if key else 0
    figure = canvas(height_of(len(rows)) + extra)
    axes = rows_panel(figure, len(rows), top=extra)
    for place, row in enumerate(rows):
        axes.plot([row.lowest, row.highest], [-place - 0.14] * 2, color=LINE, lw=5, zorder=1)
        for name, value in row.sites.items():
            _dot(axes, value, -place - 0.14, colours[name])
    label_rows(axes, [row.setting.label for row in rows])
    axes.set_xlabel(title_of(metric), fontsize=10.5)
    draw_key(figure, key, top=2)
    return svg_of(figure, name=NAME, alt=alt)


def _dot(axes: Panel, value: MeanAndError, place: float, colour: str) -> None:
    if value.error is not None:
        ends = [value.mean - value.error, value.mean + value.error]
        axes.plot(ends, [place] * 2, color=colour, lw=1.2, zorder=2)
    axes.plot([value.mean], [place], "o", color=colour, ms=6, mew=0, zorder=3)


def _caption(drawn: Sequence[Row], group: Sequence[Row], metric: str) -> str:
    direction = "lower" if metric == "rmse" else "higher"
    words = f"Each dot is a site's own test records; {direction} is better."
    if len(drawn) > 1:
        words += " The shorter a grey bar, the more evenly the model serves the sites."
    settings = [row.setting for row in drawn]
    words += f" {seeds_in_words(settings, 'A thin line')}"
    if len(drawn) < len(group):
        words += f" {len(drawn)} of {len(group)} settings are drawn, from the best to the worst."
    return words


def _alt(rows: Sequence[Row], metric: str) -> str:
    parts = [
        f"{shown(row.setting.label, 60)}: from {row.lowest:.3f} to {row.highest:.3f}"
        for row in rows[:6]
    ]
    return f"Dots of {title_of(metric)} by site. " + "; ".join(parts) + "."


def _table(rows: Sequence[Row], metric: str) -> Table:
    return Table(
        HEAD,
        [
            (row.setting.label, site, metric, value.mean, value.error, len(row.setting.runs))
            for row in rows
            for site, value in row.sites.items()
        ],
    )
