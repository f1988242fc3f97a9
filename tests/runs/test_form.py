"""The form of a run's records: the same sites, schema and words in every version of a model."""

from pathlib import Path

import numpy as np
import pytest

from securefl.errors import ScenarioError
from securefl.files import read_json
from securefl.runs.form import form_of, note_form
from securefl.runs.refining.plan import Asked, new_records
from securefl.runs.refining.refine import refine
from securefl.scenario.scenario import parse_scenario
from tests.runs.refining.conftest import play
from tests.runs.refining.test_own_records import CLAIM, PLAIN, series
from tests.runs.refining.test_own_records import home as home

TABLE_SCHEMA = """
columns = [{ name = "x", range = [-1, 1] }]
label = { column = "ill", classes = [["no"], ["yes"]] }
"""
WORDS = """
[columns.ill.sites.bern]
terms = { nein = "no", ja = "yes" }

[columns.ill.sites.chur]
terms = { nein = "no", ja = "yes" }
"""
TABLE = """
rounds = 1
training = { kind = "sgd" }

[data]
name = "table"
path = "january/*.csv"
partition = "natural"
test_share = 0.3
schema = "s.toml"
"""


def tables(folder: Path, sites: tuple[str, ...], words: tuple[str, str] = ("no", "yes")) -> None:
    """Writes a table for each site, named like it."""
    random = np.random.default_rng(3)
    folder.mkdir(parents=True)
    for site in sites:
        values = random.normal(size=40).clip(-1, 1)
        lines = [f"{value:.3f},{words[int(value > 0)]}" for value in values]
        (folder / f"{site}.csv").write_text("\n".join(["x,ill", *lines]) + "\n")


def test_a_ledger_goes_on_at_the_site_of_its_name_where_files_name_the_sites(
    tmp_path: Path,
) -> None:
    # There are two sites in both months, and the second of February is the first of January.
    tables(tmp_path / "january", ("bern", "chur"))
    tables(tmp_path / "february", ("aarau", "bern"))
    (tmp_path / "s.toml").write_text(TABLE_SCHEMA)
    claim = 'weights = "equal"\nprivacy = { epsilon = 3.0, records = [40, 40] }\n'
    made = series(tmp_path, claim + TABLE.replace('"sgd"', '"dp_sgd", batch = 1024'))
    asked = Asked({"path": str(tmp_path / "february/*.csv")}, ("privacy.epsilon=6.0",))
    sentence = r"sites of .*first were \['bern', 'chur'\] in this order, and here they are \['aarau"
    with pytest.raises(ScenarioError, match=sentence):
        refine(made, asked, play)
    assert made.versions == [1]


def test_schema_and_crosswalk_may_lie_elsewhere_and_must_say_the_same(tmp_path: Path) -> None:
    january, february = tmp_path / "january", tmp_path / "new/february"
    tables(january, ("bern", "chur"), ("nein", "ja"))
    tables(february, ("bern", "chur"), ("nein", "ja"))
    schema = f'sites = ["bern", "chur"]{TABLE_SCHEMA}'
    for folder in (tmp_path, tmp_path / "new"):
        (folder / "s.toml").write_text(schema)
        (folder / "words.toml").write_text(WORDS)
    made = series(tmp_path, TABLE + 'crosswalk = "words.toml"\n')
    file = tmp_path / "new/february.toml"
    file.write_text(
        'data = { path = "february/*.csv", schema = "s.toml", crosswalk = "words.toml" }\n'
    )
    sentence = r"data\.schema or data\.crosswalk is another one than that of .*first; their files"
    for name, text in (
        ("words.toml", WORDS.replace('nein = "no", ja = "yes"', 'nein = "yes", ja = "no"', 1)),
        ("s.toml", schema.replace('["no"], ["yes"]', '["yes"], ["no"]')),
    ):
        (tmp_path / "new" / name).write_text(text)
        with pytest.raises(ScenarioError, match=sentence):
            refine(made, Asked(new_records(file)), play)
        (tmp_path / "new" / name).write_bytes((tmp_path / name).read_bytes())
    assert made.versions == [1]
    refine(made, Asked(new_records(file)), play)
    data = made.cell(2).scenario["data"]
    assert data["path"] == "new/february/*.csv"
    assert (data["schema"], data["crosswalk"]) == ("new/s.toml", "new/words.toml")


def test_a_crosswalk_may_be_a_table(tmp_path: Path) -> None:
    file = tmp_path / "new.toml"
    file.write_text(WORDS.replace("columns", "data.crosswalk.columns"))
    ill = new_records(file)["crosswalk"]["columns"]["ill"]
    assert ill["sites"]["bern"]["terms"] == {"nein": "no", "ja": "yes"}


def with_schema(home: Path, sites: str) -> None:
    (home / "a.toml").write_text(f"features = 4\nnum_classes = 2\nsites = {sites}\n")


def test_a_schema_that_was_edited_in_its_place_shows(home: Path) -> None:
    with_schema(home, '["bern", "chur"]')
    schema = CLAIM.replace('num_classes = 2\nsites = ["bern", "chur"]\n', 'schema = "a.toml"\n')
    made = series(home, schema)
    with_schema(home, '["chur", "bern"]')
    for path in ("january.npz", "february.npz"):
        with pytest.raises(ScenarioError, match="so declare the same sites in the same order"):
            refine(made, Asked({"path": str(home / path)}, ("privacy.epsilon=6.0",)), play)


def test_a_run_that_notes_no_form_is_refined_after_it_was_called_once_more(home: Path) -> None:
    made = series(home, PLAIN)
    (home / "first/form.json").unlink()
    asked = Asked(new_records(home / "february.npz"))
    with pytest.raises(ScenarioError, match=r"first has no form\.json, which says what its sites"):
        refine(made, asked, play)
    assert made.versions == [1]
    made = series(home, PLAIN)
    assert refine(made, asked, play).version == 2


def test_a_form_has_the_sites_in_order_and_no_record(home: Path) -> None:
    made = series(home, PLAIN)
    assert read_json(made.path / "form.json") == {"sites": ["bern", "chur"], "schema": None}
    assert form_of(parse_scenario('data = { name = "heart" }')) is None


def test_a_form_is_noted_once(home: Path) -> None:
    made = series(home, PLAIN)
    (made.path / "form.json").write_text('{"sites": []}')
    note_form(made.path, parse_scenario(PLAIN, folder=home))
    assert read_json(made.path / "form.json") == {"sites": []}
    with pytest.raises(ScenarioError, match=r"were \[\] in this order, and here they are \['bern'"):
        refine(made, Asked(new_records(home / "february.npz")), play)
