"""Writes docs/scenario.md, every key of a scenario, from the checking classes.

Make the page again with `python -m securefl.scenario.page > docs/scenario.md`.
"""

import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from securefl.scenario import catalog
from securefl.scenario.automatic import AUTO
from securefl.scenario.entries import Entry
from securefl.scenario.scenario import Scenario

_BEGIN = """\
# Every key of a scenario

All keys are optional unless they are said to be needed. `securefl init` writes a scenario to start
from, and `securefl validate` says what one will do. Values that depend on the data, the rule or the
channel are filled in, and shown in a run folder's resolved.json. `"krum"` is short for
`{ name = "krum" }`.

Made by `python -m securefl.scenario.page` from the classes that check scenarios.
"""
_TOP = (
    "init_from is the folder of a run that ended, on the same data and of the same model: training "
    "starts from its model. Under a DP claim the ledgers go on from its ledgers, and "
    "privacy.epsilon is for both together. weights are those of clients in a mean. folder is where "
    "relative paths and code start, by default the folder of the scenario's file. code is filled "
    "in: what identifies the code of others, see [plugins.md](plugins.md)."
)
# Keys that hold a name of the catalog -> the names.
_CHOICES: Mapping[str, Iterable[str]] = {
    "data.name": catalog.DATA,
    "model.name": (*catalog.MODELS, AUTO),
    "training.kind": catalog.TRAINERS,
    "training.optimizer": catalog.OPTIMIZERS,
    "training.algorithm": catalog.ALGORITHMS,
    "training.schedule": catalog.SCHEDULES,
    "privacy.unit": ("example", "client"),
    "privacy.place": ("local", "distributed", "central"),
    "channel.kind": catalog.CHANNELS,
    "defense.prefilters": catalog.PREFILTERS,
    "defense.rule": catalog.RULES,
    "attack.name": catalog.ATTACKS,
    "server.step": catalog.STEPS,
}
_WITH_PARAMETERS: Mapping[str, Mapping[str, Entry]] = {
    "Models": catalog.MODELS,
    "Pre-filters": catalog.PREFILTERS,
    "Rules": catalog.RULES,
    "Attacks": catalog.ATTACKS,
    "Server steps": catalog.STEPS,
}
_WORDS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "a word",
    "boolean": "`true` or `false`",
}
_BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
}
_UNBOUNDED = 2**31 - 1  # a limit of the type, which no author comes near

Schema = Mapping[str, Any]  # of JSON Schema, as pydantic writes it


def page() -> str:
    """Returns the page, in Markdown."""
    return "\n".join([_BEGIN, *_tables(), *_parameters(), *_data_and_channels()]) + "\n"


def _tables() -> Iterator[str]:
    """Yields a table of keys for the scenario itself, and one for each table in it."""
    schema = Scenario.model_json_schema()
    definitions: Schema = schema["$defs"]
    tables = {key: _table(value, definitions) for key, value in schema["properties"].items()}
    simple = {key: value for key, value in schema["properties"].items() if tables[key] is None}
    yield from ("## At the top", "", _TOP, "")
    yield from _rows("", simple, definitions, {})
    for key, table in tables.items():
        if table is None:
            continue
        usual = schema["properties"][key].get("default") or {}
        yield from ("", f"## [{key}]", "", " ".join(table["description"].split()), "")
        yield from _rows(f"{key}.", table["properties"], definitions, usual)


def _rows(
    place: str, properties: Schema, definitions: Schema, usual: Mapping[str, Any]
) -> Iterator[str]:
    """Yields one line a key.

    Args:
        place: the path of the table, with a dot at its end.
        properties: key -> its schema.
        definitions: the schemas of all tables.
        usual: the values in force where the scenario has no such table.
    """
    yield from ("| key | takes | default |", "|---|---|---|")
    for key, value in properties.items():
        choices = _CHOICES.get(f"{place}{key}")
        takes = _takes(value, definitions)
        if choices is not None:
            takes = " or ".join(f"`{choice}`" for choice in choices)
            if value.get("type") == "array":
                takes = f"a list of {takes}"
        yield f"| `{key}` | {takes} | {_default(key, value, usual)} |"


def _default(key: str, value: Schema, usual: Mapping[str, Any]) -> str:
    """Returns what is in force where a key is not written, or that it is needed."""
    if key in usual:
        return _shown(usual[key])
    return _shown(value["default"]) if "default" in value else "needed"


def _table(value: Schema, definitions: Schema) -> dict[str, Any] | None:
    """Returns the schema of the table that a key takes; None for a simple key."""
    for schema in (value, *value.get("anyOf", ())):
        if "$ref" in schema:
            return dict(definitions[schema["$ref"].rpartition("/")[2]])
    return None


def _takes(value: Schema, definitions: Schema) -> str:
    """Returns what a key takes, in words."""
    if "anyOf" in value:
        # `T | None`: None is what a key holds that is not written.
        kinds = [schema for schema in value["anyOf"] if schema.get("type") != "null"]
        simple = [schema for schema in kinds if _table(schema, definitions) is None]
        return ", or ".join(_takes(schema, definitions) for schema in simple or kinds[:1])
    if "const" in value:
        return f"`{value['const']}`"
    if "enum" in value:
        return " or ".join(f"`{choice}`" for choice in value["enum"])
    if "oneOf" in value:
        # Tables that are told apart by their names.
        return " or ".join(_named_table(schema, definitions) for schema in value["oneOf"])
    table = _table(value, definitions)
    if table is not None:
        return "a table: " + ", ".join(f"`{key}`" for key in table["properties"])
    if value["type"] == "array":
        # A list of a fixed length has a schema for each place, here always the same one.
        items = value.get("items") or value["prefixItems"][0]
        return f"a list: {_takes(items, definitions)}"
    if value["type"] == "object":
        return "a table"
    return _WORDS[value["type"]] + _bounds(value)


def _named_table(value: Schema, definitions: Schema) -> str:
    """Returns the name of one kind of table, and its other keys."""
    keys = dict((_table(value, definitions) or {})["properties"])
    name = keys.pop("name")["const"]
    others = ", ".join(f"`{key}`" for key in keys)
    return f"`{name}` ({others})" if others else f"`{name}`"


def _bounds(value: Schema) -> str:
    bounds = [
        f"{word} {value[name]:g}"
        for name, word in _BOUNDS.items()
        if value.get(name, _UNBOUNDED) < _UNBOUNDED
    ]
    return f", {' and '.join(bounds)}" if bounds else ""


def _parameters() -> Iterator[str]:
    """Yields the hyper-parameters of models, rules, attacks and steps."""
    for heading, entries in _WITH_PARAMETERS.items():
        yield from ("", f"## {heading}", "", "| name | takes |", "|---|---|")
        for name, entry in entries.items():
            takes = ", ".join(map(_parameter, entry.parameters.values()))
            yield f"| `{name}` | {takes or 'nothing'} |"


def _parameter(parameter: inspect.Parameter) -> str:
    if parameter.default is inspect.Parameter.empty:
        return f"`{parameter.name}`"
    return f"`{parameter.name}` (default {_shown(parameter.default)})"


def _data_and_channels() -> Iterator[str]:
    """Yields the partitions of each data set, and the options of each channel."""
    yield from ("", "## Data and channels", "", "| data | partitions |", "|---|---|")
    for name, form in catalog.OWN_DATA.items():
        yield f"| `{name}` | your own: {form.describes} |"
    for name, entry in catalog.DATA.items():
        ways = dict.fromkeys([*entry.partitions, "pooled", *catalog.DEALS])
        yield f"| `{name}` | {', '.join(f'`{way}`' for way in ways)}; by default `{entry.usual}` |"
    yield from ("", "| channel | options and their defaults |", "|---|---|")
    for name, kind in catalog.CHANNELS.items():
        options = ", ".join(f"`{key}` = {_shown(value)}" for key, value in kind.options.items())
        yield f"| `{name}` | {options or 'none'} |"


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
