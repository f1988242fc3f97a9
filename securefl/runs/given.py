"""A scenario as Python code gives it: checked, in a file, as text, as a dict, with objects."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from securefl.errors import ScenarioError
from securefl.files import parse_toml, read_text
from securefl.scenario.declaration import Declaration
from securefl.scenario.own_data import forget
from securefl.scenario.plugins.objects import hold, hold_records
from securefl.scenario.scenario import Scenario, parse_scenario
from securefl.scenario.written import to_toml

Given = Scenario | Path | str | Mapping[str, Any]

DEFAULTS = Declaration()


class Place(NamedTuple):
    """Where a scenario names a thing that may be an object: a key, and the default."""

    key: str
    default: str | None


PLACES = {
    "data": Place("data", DEFAULTS.data.name),
    "model": Place("model", DEFAULTS.model.name),
    "rule": Place("defense.rule", DEFAULTS.defense.rule.name),
    "attack": Place("attack", None),
}


class Asked(NamedTuple):
    """A scenario, and the text that a run folder keeps of it."""

    scenario: Scenario
    text: str


def asked(given: Given, objects: Mapping[str, Any]) -> Asked:
    """Returns the scenario that was given, with objects in the places of names.

    Args:
        given: a scenario, a TOML file, TOML text or a dict. Text that ends in ".toml" is a path.
        objects: keyword of `run` -> object; None for none.

    Raises:
        ScenarioError: it is no scenario, or names something else where an object was given.
    """
    objects = {keyword: value for keyword, value in objects.items() if value is not None}
    if isinstance(given, Scenario) and not objects:
        return Asked(given, "")
    text, folder = _read(given)
    overrides = _overrides(text, objects)
    scenario = parse_scenario(text, overrides=overrides, folder=folder)
    notes = "".join(f"\n# --set {override}" for override in overrides)
    return Asked(scenario, text + notes)


def _read(given: Given) -> tuple[str, Path | None]:
    """Returns TOML text, and the folder where its relative paths start."""
    if isinstance(given, Scenario):
        # The folder is no key of a text: a stranger's text must not name a trusted one.
        values = given.model_dump(exclude_unset=True, by_alias=True, exclude={"folder"})
        return to_toml(values), given.home
    if isinstance(given, Mapping):
        return to_toml(given), None
    if isinstance(given, str) and not given.endswith(".toml"):
        return given, None
    path = Path(given)
    return read_text(path), path.parent


def _overrides(text: str, objects: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns what sets the names of objects, as --set would. Raises ScenarioError at a clash."""
    try:
        values = parse_toml(text, "the scenario")
    except ScenarioError:
        values = {}  # which the scenario's own reader says in its words
    overrides = []
    for keyword, value in objects.items():
        place = PLACES[keyword]
        table = _at(values, place.key)
        if keyword == "attack" and not isinstance(table, dict):
            raise ScenarioError(
                "attack= needs to know which clients are corrupt: put attack = { clients = [0] } "
                "into the scenario, as text or as a dict"
            )
        name = table.get("name") if isinstance(table, dict) else table
        if name not in (None, place.default):
            raise ScenarioError(
                f"{keyword}= gives an object, and the scenario names {name!r} in {place.key}; "
                "remove one of the two"
            )
        overrides.append(f"{place.key}.name={_held_as(keyword, value)}")
    return tuple(overrides)


def _held_as(keyword: str, value: Any) -> str:
    """Returns the name of an object."""
    if keyword != "data":
        return hold(value, kind=keyword)
    name = hold_records(value)
    forget(name)
    return name


def _at(values: Mapping[str, Any], path: str) -> Any:
    """Returns what lies at a key path; None where there is nothing."""
    table: Any = values
    for key in path.split("."):
        table = table.get(key) if isinstance(table, Mapping) else None
    return table
