"""The shared part of a scenario: self-contained, without paths, and the same for every party."""

from pathlib import Path

import numpy as np
import pytest
import torch

from securefl.errors import NotReady, ScenarioError
from securefl.runs.names import cell_hash
from securefl.scenario.assemble.data import check_own_records, load_data
from securefl.scenario.assemble.public import server_parts
from securefl.scenario.assemble.site_data import (
    check_site_data,
    files_of_sites,
    is_far,
    read_site_data,
)
from securefl.scenario.scenario import Scenario, parse_scenario
from securefl.scenario.shared import (
    check_own_data,
    refuse_paths,
    schema_digest,
    schema_of,
    shared_part,
)
from securefl.scenario.summary import summary
from tests.data.own.files import ArrayDict, picture, saved
from tests.runs.deployed.own_sites import (
    DP,
    SITES,
    arrays_text,
    table_text,
    write_arrays,
    write_tables,
)
from tests.values import present

CELL = "dcff04826d57ff4f"  # as it was before a schema could be a table
HEART = 'data = { name = "heart" }\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files of all sites."""
    write_tables(tmp_path)
    write_arrays(tmp_path)
    return tmp_path


def shared(text: str, folder: Path, *overrides: str) -> Scenario:
    """Returns the scenario that the shared part of a text declares."""
    text, more = shared_part(text, overrides, folder)
    refuse_paths(text, more)
    return parse_scenario(text, overrides=more)


@pytest.mark.parametrize("text", [table_text(), table_text(DP), arrays_text()])
def test_a_shared_part_builds_what_a_coordinator_needs_without_a_file(
    text: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulated = parse_scenario(text, folder=folder)
    digest, theirs = schema_digest(simulated), server_parts(simulated, run="0" * 16).model
    part, overrides = shared_part(text, ("rounds=3",), folder)
    assert overrides == ()
    assert "sites/" not in part
    for path in folder.rglob("*.*"):
        path.unlink()
    monkeypatch.chdir(folder)
    made = parse_scenario(part)
    assert (made.rounds, made.clients, made.partition) == (3, 4, "natural")
    assert made.facts.task == simulated.facts.task
    ours = server_parts(made, run="0" * 16).model
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other)
    assert present(digest) == schema_digest(made)
    assert (made.resolved()["folder"], made.resolved()["data"]["digest"]) == (None, None)
    assert "4 clients" in summary(made)
    assert ("`securefl site check` tells each site of them" in summary(made)) is made.claims_dp


def test_a_shared_part_and_the_paths_are_the_scenario_again(folder: Path) -> None:
    part, _ = shared_part(table_text(), (), folder)
    again = parse_scenario(part, overrides=("data.path=sites/*.csv",), folder=folder)
    before = parse_scenario(table_text(), folder=folder)
    for ours, theirs in zip(load_data(again).sites, load_data(before).sites, strict=True):
        assert ours.name == theirs.name
        assert ours.train.features.equal(theirs.train.features)
    assert again.facts.data_digest == before.facts.data_digest
    assert shared_part(part, (), Path("/nowhere"))[0] == part


def test_published_data_are_shared_as_they_are_written(tmp_path: Path) -> None:
    text = "# heart\n" + HEART
    assert shared_part(text, ("rounds=1",), tmp_path) == (text, ("rounds=1",))
    assert shared_part("rounds = 1", (), tmp_path) == ("rounds = 1", ())
    assert schema_digest(parse_scenario(HEART)) is None


def test_a_scenario_without_records_does_not_run(folder: Path) -> None:
    made = shared(table_text(), folder)
    for read in (check_own_records, load_data):
        with pytest.raises(ScenarioError, match=r"data\.path: the scenario has the schema"):
            read(made)
    with pytest.raises(ScenarioError, match=r"data\.path: a rehearsal gives each site its file"):
        files_of_sites(made)


@pytest.mark.parametrize(
    ("text", "overrides", "key"),
    [
        (table_text(), (), r"data\.path"),
        ('data = { name = "table", schema = "/etc/passwd" }', (), r"data\.schema"),
        (HEART, ("data.path=/dev/zero",), r"data\.path"),
        (HEART + "model = { name = 'logistic', weights = 'w' }", (), r"model\.weights"),
        (HEART + "folder = '/srv'", (), "folder"),
        (HEART, ("folder=/srv",), "folder"),
    ],
)
def test_what_sites_share_names_no_file(text: str, overrides: tuple[str, ...], key: str) -> None:
    with pytest.raises(ScenarioError, match=f"^{key} names a file, and what sites share names"):
        refuse_paths(text, overrides)


@pytest.mark.parametrize(
    "text",
    [
        'data = { name = "python:mine.py:load" }',
        "model = 'python:mine.py:Net'",
        "defense = { prefilters = [{ name = 'python:mine.py:f' }] }",
        "server = { 'python:x' = 1 }",
    ],
)
def test_what_sites_share_names_no_code_in_files(text: str) -> None:
    """It is refused before the code is found, as looking for it may run it."""
    with pytest.raises(ScenarioError, match="names code in a file, and what sites share names"):
        refuse_paths(text, ())
    with pytest.raises(ScenarioError, match="names code in a file"):
        refuse_paths("rounds = 1", ("model=python:mine.py:Net",))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("data = { name =", "the scenario is not valid TOML"),
        ('data = { name = "arrays", path = "a.npz" }', r"data\.schema: between sites a schema"),
        ('data = { name = "table", schema = "no.toml" }', r"cannot read .*no\.toml"),
        (
            'data = { name = "arrays", schema = { features = 16777217, num_classes = 2 } }',
            "declares 16777217 features",
        ),
    ],
)
def test_a_schema_that_nobody_can_share_is_refused(
    text: str, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(ScenarioError, match=sentence):
        shared_part(text, (), tmp_path)


def test_a_schema_that_somebody_sent_is_bounded() -> None:
    schema = "{ features = 99999999, num_classes = 2 }"
    text = f'data = {{ name = "arrays", test_share = 0.1, schema = {schema} }}'
    with pytest.raises(ScenarioError, match="declares 99999999 features, more than"):
        parse_scenario(text)


def rows(records: int) -> ArrayDict:
    """Returns training and test records of four numbers in three classes."""
    values: ArrayDict = {
        "train_features": np.zeros((records, 4)),
        "train_labels": np.arange(records) % 3,
    }
    return values | {key.replace("train", "test"): array for key, array in values.items()}


ROWS = "features = 4, num_classes = 3, splits = ['train', 'test']"
SITED = f"schema = {{ {ROWS}, sites = ['bern', 'chur'] }}"
WARD = "{ label = { column = 'ill', classes = [[0], [1]] }, site = 'ward', sites = ['a', 'b'], "
WARD += "columns = [{ name = 'age', range = [20, 90] }], split = 'part' }"


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (f"{SITED}, partition = 'iid', clients = 4", "'iid' moves records between sites"),
        (f"{SITED}, partition = 'pooled'", "'pooled' moves records between sites; use 'natural'"),
        (f"{SITED}, only = 1", r"data\.only has no effect between sites; remove it"),
        (f"{SITED}, held_out = 1", r"data\.held_out has no effect between sites; remove it"),
        (f"{SITED}, path = 'one.npz'", r"data\.path = 'one\.npz' is one file: between sites each"),
        (f"schema = {{ {ROWS} }}", r"the schema needs sites = \[\.\.\.\], the names"),
        ("path = 'one.npz'", r"data\.schema: between sites a schema has to declare"),
        (f"schema = {WARD}", "the schema has a site column 'ward', and between sites each has"),
        ("folder", "data.name = 'folder' does not run between sites yet; use 'arrays' or 'table'"),
    ],
)
def test_own_data_that_are_not_those_of_several_sites_are_refused(
    data: str, sentence: str, tmp_path: Path
) -> None:
    sites = np.array(["bern", "chur"] * 3)
    values = rows(6)
    saved(tmp_path, {**values, "train_sites": sites, "test_sites": sites}, "one.npz")
    picture(tmp_path / "scans/train/bern/ill/1.png")
    picture(tmp_path / "scans/train/bern/well/1.png")
    name = "table" if "ward" in data else "arrays"
    if data == "folder":
        name, data = "folder", "path = 'scans', size = 4, channels = 1, test_share = 0.5"
    text = f'data = {{ name = "{name}", {data} }}\ntraining = {{ kind = "sgd" }}'
    with pytest.raises(ScenarioError, match=sentence):
        check_own_data(parse_scenario(text, folder=tmp_path))


def test_a_schema_takes_the_place_of_the_keys_that_declare() -> None:
    text = f'data = {{ name = "arrays", {SITED}, num_classes = 3 }}'
    with pytest.raises(ScenarioError, match=r"data\.num_classes belongs into data\.schema"):
        parse_scenario(text)
    with pytest.raises(ScenarioError, match=r"data\.path: arrays needs it, or else data\.schema"):
        parse_scenario('data = { name = "arrays", test_share = 0.1 }')


def test_cells_of_scenarios_without_a_schema_table_keep_their_names(folder: Path) -> None:
    made = parse_scenario(table_text(keys=", public = true"), folder=folder)
    values = made.resolved()
    assert values["data"]["schema"] == "visits.toml"
    assert cell_hash(values) == CELL


def test_schema_of_is_none_without_one() -> None:
    assert schema_of(parse_scenario(HEART)) is None


KEYS = [
    "",
    ", share = 0.7, most = 20",
    ', test_on = "validation", fold = 2',
    ", split_seed = 7",
]


@pytest.mark.parametrize("keys", KEYS)
@pytest.mark.parametrize("claim", [False, True])
def test_a_site_has_the_records_that_it_has_in_a_simulation(
    claim: bool, keys: str, folder: Path
) -> None:
    if claim and "most" in keys:
        keys = keys.replace(", most = 20", "")
    text = table_text(DP, keys=keys) if claim else table_text(keys=keys)
    data = load_data(parse_scenario(text, folder=folder))
    made = shared(text, folder)
    for site, name in enumerate(SITES):
        ours = read_site_data(made, site, [folder / f"sites/{name}.csv"])
        theirs = data.sites[site]
        judging = ours.validation if "validation" in keys else ours.test
        assert (ours.test is None) is ("validation" in keys)
        for one, other in ((ours.train, theirs.train), (judging, theirs.test)):
            assert present(one).features.equal(present(other).features)
            assert present(one).labels.equal(present(other).labels)


@pytest.mark.parametrize("test_on", ["", ', test_on = "validation"'])
def test_a_site_has_validation_and_test_records_of_its_own(test_on: str, folder: Path) -> None:
    made = shared(arrays_text(keys=test_on), folder)
    ours = read_site_data(made, 2, [folder / "sites/sion.npz"])
    assert (len(ours.train), len(present(ours.validation))) == (30, 10)
    # Whoever tunes sees no test record.
    assert (None if ours.test is None else len(ours.test)) == (None if test_on else 12)


def with_records(folder: Path, records: int, claim: bool) -> tuple[Scenario, Path]:
    """Returns a scenario that declares 10 records, and a site's file with some."""
    schema = f"{{ {ROWS}, sites = ['bern', 'chur'] }}"
    privacy = "privacy = { epsilon = 8.0, records = [10, 10] }\n"
    training = "training = { kind = 'dp_sgd', batch = 5, clip = 1.0 }\n"
    if not claim:
        privacy, training = privacy.replace("8.0", "inf"), "training = { kind = 'sgd' }\n"
    text = f'data = {{ name = "arrays", schema = {schema} }}\n{training}{privacy}'
    return parse_scenario(text), saved(folder, rows(records), "own.npz")


@pytest.mark.parametrize("records", [0, 9, 11])
def test_without_a_claim_another_number_of_records_is_not_ready(
    records: int, tmp_path: Path
) -> None:
    made, path = with_records(tmp_path, records, claim=False)
    sentence = rf"own\.npz gives {records} training records, and .* declares 10 for site 1"
    for read in (read_site_data, check_site_data):
        with pytest.raises(NotReady, match=sentence):
            read(made, 1, [path])
    made, path = with_records(tmp_path, 10, claim=False)
    check_site_data(made, 1, [path])


@pytest.mark.parametrize(
    ("records", "far"), [(0, True), (5, True), (6, False), (19, False), (20, True)]
)
def test_with_a_claim_no_number_of_records_keeps_a_site_away(
    records: int, far: bool, tmp_path: Path
) -> None:
    """Only the check, for a person at the site, says that the declared number is far off."""
    made, path = with_records(tmp_path, records, claim=True)
    assert len(read_site_data(made, 1, [path]).train) == records
    assert is_far(10, records) is far
    if not far:
        check_site_data(made, 1, [path])
        return
    with pytest.raises(NotReady, match=f"gives {records} training records"):
        check_site_data(made, 1, [path])


def test_with_a_claim_no_bad_record_keeps_a_site_away(folder: Path) -> None:
    path = folder / "sites/bern.csv"
    text = path.read_text(encoding="utf-8")
    made = shared(table_text(DP), folder)
    before = read_site_data(made, 0, [path])
    path.write_text(text + "bern-99,forty,9,?,7,secret\n", encoding="utf-8")
    after = read_site_data(made, 0, [path])
    assert after.train.features.equal(before.train.features)
    with pytest.raises(NotReady, match=r"line 42: column 'age' is not a number"):
        read_site_data(shared(table_text(), folder), 0, [path])


def test_a_site_without_a_training_record_is_not_ready(folder: Path) -> None:
    made = shared(table_text(), folder)
    path = folder / "sites/bern.csv"
    path.write_text(path.read_text(encoding="utf-8").split("\n")[0] + "\n", encoding="utf-8")
    with pytest.raises(NotReady, match=r"bern\.csv holds no records"):
        read_site_data(made, 0, [path])
    made = shared(table_text(keys=", share = 0.001"), folder)
    with pytest.raises(NotReady, match=r"data\.share leaves client 1 without a record"):
        read_site_data(made, 1, [folder / "sites/chur.csv"])
    made = shared(table_text().replace("test_share = 0.3", "test_share = 0.99999"), folder)
    with pytest.raises(NotReady, match=r"chur\.csv gives no training record"):
        read_site_data(made, 1, [folder / "sites/chur.csv"])


def test_a_group_on_both_sides_is_not_ready(folder: Path) -> None:
    part, _ = shared_part(table_text(), ("data.test_share=",), folder)
    text = part.replace('group = "patient"', 'group = "patient", split = "note"')
    path = folder / "sites/bern.csv"
    lines = path.read_text(encoding="utf-8").replace("secret", "train").splitlines()
    lines[1] = lines[1].replace("train", "test")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(NotReady, match="the group 'bern-0' has training records and records that"):
        read_site_data(parse_scenario(text), 0, [path])


@pytest.mark.parametrize("paths", [[], [Path("a.csv"), Path("b.csv")]])
def test_own_data_are_one_file_a_site(paths: list[Path], folder: Path) -> None:
    with pytest.raises(ScenarioError, match=f"one file a site, got {len(paths)}"):
        read_site_data(shared(table_text(), folder), 0, paths)


def test_published_data_have_no_schema_for_sites() -> None:
    with pytest.raises(ScenarioError, match="'heart' has no schema for sites"):
        read_site_data(parse_scenario(HEART), 0, [Path("a.csv")])
