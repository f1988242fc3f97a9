"""Name -> form that a user's own records may have."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securefl.data.own.arrays import Arrays
from securefl.data.own.folder import Folder
from securefl.data.own.records import Source
from securefl.data.own.schema import load_schema
from securefl.data.own.table import TableSource


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
    return Arrays(home / values["path"], **{key: values[key] for key in values if key != "path"})


def _folder(home: Path, values: Mapping[str, Any]) -> Source:
    return Folder(
        home / values["path"],
        size=values["size"],
        channels=values["channels"],
        sites=values["sites"],
        classes=values["class_names"],
    )


def _table(home: Path, values: Mapping[str, Any]) -> Source:
    source = TableSource(home / values["path"], load_schema(home / values["schema"]))
    source.check_form()
    return source


FORMS: Mapping[str, Form] = {
    "arrays": Form(
        _arrays,
        takes=("path", "num_classes", "sites", "channels", "ranges", "loss"),
        needs=("path",),
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
        takes=("path", "schema"),
        needs=("path", "schema"),
        describes="CSV or Parquet with a declared schema",
    ),
}
