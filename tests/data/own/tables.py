"""A small table of visits with every kind of column, and its schema."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from securefl.data.own.schema import Schema
from securefl.data.own.table import TableSource

HEADER = "patient,hospital,age,sex,cp,ill,part,note"
ROWS = (
    "p1,north,30,1,1,0,train,fine",
    "p2,south,55,0,2,1,test,",
    "p1,north,90,1,3,2,validation,again",
)

DECLARED: Mapping[str, Any] = {
    "label": {"column": "ill", "classes": [[0], [1, 2]]},
    "site": "hospital",
    "sites": ["south", "north"],
    "group": "patient",
    "split": "part",
    "columns": [
        {"name": "age", "range": [20, 90]},
        {"name": "sex", "binary": True},
        {"name": "cp", "levels": [1, 2, 3]},
    ],
}


def declared(**changes: Any) -> Schema:
    """Returns the schema of the visits with changed keys; None removes one."""
    values = {**DECLARED, **changes}
    return Schema.model_validate({key: value for key, value in values.items() if value is not None})


def with_column(name: str, **changes: Any) -> Schema:
    """Returns the schema with one column's keys changed; None removes one."""
    columns = []
    for column in DECLARED["columns"]:
        keys = {**column, **changes} if column["name"] == name else column
        columns.append({key: value for key, value in keys.items() if value is not None})
    return declared(columns=columns)


def source(
    folder: Path, *rows: str, schema: Schema | None = None, header: str = HEADER
) -> TableSource:
    """Writes lines to visits.csv, those of ROWS where none are given."""
    path = folder / "visits.csv"
    path.write_text("\n".join([header, *(rows or ROWS)]) + "\n", encoding="utf-8")
    return TableSource(path, schema or declared())


def parquet(
    folder: Path, columns: Mapping[str, Any], schema: Schema, name: str = "visits.parquet"
) -> TableSource:
    """Writes columns to a Parquet file."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table(dict(columns)), path)
    return TableSource(path, schema)


# For files that are described and never read.
NOTHING = declared(site=None, sites=None, group=None, split=None)
