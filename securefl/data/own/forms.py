"""Name -> form that a user's own records may have."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from securefl.data.dicom.schema import DicomSchema
from securefl.data.dicom.source import DicomSource
from securefl.data.own.agreed import Declared, check_size, read_schema, with_crosswalk
from securefl.data.own.array_schema import ArraySchema
from securefl.data.own.arrays import Arrays
from securefl.data.own.digest import digest_key
from securefl.data.own.folder import Folder
from securefl.data.own.records import Source
from securefl.data.own.schema import Schema
from securefl.data.own.site_arrays import SiteArrays, arrays_of
from securefl.data.own.table import TableSource
from securefl.errors import ScenarioError
from securefl.files import cache_folder


@dataclass(frozen=True)
class Form:
    """A form of records.

    Attributes:
        open: the folder that paths start from, and the values of the keys -> the records, of which
            none is read yet.
        takes: keys of a scenario's table [data] that it takes.
        needs: those of them that have to be set.
        describes: the form in a few words.
    """

    open: Callable[[Path, Mapping[str, Any]], Source]
    takes: tuple[str, ...]
    needs: tuple[str, ...]
    describes: str


def _arrays(home: Path, values: Mapping[str, Any]) -> Source:
    path, given = values["path"], values["schema"]
    others = {key: values[key] for key in values if key not in ("path", "schema")}
    if given is None:
        if path is None:
            raise ScenarioError("data.path: arrays needs it, or else data.schema")
        return Arrays(home / path, **others)
    for key in others:
        if others[key] is not None:
            raise ScenarioError(f"data.{key} belongs into data.schema: move it there")
    schema = read_schema(ArraySchema, _place(home, given))
    if path is None:
        return _declared(schema)
    source = SiteArrays(home / path, schema) if "*" in path else arrays_of(home / path, schema)
    source.check_form()
    return source


def _folder(home: Path, values: Mapping[str, Any]) -> Source:
    return Folder(
        home / values["path"],
        size=values["size"],
        channels=values["channels"],
        sites=values["sites"],
        classes=values["class_names"],
    )


def _table(home: Path, values: Mapping[str, Any]) -> Source:
    schema = read_schema(Schema, _place(home, values["schema"]))
    if values["crosswalk"] is not None:
        schema = with_crosswalk(schema, _place(home, values["crosswalk"]))
    if values["path"] is None:
        return _declared(schema)
    source = TableSource(home / values["path"], schema)
    source.check_form()
    return source


def _dicom(home: Path, values: Mapping[str, Any]) -> Source:
    schema = read_schema(DicomSchema, _place(home, values["schema"]))
    if values["crosswalk"] is not None:
        schema = with_crosswalk(schema, _place(home, values["crosswalk"]))
    # Public patients fall on the same side of a split on every machine.
    key = partial(digest_key, cache_folder(), public=bool(values["public"]))
    source = DicomSource(home / values["path"], home / values["labels"], schema, key)
    source.check_form()
    return source


def _place(home: Path, given: str | Mapping[str, Any]) -> Path | Mapping[str, Any]:
    """Returns the file of a schema or a crosswalk, or its values where a scenario has a table."""
    return home / given if isinstance(given, str) else given


def _declared(schema: Schema | ArraySchema) -> Declared:
    # A model is built from it before anybody has a record: others could ask for any size.
    check_size(schema)
    return Declared(schema)


FORMS: Mapping[str, Form] = {
    "arrays": Form(
        _arrays,
        takes=("path", "schema", "num_classes", "sites", "channels", "ranges", "loss"),
        needs=(),
        describes="one .npz file of images or rows of numbers, in the layout of MedMNIST",
    ),
    "folder": Form(
        _folder,
        takes=("path", "size", "channels", "sites", "class_names"),
        needs=("path", "size", "channels"),
        describes="PNG and JPEG files in site/class/ or split/site/class/",
    ),
    "table": Form(
        _table,
        takes=("path", "schema", "crosswalk"),
        needs=("schema",),
        describes="CSV or Parquet with a declared schema",
    ),
    "dicom": Form(
        _dicom,
        takes=("path", "labels", "schema", "crosswalk", "public"),
        needs=("path", "labels", "schema"),
        describes="DICOM files in one folder a site, with labels and a declared schema",
    ),
}
