"""Schemas: what they declare, and every mistake in one sentence."""

import re
from pathlib import Path

import pytest

from securefl.data.own.agreed import load_schema
from securefl.data.own.columns import Constant
from securefl.data.own.schema import Schema
from securefl.data.own.spelling import MISSING_WORDS
from securefl.data.task import Task
from securefl.errors import ScenarioError
from tests.paths import ROOT
from tests.values import present

LABEL = "label = { column = 'ill', classes = [[0], [1]] }\n"
AGE = "{ name = 'age', range = [20, 90] }"


def written(folder: Path, text: str) -> Path:
    path = folder / "visits.toml"
    path.write_text(text, encoding="utf-8")
    return path


def with_columns(*columns: str, more: str = "") -> str:
    return f"{LABEL}columns = [{', '.join(columns)}]\n{more}"


def test_the_task_follows_from_the_schema(tmp_path: Path) -> None:
    # 1 + 2 + (2 levels, other, indicator) features.
    text = with_columns(
        AGE,
        "{ name = 'sex', binary = true, missing = 'indicator' }",
        "{ name = 'cp', levels = ['a', 'b'], other = true, missing = 'indicator' }",
    ).replace("[1]]", "[1], [2]]")
    assert load_schema(written(tmp_path, text)).task == Task(features=7, classes=3)


def test_classes_may_have_names(tmp_path: Path) -> None:
    text = with_columns(AGE).replace("[[0], [1]]", "{ well = ['no'], ill = ['yes', 'maybe'] }")
    label = present(load_schema(written(tmp_path, text)).label)
    assert list(label.classes) == ["well", "ill"]
    assert label.codes == {"no": 0, "yes": 1, "maybe": 1}


def test_values_may_be_texts_or_numbers(tmp_path: Path) -> None:
    text = with_columns("{ name = 'cp', levels = ['1.0', 2, 2.5, '007', true] }")
    (column,) = load_schema(written(tmp_path, text)).columns
    assert column.levels == ("1", "2", "2.5", "007", "true")


def test_a_constant_is_in_the_units_of_its_column(tmp_path: Path) -> None:
    columns = [
        "{ name = 'age', range = [20, 90], missing = { constant = 55.5 } }",
        "{ name = 'sex', binary = true, missing = { constant = false } }",
        "{ name = 'cp', levels = ['a'], missing = { constant = 'a' } }",
    ]
    schema = load_schema(written(tmp_path, with_columns(*columns)))
    constants = [column.missing for column in schema.columns]
    assert constants == [Constant(constant=value) for value in ("55.5", "false", "a")]


MISTAKES = [
    ("{ name = 'age', rnage = [20, 90] }", "unknown key 'columns.0.rnage'; did you mean 'range'?"),
    ("{ name = 'age' }", "columns.0: 'age' needs one of range, binary = true, and levels"),
    (
        "{ name = 'age', range = [20, 90], binary = true }",
        "columns.0: 'age' needs one of range, binary = true, and levels",
    ),
    ("{ name = 'age', range = [90, 20] }", "columns.0.range: a range goes from low to high, as in"),
    ("{ name = 'age', range = [20, 20] }", "a range goes from low to high"),
    ("{ name = 'age', range = [-1e308, 1e308] }", "a range goes from low to high"),
    ("{ name = 'age', range = [20, inf] }", "columns.0.range.1: input should be a finite number"),
    ("{ name = 'age', range = [20, nan] }", "columns.0.range.1: input should be a finite number"),
    ("{ name = 'age', range = ['20', 90] }", "columns.0.range.0: input should be a valid number"),
    ("{ name = 'age', range = [20] }", "columns.0.range"),
    ("{ name = 'sex', binary = false }", "columns.0.binary: input should be"),
    ("{ name = 'cp', levels = [] }", "columns.0.levels: list should have at least 1 item"),
    ("{ name = 'cp', levels = [1, '1.0'] }", "columns.0.levels: '1' is there twice"),
    ("{ name = 'cp', levels = ['a', 'NA'] }", "columns.0.levels.1: this means missing in every"),
    ("{ name = 'cp', levels = [[1]] }", "columns.0.levels.0: input should be a text or a number"),
    ("{ name = 'sex', binary = true, other = true }", "'sex' has no levels, so it takes no other"),
    (
        "{ name = 'age', range = [20, 90], missing = 'zero' }",
        'columns.0.missing: input should be "drop", "indicator" or { constant = x }, got \'zero\'',
    ),
    (
        "{ name = 'age', range = [20, 90], missing = { constnat = 1 } }",
        'columns.0.missing: input should be "drop", "indicator" or { constant = x }',
    ),
    (
        "{ name = 'age', range = [20, 90], missing = { constant = 91 } }",
        "columns.0: 'age' cannot hold its constant '91'",
    ),
    (
        "{ name = 'age', range = [20, 90], missing = { constant = 'old' } }",
        "'age' cannot hold its constant 'old'",
    ),
    (
        "{ name = 'sex', binary = true, missing = { constant = 2 } }",
        "'sex' cannot hold its constant '2'",
    ),
    (
        "{ name = 'cp', levels = ['a'], other = true, missing = { constant = 'b' } }",
        "'cp' cannot hold its constant 'b'",
    ),
    (f"{AGE}, {AGE}", "the schema: column 'age' has two parts in the schema"),
    ("{ name = 'ill', range = [0, 1] }", "the schema: column 'ill' has two parts in the schema"),
]


@pytest.mark.parametrize(("column", "message"), MISTAKES)
def test_a_mistake_in_a_column_is_one_sentence(tmp_path: Path, column: str, message: str) -> None:
    path = written(tmp_path, with_columns(column))
    with pytest.raises(ScenarioError, match=re.escape(message)) as refusal:
        load_schema(path)
    assert str(refusal.value).startswith(f"{path}: ")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f"columns = [{AGE}]",
            "the schema: give a label with classes, or several labels, or targets",
        ),
        (LABEL, "columns: field required"),
        (f"{LABEL}columns = []", "columns: list should have at least 1 item"),
        (
            with_columns(AGE).replace("[[0], [1]]", "[[0, 1]]"),
            "label.classes: a label needs two classes or more, got [[0, 1]]",
        ),
        (with_columns(AGE).replace("[[0], [1]]", "[[0], []]"), "label.classes.1: list should have"),
        (
            with_columns(AGE).replace("[[0], [1]]", "[[0], [1, 0]]"),
            "label: '0' is there twice",
        ),
        (with_columns(AGE, more="site = 'h'"), "site column 'h' needs its values: sites = [...]"),
        (
            with_columns(AGE, more="group = 'p'\nsplit = 'p'"),
            "column 'p' has two parts in the schema",
        ),
        (with_columns(AGE, more="sites = ['a', 'a']"), "sites: 'a' is there twice"),
        (with_columns(AGE, more="splits = ['test']"), 'splits need "train"'),
        (with_columns(AGE, more="splits = ['train', 'dev']"), "splits.1: input should be 'train',"),
        (with_columns(AGE, more="gruop = 'p'"), "unknown key 'gruop'; did you mean 'group'?"),
        ("label = ", "visits.toml is not valid TOML"),
    ],
)
def test_a_mistake_in_a_schema_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=re.escape(message)):
        load_schema(written(tmp_path, text))


def test_two_mistakes_are_two_lines_with_the_file(tmp_path: Path) -> None:
    columns = ["{ name = 'age', range = [1, 0] }", "{ name = 'cp', levels = [] }"]
    path = written(tmp_path, with_columns(*columns))
    with pytest.raises(ScenarioError) as refusal:
        load_schema(path)
    lines = str(refusal.value).splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"{path}: columns.") for line in lines)


def test_the_schema_on_the_page_is_one(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "own-data.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```toml\n(label = .*?)^```$", page, re.DOTALL | re.MULTILINE)
    (schema,) = [load_schema(written(tmp_path, block)) for block in blocks]
    # A number, a binary feature, three levels, others and the indicator.
    assert schema.task == Task(features=7, classes=2)
    for word in MISSING_WORDS[1:]:
        assert f"`{word}`" in page or word.lower() in ("nan", "null")


def test_a_schema_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"cannot read .*visits\.toml: No such file"):
        load_schema(tmp_path / "visits.toml")
    (tmp_path / "visits.toml").write_bytes(b"label = '\xe4'")
    with pytest.raises(ScenarioError, match=r"cannot read .*visits\.toml: not UTF-8 text"):
        load_schema(tmp_path / "visits.toml")


def test_a_schema_with_every_kind_of_missing_value_is_written_as_it_was_read(
    tmp_path: Path,
) -> None:
    # Pydantic warns of values that it did not expect; a warning is an error here.
    columns = [
        "{ name = 'a', range = [20, 90], missing = { constant = 60 } }",
        "{ name = 'b', binary = true, missing = { constant = 1 } }",
        "{ name = 'c', levels = [1, 2], missing = { constant = '2' } }",
        "{ name = 'd', range = [0, 1], missing = 'drop' }",
        "{ name = 'e', range = [0, 1], missing = 'indicator' }",
        "{ name = 'f', range = [0, 1] }",
    ]
    schema = load_schema(written(tmp_path, with_columns(*columns)))
    again = Schema.model_validate_json(schema.model_dump_json(exclude_defaults=True))
    assert again == schema
