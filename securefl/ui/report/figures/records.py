"""Training records of each site, as they are declared or published: never a private count."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from securefl.errors import SecureflError
from securefl.runs.metrics import RunMetrics
from securefl.scenario import catalog
from securefl.scenario.scenario import make_scenario
from securefl.ui.report.figure import Figure
from securefl.ui.report.figures.bars import BAR, height_of, label_rows, rows_panel, value_at
from securefl.ui.report.figures.drawing import SERIES, SMALL, canvas, shown, svg_of
from securefl.ui.report.figures.settings import Setting
from securefl.ui.report.table import Table

NAME = "records"
MOST_SITES = 20
HEAD = ("client", "site", "declared training records")
# The keys of the table [data] that decide how many records each site of a known data set has.
_KEYS = (
    *("name", "partition", "clients", "split_seed", "only", "held_out", "alpha", "classes"),
    *("minimum", "most", "share", "size", "test_on", "fold"),
)


def records(settings: Sequence[Setting]) -> Figure | None:
    """Returns the figure of records by site; None where their numbers are not public.

    Of settings with different sites it shows those of most settings.
    """
    counts = {setting.label: public_records(setting.scenario) for setting in settings}
    several = Counter(some for some in counts.values() if some is not None and len(some) > 1)
    if not several:
        return None
    numbers, shared = several.most_common(1)[0]
    setting = next(one for one in settings if counts[one.label] == numbers)
    names = _names(setting, len(numbers))
    alt = _alt(names, numbers)
    return Figure(
        name=NAME,
        title="Training records of each site",
        caption=_caption(setting, len(numbers), len(settings) - shared),
        alt=alt,
        svg=_drawn(names[:MOST_SITES], numbers[:MOST_SITES], alt),
        table=Table(
            HEAD,
            [(place, *row) for place, row in enumerate(zip(names, numbers, strict=True))],
        ),
    )


def public_records(scenario: Mapping[str, Any]) -> tuple[int, ...] | None:
    """Returns the public numbers of training records by client; None where there are none.

    They are those that a claim declares, or that follow from a published data set. Records, and
    code of a scenario's own, are not looked at.
    """
    declared = (scenario.get("privacy") or {}).get("records")
    if declared is not None:
        return tuple(int(count) for count in declared)
    data = scenario["data"]
    if data.get("name") not in catalog.DATA:
        return None
    table = {key: data[key] for key in _KEYS if data.get(key) is not None}
    try:
        smallest = make_scenario(
            {"rounds": 1, "data": table, "training": {"kind": "sgd"}, "weights": "equal"}
        )
        return smallest.facts.published_records
    except SecureflError:
        return None


def _names(setting: Setting, count: int) -> list[str]:
    """Returns the names of sites, where metrics give them, or the clients' numbers."""
    ended: Sequence[RunMetrics] = setting.ended
    sites = list(ended[0].get("sites", {})) if ended else []
    held_out = setting.scenario["data"].get("held_out") is not None
    if len(sites) == count and not held_out:
        return sites
    return [f"client {number}" for number in range(count)]


def _drawn(names: Sequence[str], numbers: Sequence[int], alt: str) -> str:
    figure = canvas(height_of(len(names)) - 20)
    axes = rows_panel(figure, len(names), right=60)
    axes.set_xlim(0, max(numbers) or 1)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.set_title("training records", loc="left", fontsize=SMALL)
    for row, count in enumerate(numbers):
        axes.barh(-row - 0.14, count, height=BAR, color=SERIES[0])
        value_at(axes, count, row, f"{count:,}")
    label_rows(axes, names)
    return svg_of(figure, name=NAME, alt=alt)


def _caption(setting: Setting, sites: int, others: int) -> str:
    privacy = setting.scenario.get("privacy") or {}
    words = "Numbers that the data set publishes; nothing was counted."
    if privacy.get("records") is not None:
        words = "Numbers as the scenario declares them; nothing was counted."
    if setting.claims:
        words += " Under a claim no other number of records is shown."
    if sites > MOST_SITES:
        words += f" The first {MOST_SITES} of {sites} sites are drawn."
    if others:
        verb = "setting has" if others == 1 else "settings have"
        words += f" {others} {verb} other sites."
    return words


def _alt(names: Sequence[str], numbers: Sequence[int]) -> str:
    parts = [f"{shown(name, 40)} {count}" for name, count in zip(names, numbers, strict=True)]
    return f"Bars of training records by site: {', '.join(parts[:MOST_SITES])}."
