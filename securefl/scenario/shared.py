"""The part of a scenario that all sites share: with the schema of their data, and without paths.

A scenario on own data is its shared part and paths. In a simulation `data.path` names the files of
all sites. Between sites each has its own path in `site.toml`, and the charter has the shared part:

    shared_part(text, overrides, folder)  # data.schema is a table now, and data.path is gone
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from securefl.data.own.agreed import (
    AgreedSchema,
    agreed_digest,
    check_size,
    document,
    schema_of_form,
    with_crosswalk,
)
from securefl.data.own.schema import Schema
from securefl.errors import ScenarioError
from securefl.files import parse_toml
from securefl.scenario import catalog
from securefl.scenario.data_table import Data
from securefl.scenario.overrides import override
from securefl.scenario.plugins.find import PREFIX
from securefl.scenario.scenario import Scenario
from securefl.scenario.written import to_toml

# The forms whose schemas say everything that a coordinator needs.
FORMS = ("arrays", "table")
# A file's path, or what the file holds.
Given = str | dict[str, Any]
_NO_SCHEMA = "data.schema: between sites a schema has to declare what the records of every site are"


def shared_part(text: str, overrides: tuple[str, ...], folder: Path) -> tuple[str, tuple[str, ...]]:
    """Returns the shared part of a scenario: its text, and overrides on top of that.

    Args:
        text: the scenario; one on published data comes back as it is.
        overrides: `key.path=value` pairs on top of it.
        folder: where the path of a schema starts.

    Raises:
        ScenarioError: the schema is missing, cannot be read, or is too large.
    """
    values = _values(text, overrides)
    data = values.get("data")
    if not isinstance(data, dict) or data.get("name") not in FORMS:
        # Before anybody is sent to remove its paths.
        if isinstance(data, dict) and data.get("name") in catalog.OWN_DATA:
            raise ScenarioError(_not_between_sites(data["name"]))
        return text, overrides
    given = data.get("schema")
    if not isinstance(given, str | dict):
        raise ScenarioError(_NO_SCHEMA)
    form = str(data["name"])
    crosswalk = data.get("crosswalk")
    # Another form takes no crosswalk, and is refused for it when the scenario is parsed.
    if form == "table" and isinstance(crosswalk, str | dict):
        del data["crosswalk"]
    schema = _agreed(form, folder, given, crosswalk)
    if schema is not None:
        check_size(schema)
        data["schema"] = document(schema)
    data.pop("path", None)
    return to_toml(values), ()


def refuse_paths(text: str, overrides: Sequence[str]) -> None:
    """Refuses a shared part that names files, before one of them is looked at.

    Raises:
        ScenarioError: it names a path or code in a file, or is not TOML.
    """
    values = _values(text, overrides)
    for word in _words(values):
        if word.startswith(PREFIX):
            raise ScenarioError(f"{word} names code in a file, and what sites share names none")
    data, model = values.get("data"), values.get("model")
    named = {"folder": values.get("folder")}
    if isinstance(data, dict):
        named |= {"data.path": data.get("path")}
        for key in ("schema", "crosswalk"):
            named |= {f"data.{key}": data[key] if isinstance(data.get(key), str) else None}
    if isinstance(model, dict):
        named |= {"model.weights": model.get("weights")}
    for key, value in named.items():
        if value is not None:
            raise ScenarioError(
                f"{key} names a file, and what sites share names none: each site has its paths in "
                "its site.toml"
            )


def schema_of(scenario: Scenario) -> AgreedSchema | None:
    """Returns the schema of own data; None for published data, and where there is none."""
    given = scenario.data.schema_
    if given is None:
        return None
    return _agreed(scenario.data.name, scenario.home, given, scenario.data.crosswalk)


def schema_digest(scenario: Scenario) -> str | None:
    """Returns the SHA-256 of the schema of own data, for a charter; None for published data."""
    schema = schema_of(scenario)
    return None if schema is None else agreed_digest(schema)


def check_own_data(scenario: Scenario) -> None:
    """Refuses own data, code or weights that cannot be those of several sites.

    Raises:
        ScenarioError: one sentence that says what to change.
    """
    if scenario.facts.code or scenario.model.weights is not None:
        raise ScenarioError(
            "files of your own code or weights do not run between sites yet; use a model of the "
            "catalog"
        )
    if scenario.facts.data_set.published:
        return
    data = scenario.data
    if data.name not in FORMS:
        raise ScenarioError(_not_between_sites(data.name))
    schema = schema_of(scenario)
    if schema is None:
        raise ScenarioError(_NO_SCHEMA)
    _check_sites(data, schema)
    if scenario.partition != "natural":
        raise ScenarioError(
            f"data.partition = {scenario.partition!r} moves records between sites; use 'natural'"
        )
    for key in ("only", "held_out"):
        if getattr(data, key) is not None:
            raise ScenarioError(f"data.{key} has no effect between sites; remove it")


def _not_between_sites(name: str) -> str:
    forms = " or ".join(map(repr, FORMS))
    return f"data.name = {name!r} does not run between sites yet; use {forms}"


def check_algorithm(scenario: Scenario) -> None:
    """Refuses an algorithm with a state at the clients, or updates of another kind, so far.

    Raises:
        ScenarioError: one sentence that says what to change.
    """
    if not scenario.facts.algorithm.averages:
        raise ScenarioError(
            f"training.algorithm = {scenario.training.algorithm!r} does not run between sites yet; "
            "use 'fedavg' or 'fedprox'"
        )
    if scenario.training.fine_tune is not None:
        raise ScenarioError("training.fine_tune does not run between sites yet; remove it")
    if scenario.protects_clients:
        raise ScenarioError(
            "privacy.unit = 'client' does not run between sites yet; use 'example', which protects "
            "each record"
        )


def _check_sites(data: Data, schema: AgreedSchema) -> None:
    """Checks that the schema names the sites, and that each has a file of its own."""
    if isinstance(schema, Schema) and schema.site is not None:
        raise ScenarioError(
            f"the schema has a site column {schema.site!r}, and between sites each has a file of "
            "its own: remove site, and let data.path be a pattern such as 'sites/*.csv'"
        )
    if not schema.sites:
        raise ScenarioError("the schema needs sites = [...], the names of the sites in order")
    if data.path is not None and "*" not in Path(data.path).name:
        raise ScenarioError(
            f"data.path = {data.path!r} is one file: between sites each has its own; let it be a "
            "pattern such as 'sites/*.csv', with files named like the sites"
        )


def _place(folder: Path, given: Given) -> Path | dict[str, Any]:
    """Returns the file of a schema or a crosswalk, or its values where it is a table."""
    return folder / given if isinstance(given, str) else given


def _agreed(form: str, folder: Path, given: Given, crosswalk: Given | None) -> AgreedSchema | None:
    """Returns the schema of a form of records with its crosswalk. Raises ScenarioError."""
    schema = schema_of_form(form, _place(folder, given))
    if not isinstance(crosswalk, str | dict) or not isinstance(schema, Schema):
        return schema
    return with_crosswalk(schema, _place(folder, crosswalk))


def _words(value: object) -> Iterator[str]:
    """Yields every text in a value, the names of keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _words(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _words(inner)


def _values(text: str, overrides: Sequence[str]) -> dict[str, Any]:
    """Returns what a scenario's text and its overrides say. Raises ScenarioError."""
    values = parse_toml(text, "the scenario")
    for given in overrides:
        override(values, given)
    return values
