"""Every key of a scenario, from the classes that check it: docs/scenario.md is this module's output.

Written anew by `python -m securefl.scenario.page > docs/scenario.md`.
"""

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from securefl.scenario import catalog
from securefl.scenario.entries import parameters_of
from securefl.scenario.scenario import Scenario

_BEGIN = """\
# Every key of a scenario

All keys are optional unless they are said to be needed; `securefl init` writes a scenario to start from, and `securefl
validate` says what one will do. What depends on the data, the rule or the channel is filled in and shown in a run
folder's resolved.json. `"krum"` is short for `{ name = "krum" }`.

Made by `python -m securefl.scenario.page` from the classes that check scenarios.
"""
_TOP = (
    "init_from is the folder of a run that ended, on the same data and of the same model: training starts from its "
    "model. Under a DP claim the ledgers go on from its ledgers, and privacy.epsilon is for both together. weights are "
    "those of clients in a mean."
)
_Table = Mapping[str, Any]
_NEEDED = object()
_CHOICES: Mapping[str, Iterable[str]] = {
    "data.name": catalog.DATA,
    "model.name": catalog.MODELS,
    "training.kind": ("sgd", "dp_sgd"),
    "privacy.unit": ("example",),
    "privacy.place": ("local",),
    "channel.kind": catalog.CHANNELS,
    "defense.prefilters": catalog.PREFILTERS,
    "defense.rule": catalog.RULES,
    "attack.name": catalog.ATTACKS,
    "server.step": catalog.STEPS,
}
_NAMES: Mapping[str, Callable[[], Mapping[str, tuple[Callable[..., Any], ...]]]] = {
    "models": lambda: {name: (function,) for name, function in catalog.MODELS.items()},
    "pre-filters": lambda: {name: (entry.function,) for name, entry in catalog.PREFILTERS.items()},
    "rules": lambda: {name: (entry.function,) for name, entry in catalog.RULES.items()},
    "attacks": lambda: {name: entry.functions for name, entry in catalog.ATTACKS.items()},
    "server steps": lambda: {name: (function,) for name, function in catalog.STEPS.items()},
}


def page() -> str:
    """The page, in Markdown."""
    return "\n".join([_BEGIN, *_tables(), *_parameters()]) + "\n"


def _tables() -> Iterator[str]:
    """A table of keys for the scenario itself and for each table in it."""
    schema = Scenario.model_json_schema()
    known: dict[str, Any] = schema["$defs"]
    plain = {
        key: value for key, value in schema["properties"].items() if _inner(value, known) is None
    }
    yield from ("## At the top", "", _TOP, "", *_rows("", plain, known, {}))
    for key, value in schema["properties"].items():
        if (inner := _inner(value, known)) is not None:
            yield from ("", f"## [{key}]", "", " ".join(inner["description"].split()), "")
            yield from _rows(f"{key}.", inner["properties"], known, value.get("default") or {})


def _rows(
    place: str, properties: Mapping[str, Any], known: Mapping[str, Any], usual: Mapping[str, Any]
) -> Iterator[str]:
    """One line a key; `usual` is the table that stands where none is written."""
    yield from ("| key | takes | default |", "|---|---|---|")
    for key, value in properties.items():
        choices = _CHOICES.get(f"{place}{key}")
        takes = (
            _takes(value, known)
            if choices is None
            else " or ".join(f"`{choice}`" for choice in choices)
        )
        takes = (
            f"a list of {takes}" if choices is not None and value.get("type") == "array" else takes
        )
        written = (
            usual.get(key, value.get("default")) if key in usual or "default" in value else _NEEDED
        )
        default = "needed" if written is _NEEDED else _shown(written)
        yield f"| `{key}` | {takes} | {default} |"


def _inner(value: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any] | None:
    """The table that a key takes; None for a key that takes a value."""
    for one in (value, *value.get("anyOf", ())):
        if "$ref" in one:
            return dict(known[one["$ref"].rpartition("/")[2]])
    return None


def _takes(value: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    """What a key takes, in words."""
    if "anyOf" in value:
        return _takes(next(one for one in value["anyOf"] if one.get("type") != "null"), known)
    if "enum" in value:
        return " or ".join(f"`{choice}`" for choice in value["enum"])
    if (inner := _inner(value, known)) is not None:
        return "a table: " + ", ".join(f"`{key}`" for key in inner["properties"])
    if value["type"] == "array":
        return f"a list: {_takes(value['items'], known)}"
    word = {
        "integer": "a whole number",
        "number": "a number",
        "string": "a word",
        "boolean": "`true` or `false`",
    }[value["type"]]
    return word + _bounds(value)


def _bounds(value: Mapping[str, Any]) -> str:
    words = {
        "minimum": "at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
    }
    told = [
        f"{word} {value[name]:g}"
        for name, word in words.items()
        if name in value and value[name] < 2**31 - 1
    ]
    return f", {' and '.join(told)}" if told else ""


def _parameters() -> Iterator[str]:
    """What models, rules, attacks and steps take beside their names."""
    for kind, table in _NAMES.items():
        yield from ("", f"## {kind[:1].upper()}{kind[1:]}", "", "| name | takes |", "|---|---|")
        for name, functions in table().items():
            takes = [
                f"`{key}`"
                + (
                    ""
                    if one.default is inspect.Parameter.empty
                    else f" (default {_shown(one.default)})"
                )
                for key, one in parameters_of(*functions).items()
            ]
            yield f"| `{name}` | {', '.join(takes) or 'nothing'} |"
    yield from ("", "## Data and channels", "", "| data | partitions |", "|---|---|")
    for name, entry in catalog.DATA.items():
        ways = dict.fromkeys([*entry.partitions, "pooled", *catalog.DEALS])
        yield f"| `{name}` | {', '.join(f'`{way}`' for way in ways)}; by default `{entry.usual}` |"
    yield from ("", "| channel | options and their defaults |", "|---|---|")
    for name, channel in catalog.CHANNELS.items():
        told = ", ".join(f"`{key}` = {_shown(value)}" for key, value in channel.options.items())
        yield f"| `{name}` | {told or 'none'} |"


def _shown(value: object) -> str:
    if value is None or value == [] or value == ():
        return "none"
    if isinstance(value, str):
        return f"`{value}`"
    if isinstance(value, dict):
        return ", ".join(f"`{inner}`" for inner in value.values())
    if isinstance(value, tuple):
        return f"{list(value)}"
    return f"{value:g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.stdout.write(page())
