"""Rules against attacks: a heat map, with what each rule costs where nobody attacks."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from securefl.runs.table import MeanAndError, title_of
from securefl.ui.heatmap import DARKEST_VALUE_FOR_BLACK_INK, colour
from securefl.ui.report.figure import Figure
from securefl.ui.report.figures.drawing import (
    INK,
    LINE,
    SMALL,
    WIDTH,
    Panel,
    canvas,
    lines_of,
    panel,
    put,
    shown,
    svg_of,
    write,
)
from securefl.ui.report.figures.settings import Setting, seeds_in_words
from securefl.ui.report.table import Table

NAME = "grid"
METRIC = "accuracy"
MEAN = "mean"  # the rule without a defense, which the others are compared with
CLEAN = "no attack"
COST = "clean cost"
MOST_PANELS = 3
MOST_RULES, MOST_ATTACKS = 14, 8
FIELD = 26  # height of a row, in points
LABELS = 84  # room for the names of rules
GAP = 0.25  # of a column, around those without an attack
TITLE, TITLE_LINE = 14, 12  # of columns, in points
HEAD = ("configuration", "rule", "attack", METRIC, "standard error", "seeds", "settings")
# Not the page's ink and paper: a field has its own colour, which no theme changes.
DARK, LIGHT = "#101418", "#fdfdfd"
_SAME = ("data", "model", "cohort", "topology", "channel")


@dataclass(frozen=True)
class Field:
    """A field of the map: the worst mean of its settings, and how many there are."""

    value: MeanAndError
    seeds: int
    settings: int


@dataclass(frozen=True)
class Map:
    """The rules and attacks of one configuration.

    Attributes:
        words: its title.
        rules: in the order of the folder.
        attacks: as well, without `CLEAN`.
        fields: (rule, attack) -> field; also (rule, `CLEAN`).
    """

    words: str
    rules: Sequence[str]
    attacks: Sequence[str]
    fields: Mapping[tuple[str, str], Field]

    def cost(self, rule: str) -> float | None:
        """Returns what a rule loses against the plain mean where nobody attacks."""
        clean, reference = self.fields.get((rule, CLEAN)), self.fields.get((MEAN, CLEAN))
        if clean is None or reference is None:
            return None
        return reference.value.mean - clean.value.mean


def grid(settings: Sequence[Setting]) -> Figure | None:
    """Returns the heat map of rules and attacks; None without two fields under attack."""
    groups: dict[str, list[Setting]] = {}
    for setting in settings:
        if setting.mean(METRIC) is not None:
            groups.setdefault(_configuration(setting), []).append(setting)
    maps = [one for group in groups.values() if (one := _map(group)) is not None][:MOST_PANELS]
    if not maps:
        return None
    several = len(maps) > 1
    heads = [_head(one) + (16 if several else 0) for one in maps]
    heights = [head + FIELD * len(one.rules) + 10 for head, one in zip(heads, maps, strict=True)]
    figure = canvas(sum(heights))
    for index, one in enumerate(maps):
        top = sum(heights[:index]) + heads[index]
        axes = panel(figure, top=top, height=FIELD * len(one.rules), left=LABELS, right=4)
        _draw(axes, one)
        if several:
            put(figure, 8, top - heads[index] + 10, shown(one.words, 60), size=SMALL, colour=INK)
    alt = _alt(maps[0])
    return Figure(
        name=NAME,
        title="Rules against attacks",
        caption=_caption(maps, settings),
        alt=alt,
        svg=svg_of(figure, name=NAME, alt=alt),
        table=_table(maps),
    )


def _configuration(setting: Setting) -> str:
    """Returns what settings have in common that differ in rule and attack alone."""
    scenario = setting.scenario
    same: dict[str, Any] = {key: scenario.get(key) for key in _SAME}
    same["data"] = {**scenario["data"], "split_seed": None}
    # Learning rates may be tuned for each rule.
    same["training"] = scenario["training"]["kind"]
    privacy = scenario.get("privacy") or {}
    same["claim"] = [privacy.get("epsilon"), privacy.get("place"), privacy.get("unit")]
    return json.dumps(same, sort_keys=True, default=str)


def rule_of(setting: Setting) -> str:
    """Returns the name of a setting's rule, behind those of its prefilters."""
    defense = setting.scenario["defense"]
    parts = [*(one["name"] for one in defense.get("prefilters") or ()), defense["rule"]["name"]]
    return " + ".join(str(part) for part in parts)


def attack_of(setting: Setting) -> str:
    """Returns the name of a setting's attack, or `CLEAN`."""
    attack = setting.scenario.get("attack")
    return CLEAN if attack is None else str(attack["name"])


def _map(group: Sequence[Setting]) -> Map | None:
    """Returns the map of one configuration; None without two fields under attack."""
    found: dict[tuple[str, str], list[Setting]] = {}
    for setting in group:
        found.setdefault((rule_of(setting), attack_of(setting)), []).append(setting)
    attacks = [attack for _, attack in found if attack != CLEAN]
    if len(attacks) < 2:
        return None
    rules = list(dict.fromkeys(rule for rule, _ in found))[:MOST_RULES]
    fields = {place: _worst(some) for place, some in found.items()}
    first = group[0].scenario
    words = f"{group[0].judged_on}, {first['channel']['kind']} channel"
    return Map(words, rules, list(dict.fromkeys(attacks))[:MOST_ATTACKS], fields)


def _worst(settings: Sequence[Setting]) -> Field:
    """Returns the field of some settings: that of the lowest mean."""
    means = [(mean, len(one.runs)) for one in settings if (mean := one.mean(METRIC)) is not None]
    value, seeds = min(means, key=lambda entry: entry[0].mean)
    return Field(value, seeds, len(settings))


def _titles(one: Map) -> list[str]:
    """Returns the titles of the columns, wrapped to their width."""
    titles = [CLEAN, COST, *(attack.replace("_", " ") for attack in one.attacks)]
    width = (WIDTH - LABELS - 4) / (len(titles) + GAP)
    return [lines_of(title, max(5, int(width / 6)), 3) for title in titles]


def _head(one: Map) -> float:
    """Returns the height of the titles, in points."""
    return TITLE + TITLE_LINE * (1 + max(title.count("\n") for title in _titles(one)))


def _draw(axes: Panel, one: Map) -> None:
    titles = _titles(one)
    axes.set_xlim(0, len(titles) + GAP)
    axes.set_ylim(-len(one.rules), 0)
    axes.spines[:].set_visible(False)
    axes.set_xticks([])
    axes.set_yticks([])
    for column, title in enumerate(titles):
        middle = column + 0.5 + (GAP if column > 1 else 0)
        write(axes, middle, 0.12, title, ha="center", va="bottom", linespacing=1.05)
    for row, rule in enumerate(one.rules):
        words = lines_of(rule.replace("_", " "), 14)
        write(axes, -0.08, -row - 0.5, words, ha="right", va="center", linespacing=1.0)
        _field(axes, 0, row, one.fields.get((rule, CLEAN)))
        write(axes, 1.5, -row - 0.5, _cost_in_words(one, rule), ha="center", va="center")
        for column, attack in enumerate(one.attacks, start=2):
            _field(axes, column + GAP, row, one.fields.get((rule, attack)))
    axes.axvline(2 + GAP / 2, color=LINE, lw=1)


def _cost_in_words(one: Map, rule: str) -> str:
    cost = one.cost(rule)
    if cost is None:
        return "\u2013"
    # A true minus sign is as wide as a plus.
    return f"{-cost:+.3f}".replace("-", "\u2212") if rule != MEAN else "0"


def _field(axes: Panel, left: float, row: int, field: Field | None) -> None:
    if field is None:
        write(axes, left + 0.5, -row - 0.5, "\u2013", ha="center", va="center")
        return
    value = field.value.mean
    axes.fill_between(
        [left + 0.03, left + 0.97], -row - 0.95, -row - 0.05, color=colour(value), lw=0
    )
    ink = LIGHT if value < DARKEST_VALUE_FOR_BLACK_INK else DARK
    write(axes, left + 0.5, -row - 0.5, f"{value:.2f}", colour=ink, ha="center", va="center")


def _caption(maps: Sequence[Map], settings: Sequence[Setting]) -> str:
    words = [
        f"Each field is the {title_of(METRIC)} of a rule under an attack; lighter is better.",
        "The cost is what a rule changes where nobody attacks, compared with the plain mean.",
    ]
    if any(field.settings > 1 for one in maps for field in one.fields.values()):
        words.append("Where several settings share a field, it shows the worst of them.")
    words.append(seeds_in_words(settings))
    return " ".join(words)


def _alt(one: Map) -> str:
    parts = []
    for rule in one.rules:
        fields = [one.fields.get((rule, attack)) for attack in one.attacks]
        values = [field.value.mean for field in fields if field is not None]
        if values:
            parts.append(f"{shown(rule, 40)}: at worst {min(values):.3f}")
    head = f"Heat map of {title_of(METRIC)}, rules down and attacks across."
    return f"{head} {'; '.join(parts)}."


def _table(maps: Sequence[Map]) -> Table:
    rows = [
        (one.words, rule, attack, field.value.mean, field.value.error, field.seeds, field.settings)
        for one in maps
        for (rule, attack), field in one.fields.items()
    ]
    return Table(HEAD, rows)
