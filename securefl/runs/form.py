"""What the records of a run are, without any of them: the sites in order, and their schema.

A run folder notes it for a user's own records. A later version of a model has other records, whose
schema may lie in another file, or in the same file after an edit. Its ledgers go on from those of
the same sites, and its classes have the same meaning, only where both notes are equal.
"""

from pathlib import Path
from typing import Any

from securefl.data.dicom.schema import DicomSchema
from securefl.data.own.agreed import Crossed, agreed_digest, read_schema, with_crosswalk
from securefl.data.own.array_schema import ArraySchema
from securefl.data.own.schema import Schema
from securefl.errors import ScenarioError
from securefl.files import read_json, write_json
from securefl.scenario.own_data import open_source
from securefl.scenario.scenario import Scenario

FORM = "form.json"
Form = dict[str, Any]  # ready for JSON
_Given = str | dict[str, Any]


def form_of(scenario: Scenario) -> Form | None:
    """Returns the form of a user's own records; None for published ones, whose name says it.

    Raises:
        ScenarioError: the schema or the crosswalk cannot be read.
        DataError: the records are missing or damaged.
    """
    if scenario.facts.data_set.published:
        return None
    sites = open_source(scenario.data, scenario.home).source.sites
    return {"sites": list(sites), "schema": _schema_digest(scenario)}


def note_form(folder: Path, scenario: Scenario) -> None:
    """Writes the form of a run's records into its folder, unless it is there."""
    file = folder / FORM
    form = None if file.exists() else form_of(scenario)
    if form is not None:
        write_json(file, form)


def check_form(scenario: Scenario, earlier: Path) -> None:
    """Checks that a later version has the sites, the schema and the crosswalk of an earlier one.

    Args:
        scenario: of the later version.
        earlier: the run folder of the version that it starts from.

    Raises:
        ScenarioError: one of them is another, or the earlier run does not say which it had.
    """
    here = form_of(scenario)
    if here is None:
        return
    file = earlier / FORM
    if not file.exists():
        raise ScenarioError(
            f"init_from: {earlier} has no {FORM}, which says what its sites and its schema were: "
            "an earlier version of securefl made it; run its scenario there once more, which "
            "trains nothing and adds the file"
        )
    before = read_json(file)
    if before.get("sites") != here["sites"]:
        raise ScenarioError(
            f"init_from: the sites of {earlier} were {before.get('sites')} in this order, and here "
            f"they are {here['sites']}: each goes on from its own ledger, so declare the same "
            "sites in the same order"
        )
    if before.get("schema") != here["schema"]:
        raise ScenarioError(
            f"init_from: data.schema or data.crosswalk is another one than that of {earlier}; "
            "their files may lie elsewhere, and must say the same"
        )


def _schema_digest(scenario: Scenario) -> str | None:
    """Returns the SHA-256 of the schema with its crosswalk; None without a schema."""
    data, home = scenario.data, scenario.home
    schema, crosswalk = _place(home, data.schema_), _place(home, data.crosswalk)
    if schema is None:
        return None
    if data.name == "arrays":
        return agreed_digest(read_schema(ArraySchema, schema))
    if data.name == "dicom":
        return agreed_digest(_crossed(read_schema(DicomSchema, schema), crosswalk))
    return agreed_digest(_crossed(read_schema(Schema, schema), crosswalk))


def _place(home: Path, given: _Given | None) -> Path | dict[str, Any] | None:
    """Returns the file of a schema or a crosswalk, or its values where it is a table."""
    return home / given if isinstance(given, str) else given


def _crossed(schema: Crossed, crosswalk: Path | dict[str, Any] | None) -> Crossed:
    return schema if crosswalk is None else with_crosswalk(schema, crosswalk)
