"""The values in force of many scenarios: the usual ones once, and how each row differs."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from securefl.ui.report.looks import Group
from securefl.ui.report.sharing import shareable

NO_VALUE = "no value"
HIDDEN = ("folder",)  # where a scenario lay on a machine is nobody's business
MAX_SHOWN = 6  # values of a key that several rows set

SETTING = {
    "records": "data.name",
    "dealt": "data.partition",
    "clients": "data.clients",
    "clients in a round": "cohort.size",
    "topology": "topology.kind",
    "model": "model.name",
    "training": "training.kind",
    "rounds": "rounds",
    "channel": "channel.kind",
    "rule": "defense.rule.name",
    "attack": "attack.name",
    "epsilon asked for": "privacy.epsilon",
    "protected unit": "privacy.unit",
    "noise is added": "privacy.place",
}

Flat = dict[str, str]  # dotted key -> value as text


class Values(NamedTuple):
    """The values in force.

    Attributes:
        base: dotted key -> the value that most rows have.
        rows: label -> the values in which a row differs.
        setting: what was run, in a few lines: a title and the values.
    """

    base: Mapping[str, str]
    rows: Mapping[str, Mapping[str, str]]
    setting: Mapping[str, str]


def values_in(groups: Sequence[Group]) -> Values:
    """Returns the values in force of the rows' first cells; other cells differ in their seeds."""
    flats = {group.label: flat(group.first) for group in groups}
    keys = dict.fromkeys(key for values in flats.values() for key in values)
    base: Flat = {}
    for key in keys:
        # Of equally frequent values the first one.
        ((usual, _),) = Counter(values.get(key, NO_VALUE) for values in flats.values()).most_common(
            1
        )
        base[key] = usual
    rows = {}
    for label, values in flats.items():
        differing = {
            key: values.get(key, NO_VALUE) for key in keys if values.get(key, NO_VALUE) != base[key]
        }
        if differing:
            rows[shareable(label)] = differing
    shown = {key: value for key, value in base.items() if value != NO_VALUE}
    return Values(shown, rows, _setting(list(flats.values())))


def flat(scenario: Mapping[str, Any]) -> Flat:
    """Returns dotted key -> value as JSON text, without the keys that have no value."""
    values: Flat = {}
    _flatten(scenario, "", values)
    return values


def _flatten(table: Mapping[str, Any], prefix: str, values: Flat) -> None:
    for key, value in table.items():
        if prefix == "" and key in HIDDEN:
            continue
        if isinstance(value, Mapping):
            _flatten(value, f"{prefix}{key}.", values)
        elif value is not None:
            values[f"{prefix}{key}"] = shareable(json.dumps(value, ensure_ascii=False))


def _setting(flats: Sequence[Flat]) -> dict[str, str]:
    setting = {}
    for title, key in SETTING.items():
        texts = list(dict.fromkeys(_plain(values.get(key)) for values in flats))
        if texts in ([], ["none"]):
            continue
        shown = texts[:MAX_SHOWN]
        if len(texts) > MAX_SHOWN:
            shown.append(f"and {len(texts) - MAX_SHOWN} more")
        setting[title] = ", ".join(shown)
    return setting


def _plain(value: str | None) -> str:
    """A value without its quotation marks; an epsilon without bound is none at all."""
    return "none" if value in (None, '"inf"', "Infinity") else value.strip('"')
