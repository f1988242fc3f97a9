"""`securefl data`: what people's own records hold, in sentences, and who can take part."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from securefl.scenario.plugins.trust import trust
from tests.commands import Done, call, refused, scenario_file
from tests.data.own.files import picture

SITES = np.array(["bern", "chur", "wil"])
SCENARIO = """
rounds = 2
training = { kind = "sgd" }
data = { name = "arrays", path = "own.npz", test_share = 0.3 }
"""
CLAIM = """
rounds = 2
data = { name = "arrays", path = "own.npz", test_share = 0.3, num_classes = 2, sites = ["bern", "chur", "wil"] }
privacy = { epsilon = 8, records = [10, 20, 30] }
"""  # noqa: E501
# The lines that the check of these arrays prints.
OF_FILE = """\
12 training records at 3 sites: 2 numbers each, 2 classes
bern: 4 training records (2 of class 0, 2 of class 1)
chur: 4 training records (2 of class 0, 2 of class 1)
wil: 4 training records (2 of class 0, 2 of class 1)
4 groups, 0 of them with training records and records that judge
every site can take part
"""


def arrays(folder: Path, **changes: Any) -> Path:
    """Twelve records in two classes at three sites; None removes an array."""
    values = {
        "train_features": np.arange(24.0).reshape(12, 2),
        "train_labels": np.arange(12) % 2,
        "train_sites": SITES[np.arange(12) % 3],
        "train_groups": np.arange(12) % 4,
        **changes,
    }
    np.savez(
        folder / "own.npz", **{key: value for key, value in values.items() if value is not None}
    )
    return folder / "own.npz"


def check(folder: Path, *arguments: str) -> Done:
    return call("data", "check", *arguments, cwd=folder)


def facts(folder: Path, *arguments: str) -> Any:
    (line,) = check(folder, *arguments, "--display", "json").stdout.splitlines()
    return json.loads(line)


def test_a_file_is_checked_in_sentences_known_answer(tmp_path: Path) -> None:
    arrays(tmp_path)
    done = check(tmp_path, "own.npz")
    assert (done.returncode, done.stdout) == (0, OF_FILE)
    assert facts(tmp_path, "own.npz") == {
        "event": "data",
        "sites": [
            {"site": site, "train": 4, "classes": {"class 0": 2, "class 1": 2}, "test": None}
            for site in SITES
        ],
        "groups": 4,
        "groups_on_both_sides": 0,
        "values": None,
        "remarks": [],
        "faults": [],
    }


def test_a_scenario_is_checked_after_its_own_split(tmp_path: Path) -> None:
    arrays(tmp_path, train_groups=None)
    path = scenario_file(tmp_path, SCENARIO)
    found = facts(tmp_path, path.name)
    for site in found["sites"]:
        assert site["train"] + site["test"] == 4
        assert sum(site["classes"].values()) == site["train"]
    assert found["groups"] is None
    dealt = ("--set", "data.partition=iid", "--set", "data.clients=2")
    assert [site["site"] for site in facts(tmp_path, path.name, *dealt)["sites"]] == [
        "client-0",
        "client-1",
    ]
    assert "test records in all" in check(tmp_path, path.name, *dealt).stdout


def test_a_published_set_is_checked_as_well(tmp_path: Path) -> None:
    path = scenario_file(tmp_path, 'data = { name = "heart" }')
    done = check(tmp_path, path.name)
    assert done.returncode == 0
    assert "cleveland: 200 training records" in done.stdout


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"train_labels": np.arange(12) % 3 > 0}, "bern cannot take part: it has training records"),
        (
            {"train_sites": SITES[[0] + [1] * 11], "test_features": np.ones((1, 2))}
            | {"test_labels": np.ones(1, dtype=int), "test_sites": SITES[2:]},
            "bern cannot take part: it has one training record only",
        ),
        (
            {"train_sites": SITES[[0, 0, *[1] * 10]], "test_features": np.ones((1, 2))}
            | {"test_labels": np.ones(1, dtype=int), "test_sites": SITES[2:]},
            "wil cannot take part: it has no training record",
        ),
    ],
)
def test_a_site_that_cannot_take_part_is_exit_1(
    tmp_path: Path, changes: dict[str, Any], fault: str
) -> None:
    arrays(tmp_path, train_groups=None, test_groups=None, **changes)
    done = check(tmp_path, "own.npz")
    assert done.returncode == 1
    assert fault in done.stdout
    assert "every site can take part" not in done.stdout
    assert done.stderr == ""


def test_without_a_claim_a_run_refuses_such_a_site_and_makes_no_folder(tmp_path: Path) -> None:
    arrays(tmp_path, train_labels=np.arange(12) % 3 > 0, train_groups=None)
    path = scenario_file(tmp_path, SCENARIO)
    sentence = "site 'bern' has training records of one class only, so it cannot take part"
    refused(call("run", path, "--out", "r", cwd=tmp_path), 1, sentence)
    assert not (tmp_path / "r").exists()
    assert check(tmp_path, path.name).returncode == 1
    # Ways to deal may skew as they like.
    dealt = ("--set", "data.partition=iid", "--set", "data.clients=2", "--set", "rounds=1")
    assert call("run", path, *dealt, "--out", "r", cwd=tmp_path).returncode == 0


def test_with_a_claim_the_run_goes_on_and_only_the_check_tells(tmp_path: Path) -> None:
    # Labels of one class at bern, one record that is bad, no record at wil.
    features = np.arange(24.0).reshape(12, 2)
    features[5] = np.nan
    arrays(
        tmp_path,
        train_features=features,
        train_labels=np.arange(12) % 2,
        train_sites=SITES[np.arange(12) % 2],
        train_groups=None,
    )
    path = scenario_file(tmp_path, CLAIM)
    done = check(tmp_path, path.name)
    assert done.returncode == 1
    assert "bern cannot take part: it has training records of one class only" in done.stdout
    assert "wil cannot take part: it has no training record" in done.stdout
    assert re.search(r"cleans or drops bad records.*: .*train_features\[5\]", done.stdout)
    assert call("run", path, "--set", "rounds=1", "--out", "r", cwd=tmp_path).returncode == 0


def test_declared_records_that_are_far_from_the_real_ones_earn_a_warning(tmp_path: Path) -> None:
    arrays(tmp_path, train_groups=None, test_features=np.ones((2, 2)), test_labels=np.arange(2))
    text = CLAIM.replace("test_share = 0.3, ", "")
    path = scenario_file(tmp_path, text)
    # Each site has 4 records: 8 and 2 are a factor of 2, 7 and 3 are not.
    for declared, warned in (([8, 7, 3], ["bern"]), ([4, 2, 5], ["chur"]), ([4, 7, 3], [])):
        done = check(tmp_path, path.name, "--set", f"privacy.records={declared}")
        assert done.returncode == 0
        names = re.findall(
            r"warning: privacy.records declares \d+ for (\w+), which has 4", done.stdout
        )
        assert names == warned


def test_more_sites_than_declared_records_are_exit_2(tmp_path: Path) -> None:
    arrays(tmp_path)
    path = scenario_file(tmp_path, CLAIM)
    done = check(tmp_path, path.name, "--set", "privacy.records=[9, 9]")
    refused(done, 2, "one entry a client: 3 clients")


def test_groups_on_both_sides_are_counted_and_keep_a_run_from_starting(tmp_path: Path) -> None:
    arrays(
        tmp_path,
        test_features=np.ones((3, 2)),
        test_labels=np.arange(3) % 2,
        test_sites=SITES,
        test_groups=np.array([9, 3, 2]),
    )
    done = check(tmp_path, "own.npz")
    assert done.returncode == 1
    assert "5 groups, 2 of them with training records and records that judge" in done.stdout
    text = SCENARIO.replace(", test_share = 0.3", "")
    path = scenario_file(tmp_path, text)
    refused(call("run", path, "--out", "r", cwd=tmp_path), 1, "the group '2' has training records")
    assert not (tmp_path / "r").exists()


def test_epsilon_is_said_to_be_for_one_record_where_records_have_groups(tmp_path: Path) -> None:
    arrays(tmp_path)
    path = scenario_file(tmp_path, CLAIM)
    sentence = "epsilon is for one record, not for"
    assert sentence in check(tmp_path, path.name).stdout
    done = call("validate", path, cwd=tmp_path)
    assert "for one training example, NOT for a group of records such as a patient's" in done.stdout
    assert (
        f"lint: remark groups-not-covered: records have groups, such as patients: {sentence}"
        in (done.stdout)
    )
    done = call("run", path, "--set", "rounds=1", "--out", "r", cwd=tmp_path)
    assert "lint: remark groups-not-covered" in done.stdout
    (cell,) = json.loads((tmp_path / "r/resolved.json").read_text())["cells"].values()
    assert cell["data"]["grouped"] is True
    refused(
        call("validate", path, "--set", "data.grouped=false", cwd=tmp_path), 2, "grouped is filled"
    )
    arrays(tmp_path, train_groups=None)
    for command in (("data", "check"), ("validate",)):
        assert "group" not in call(*command, path, cwd=tmp_path).stdout


# --- functions


def function(folder: Path, body: str) -> Path:
    head = "import itertools\nimport numpy as np\nCALLS = itertools.count()\n"
    text = f"{head}\ndef load():\n    {body}\n"
    (folder / "mine.py").write_text(text)
    return scenario_file(
        folder,
        SCENARIO.replace('"arrays", path = "own.npz"', '"python:mine.py:load"'),
    )


BODY = "n = 40 + {}; x = np.arange(n * 2.0).reshape(n, 2); return [(x, np.arange(n) % 2)]"


def test_a_function_is_called_twice_and_must_give_the_same_records(tmp_path: Path) -> None:
    trust(tmp_path)
    assert check(tmp_path, function(tmp_path, BODY.format(0)).name).returncode == 0
    done = check(tmp_path, function(tmp_path, BODY.format("next(CALLS)")).name)
    assert done.returncode == 1
    assert "python:mine.py:load returned other records when it was called again" in done.stdout


def test_a_check_runs_code_only_from_a_folder_that_is_trusted(tmp_path: Path) -> None:
    path = function(tmp_path, BODY.format(0))
    refused(check(tmp_path, path.name), 2, "--trust")
    assert check(tmp_path, path.name, "--trust", ".").returncode == 0


# --- files, schemas, figures


CSV = "age,hospital,ill\n30,bern,0\n400,bern,1\n,bern,0\n50,chur,1\n60,chur,{}\n"
SCHEMA = """
label = { column = "ill", classes = { healthy = [0], ill = [1] } }
site = "hospital"
sites = ["bern", "chur"]
columns = [{ name = "age", range = [20, 90], missing = { constant = 55 } }]
"""


def test_missing_clamped_and_bad_values_of_a_table_are_counted(tmp_path: Path) -> None:
    (tmp_path / "v.csv").write_text(CSV.format(0))
    (tmp_path / "v.toml").write_text(SCHEMA)
    done = check(tmp_path, "v.csv", "--schema", "v.toml")
    assert done.returncode == 0
    assert "bern: 3 training records (2 of healthy, 1 of ill)" in done.stdout
    assert "column age: 1 missing, 1 clamped to the range" in done.stdout
    (tmp_path / "v.csv").write_text(CSV.format(7))
    done = check(tmp_path, "v.csv", "--schema", "v.toml")
    assert done.returncode == 1
    assert "column ill: 1 refused without a DP claim" in done.stdout
    assert re.search(r"a run without a DP claim refuses these records: .*line 6", done.stdout)
    text = SCENARIO.replace(
        '"arrays", path = "own.npz"', '"table", path = "v.csv", schema = "v.toml"'
    )
    path = scenario_file(tmp_path, text)
    assert check(tmp_path, path.name).stdout == done.stdout
    refused(call("run", path, "--out", "r", cwd=tmp_path), 1, "line 6: column 'ill'")
    assert not (tmp_path / "r").exists()


def test_a_folder_of_images_is_checked_by_the_names_of_its_classes(tmp_path: Path) -> None:
    for place in ("bern/ill/1", "bern/well/2", "chur/ill/1", "chur/well/1"):
        picture(tmp_path / f"scans/{place}.png")
    done = check(tmp_path, "scans", "--set", "data.channels=1")
    assert "4 training records at 2 sites: images 1 x 32 x 32, 2 classes" in done.stdout
    # One record of each class: no site has one only.
    assert "bern: 2 training records (1 of ill, 1 of well)" in done.stdout
    (tmp_path / "scans/bern/ill/1.png").write_bytes(b"no image")
    refused(check(tmp_path, "scans"), 1, "cannot read the image")


def test_real_targets_have_no_classes(tmp_path: Path) -> None:
    arrays(tmp_path, train_labels=np.linspace(0, 40, 12))
    done = check(tmp_path, "own.npz", "--set", "data.ranges=[[0, 40]]", "--plot", "p.svg")
    assert done.returncode == 0, done.stderr
    assert "2 numbers each, 1 real target\nbern: 4 training records\n" in done.stdout
    assert (tmp_path / "p.svg").exists()


def test_many_classes_are_counted_and_not_listed(tmp_path: Path) -> None:
    arrays(tmp_path, train_labels=np.arange(12))
    assert "bern: 4 training records (of 4 of 12 classes)" in check(tmp_path, "own.npz").stdout


def test_the_figure_names_sites_as_they_are_written(tmp_path: Path) -> None:
    # Two dollar signs would begin and end a formula.
    arrays(tmp_path, train_sites=np.array(["$bern_$", "chur", "wil^{"])[np.arange(12) % 3])
    done = check(tmp_path, "own.npz", "--plot", "records.svg")
    assert done.stdout == OF_FILE.replace("bern", "$bern_$").replace("wil", "wil^{") + (
        "wrote records.svg\n"
    )
    drawing = (tmp_path / "records.svg").read_text()
    assert "<!-- $bern_$ -->" in drawing
    assert "<!-- class 1 -->" in drawing
    refused(check(tmp_path, "own.npz", "--plot", "p.txt"), 2, "--plot takes a file that ends in")
    refused(check(tmp_path, "own.npz", "--plot", "no/p.svg"), 2, "cannot write no/p.svg")


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("none.npz",), 1, "there is no file"),
        (("none.toml",), 2, "cannot read none.toml"),
        (("none.txt",), 2, "none.txt is not there"),
        (("own.txt",), 2, "own.txt is no .toml, .npz, .csv or .parquet file and no folder"),
        (("v.csv",), 2, "v.csv is a table: give --schema SCHEMA"),
        (("s.toml", "--schema", "v.toml"), 2, "--schema has no effect with a scenario"),
        (("own.npz", "--schema", "v.toml"), 2, "cannot read"),
        (("own.npz", "--set", "rounds=3"), 2, "--set takes data.KEY=VALUE with own.npz"),
        (("own.npz", "--set", "data.foo=3"), 2, "unknown key 'foo'"),
    ],
)
def test_bad_input_of_a_check_is_one_sentence(
    tmp_path: Path, arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    arrays(tmp_path)
    (tmp_path / "own.txt").write_text("")
    (tmp_path / "v.csv").write_text(CSV.format(0))
    scenario_file(tmp_path, SCENARIO)
    refused(check(tmp_path, *arguments), code, sentence)


def test_describe_drafts_a_schema_that_a_check_takes(tmp_path: Path) -> None:
    (tmp_path / "v.csv").write_text(CSV.format(0))
    draft = call("data", "describe", "v.csv", cwd=tmp_path)
    assert draft.returncode == 0
    assert "THEY ARE NOT PUBLIC" in draft.stdout
    written = call("data", "describe", "v.csv", "--out", "v.toml", cwd=tmp_path)
    assert "wrote v.toml; its ranges, levels and sites come from the records" in written.stdout
    assert (tmp_path / "v.toml").read_text() == draft.stdout
    assert check(tmp_path, "v.csv", "--schema", "v.toml").returncode == 0
    again = call("data", "describe", "v.csv", "--out", "v.toml", cwd=tmp_path)
    refused(again, 2, "v.toml exists; choose another name")
    refused(call("data", "describe", "v.csv", "--out", "a/b", cwd=tmp_path), 2, "cannot write a/b")
    refused(call("data", "describe", "v.npz", cwd=tmp_path), 1, "a table is a .csv or a .parquet")
