"""A schema that several sites agree on: its form, its reading, and its SHA-256.

    schema = read_schema(Schema, Path("visits.toml"))  # or what the file says, as a table
    agreed_digest(schema)

A schema holds declared constants only. So a coordinator can build a model from it, and a scenario
that carries one needs no file.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from securefl.data.crosswalk.model import Crosswalk
from securefl.data.crosswalk.read import read_crosswalk
from securefl.data.dicom.schema import DicomSchema
from securefl.data.own.array_schema import ArraySchema
from securefl.data.own.records import Records
from securefl.data.own.schema import Schema
from securefl.data.task import Task
from securefl.errors import ScenarioError
from securefl.files import parse_toml, read_text
from securefl.messages import sentences

AgreedSchema = Schema | ArraySchema
Kind = TypeVar("Kind", Schema, ArraySchema, DicomSchema)
Crossed = TypeVar("Crossed", Schema, DicomSchema)

# Of a schema that somebody else sent.
MAX_SCHEMA_BYTES = 2**18
MAX_FEATURES = 2**24

_NO_RECORDS = (
    "data.path: the scenario has the schema of the records and not the records, which are at the "
    "sites; to simulate it, give their files, as in --set data.path='sites/*.csv'"
)
_LABEL = b"securefl data schema 1"


def load_schema(path: Path) -> Schema:
    """Returns the schema of a table in a TOML file. Raises ScenarioError: see `read_schema`."""
    return read_schema(Schema, path)


def read_schema(kind: type[Kind], given: Path | Mapping[str, Any]) -> Kind:
    """Returns a schema.

    Args:
        kind: of the schema.
        given: a TOML file, or the values that such a file holds.

    Raises:
        ScenarioError: the schema cannot be read, or has mistakes; one sentence for each.
    """
    name, values = ("data.schema", given) if isinstance(given, Mapping) else _loaded(given)
    try:
        return kind.model_validate(dict(values))
    except ValidationError as reason:
        mistakes = sentences(reason, kind, "the schema").splitlines()
        raise ScenarioError("\n".join(f"{name}: {mistake}" for mistake in mistakes)) from None


def schema_of_form(form: str, given: Path | Mapping[str, Any]) -> AgreedSchema | None:
    """Returns the schema of a form of records; None for a form without. See `read_schema`."""
    if form == "table":
        return read_schema(Schema, given)
    if form == "arrays":
        return read_schema(ArraySchema, given)
    return None


def with_crosswalk(schema: Crossed, given: Path | Mapping[str, Any]) -> Crossed:
    """Returns a schema together with a crosswalk.

    Args:
        schema: of tables or of DICOM files.
        given: the crosswalk's TOML file, or the values that such a file holds.

    Raises:
        ScenarioError: the crosswalk cannot be read, has mistakes, or does not fit the schema; or
            the schema has a crosswalk of its own.
    """
    if schema.crosswalk is not None:
        raise ScenarioError("data.crosswalk: the schema has a crosswalk of its own; remove one")
    crosswalk = read_crosswalk(given)
    values = {**document(schema), "crosswalk": document(crosswalk)}
    try:
        return type(schema).model_validate(values)
    except ValidationError as reason:
        name = "data.crosswalk" if isinstance(given, Mapping) else given
        kind = type(schema)
        mistakes = sentences(reason, kind, "the crosswalk and the schema").splitlines()
        raise ScenarioError("\n".join(f"{name}: {mistake}" for mistake in mistakes)) from None


def _loaded(path: Path) -> tuple[str, dict[str, Any]]:
    """Returns the name of a schema's file and what it holds. Raises ScenarioError."""
    return str(path), parse_toml(read_text(path), f"the schema {path}")


def document(schema: AgreedSchema | DicomSchema | Crosswalk) -> dict[str, Any]:
    """Returns what a schema or crosswalk declares, as values of TOML or JSON that give it again."""
    values: dict[str, Any] = schema.model_dump(mode="json", exclude_defaults=True)
    return values


def agreed_digest(schema: AgreedSchema | DicomSchema) -> str:
    """Returns the SHA-256 of a schema, "sha256:" and 64 hexadecimal digits.

    Spellings and the order of keys in a file do not count. The order of classes, levels, columns
    and sites does: it numbers them.
    """
    # The keys stay in the order of the fields: sorted ones would lose the order of classes.
    canonical = json.dumps(document(schema), separators=(",", ":"), ensure_ascii=False)
    form = type(schema).__name__.encode()
    whole = _LABEL + b"\0" + form + b"\0" + canonical.encode("utf-8", "surrogatepass")
    return f"sha256:{hashlib.sha256(whole).hexdigest()}"


def check_size(schema: AgreedSchema) -> None:
    """Refuses a schema that would make others allocate too much. Raises ScenarioError."""
    size = len(json.dumps(document(schema)))
    if size > MAX_SCHEMA_BYTES:
        raise ScenarioError(
            f"data.schema has {size} bytes, more than the {MAX_SCHEMA_BYTES} of a schema that "
            "sites share"
        )
    features = schema.task.features
    if features > MAX_FEATURES:
        raise ScenarioError(f"data.schema declares {features} features, more than {MAX_FEATURES}")


@dataclass(frozen=True)
class Declared:
    """Records that are elsewhere: a source that knows its schema and holds nothing.

    Args:
        schema: what the records would be.
    """

    schema: AgreedSchema

    @property
    def task(self) -> Task:
        """The task that the schema declares."""
        return self.schema.task

    @property
    def sites(self) -> tuple[str, ...]:
        """The declared sites."""
        return self.schema.sites or ()

    @property
    def has_test(self) -> bool:
        """Whether the schema declares that some records are for testing."""
        if isinstance(self.schema, ArraySchema):
            return "test" in self.schema.splits
        return self.schema.split is not None and "test" in self.schema.splits

    @property
    def grouped(self) -> bool:
        """Whether the schema declares groups."""
        if isinstance(self.schema, ArraySchema):
            return self.schema.groups
        return self.schema.group is not None

    def require_declared(self) -> None:
        """Returns at once: a schema declares everything."""

    def read(self, *, claim: bool) -> Records:
        """Raises ScenarioError: there is nothing to read."""
        raise ScenarioError(_NO_RECORDS)

    def digest(self, key: bytes) -> str:
        """Raises ScenarioError: there is nothing to read."""
        raise ScenarioError(_NO_RECORDS)
