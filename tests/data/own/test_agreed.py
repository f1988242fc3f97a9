"""Schemas that sites agree on: strict reading, one digest, and a source without records."""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from securefl.data.own import agreed
from securefl.data.own.agreed import (
    AgreedSchema,
    Declared,
    agreed_digest,
    check_size,
    document,
    read_schema,
    schema_of_form,
)
from securefl.data.own.array_schema import ArraySchema
from securefl.data.own.schema import Schema
from securefl.errors import ScenarioError
from securefl.scenario.written import to_toml
from tests.data.own.tables import DECLARED

VISITS = """
label = { column = "ill", classes = { no = [0], yes = [1.0, "2"] } }
sites = ["bern", "chur"]
columns = [
  { name = "age", range = [20, 90], missing = { constant = 55 } },
  { name = "pain", levels = ["mild", 3], other = true, missing = "indicator" },
]
"""
ROWS = "features = 4\nnum_classes = 3\nsites = ['bern', 'chur']\nsplits = ['train', 'test']\n"
IMAGES = "images = [8, 8, 3]\nvalues = 'bytes'\nlabels = 5\ngroups = true\n"
STAYS = "features = 2\nranges = [[0, 40.5], [34, 43]]\nloss = 'huber'\n"


def table(text: str = VISITS) -> Schema:
    return read_schema(Schema, tomllib.loads(text))


def arrays(text: str = ROWS) -> ArraySchema:
    return read_schema(ArraySchema, tomllib.loads(text))


def test_the_digest_is_a_sha_256_of_canonical_json() -> None:
    canonical = '{"features":4,"num_classes":3,"sites":["bern","chur"],"splits":["train","test"]}'
    whole = b"securefl data schema 1\0ArraySchema\0" + canonical.encode()
    assert agreed_digest(arrays()) == "sha256:" + hashlib.sha256(whole).hexdigest()


@pytest.mark.parametrize(
    "schema",
    [table(), Schema.model_validate(DECLARED), *map(arrays, (ROWS, IMAGES, STAYS))],
)
def test_a_schema_comes_back_from_toml_and_json(schema: AgreedSchema) -> None:
    form = "table" if isinstance(schema, Schema) else "arrays"
    for values in (
        tomllib.loads(to_toml(document(schema))),
        json.loads(json.dumps(document(schema))),
    ):
        again = schema_of_form(form, values)
        assert again is not None
        assert again == schema
        assert agreed_digest(again) == agreed_digest(schema)


def test_spelling_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "visits.toml"
    respelt = VISITS.replace("[0]", '["0.0"]').replace("[20, 90]", "[20.0, 9e1]")
    lines = respelt.replace('sites = ["bern", "chur"]\n', "") + 'sites = ["bern", "chur"]\n'
    path.write_text(lines, encoding="utf-8")
    assert agreed_digest(read_schema(Schema, path)) == agreed_digest(table())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("no = [0], yes", "yes = [0], no"),
        ('no = [0], yes = [1.0, "2"]', 'yes = [1.0, "2"], no = [0]'),
        ("[20, 90]", "[20, 91]"),
        ('["mild", 3]', '[3, "mild"]'),
        ('["bern", "chur"]', '["chur", "bern"]'),
        ("constant = 55", "constant = 56"),
        ("other = true, ", ""),
        ("age", "years"),
    ],
)
def test_what_numbers_or_scales_records_counts(old: str, new: str) -> None:
    assert old in VISITS
    assert agreed_digest(table(VISITS.replace(old, new))) != agreed_digest(table())


def test_a_mistake_in_a_schema_is_one_sentence_that_names_the_key() -> None:
    with pytest.raises(ScenarioError, match=r"^data\.schema: unknown key 'feature'; did you mean"):
        arrays(ROWS.replace("features", "feature"))
    with pytest.raises(ScenarioError, match=r"^data\.schema: columns: field required"):
        table("label = { column = 'ill', classes = [[0], [1]] }")


def test_forms_without_a_schema_have_none() -> None:
    values: Mapping[str, Any] = tomllib.loads(ROWS)
    assert schema_of_form("arrays", values) == arrays()
    assert schema_of_form("table", tomllib.loads(VISITS)) == table()
    assert schema_of_form("folder", values) is None


def test_a_schema_of_others_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    check_size(arrays("images = [256, 256, 256]\nvalues = 'bytes'\nnum_classes = 2"))
    with pytest.raises(ScenarioError, match="declares 16777217 features, more than 16777216"):
        check_size(arrays(f"features = {2**24 + 1}\nnum_classes = 2"))
    monkeypatch.setattr(agreed, "MAX_SCHEMA_BYTES", 80)
    with pytest.raises(ScenarioError, match="bytes, more than the 80 of a schema"):
        check_size(arrays())


@pytest.mark.parametrize(
    ("schema", "has_test", "grouped"),
    [
        (arrays(), True, False),
        (arrays(IMAGES), False, True),
        (table(), False, False),
        (table(VISITS + 'split = "part"\ngroup = "patient"\n'), True, True),
        (table(VISITS + 'split = "part"\nsplits = ["train", "validation"]\n'), False, False),
    ],
)
def test_a_source_without_records_says_what_its_schema_says(
    schema: AgreedSchema, has_test: bool, grouped: bool
) -> None:
    source = Declared(schema)
    assert (source.task, source.sites) == (schema.task, schema.sites or ())
    assert (source.has_test, source.grouped) == (has_test, grouped)
    source.require_declared()


def test_a_source_without_records_says_how_to_simulate() -> None:
    for ask in (
        lambda: Declared(arrays()).read(claim=True),
        lambda: Declared(arrays()).digest(b""),
    ):
        with pytest.raises(ScenarioError, match=r"give their files, as in --set data\.path="):
            ask()
