"""`securefl labels check`: the crosswalk in lines, and the words that have no entry."""

import json
from pathlib import Path

import pytest

from tests.commands import call, refused
from tests.data.own.unlike import DATA, SGD, write_coarse, write_partial

PRINTED = r"""column finding
  ischaemic is coarse: angina or infarct
  basel:
    gesund -> healthy (term)
    Angina pectoris -> angina (term)
    Herzinfarkt -> infarct (term)
  bern:
    Z03.5 -> healthy (ICD-10 2019)
    I20.0 -> angina (ICD-10 2019)
    I21\.\d -> infarct (pattern)
  chur:
    ok -> healthy (term)
    ischaemia -> ischaemic (term)
a word without an entry refuses the run
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_coarse(tmp_path)
    (tmp_path / "scenario.toml").write_text(DATA + SGD, encoding="utf-8")
    return tmp_path


def add(folder: Path, *lines: str) -> None:
    path = folder / "sites/bern.csv"
    path.write_text(path.read_text(encoding="utf-8") + "\n".join(lines) + "\n", encoding="utf-8")


def test_a_crosswalk_alone_is_printed_by_column_and_site(folder: Path) -> None:
    done = call("labels", "check", "map.toml", cwd=folder)
    assert (done.returncode, done.stdout) == (0, PRINTED)


def test_synonyms_missing_words_and_labels_not_looked_for_are_printed(tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text(
        'unmapped = "drop"\nnot_observed = { chur = ["mass"] }\n[columns.sex]\n'
        'terms = { m = "1" }\nsynonyms = { male = "m" }\nmissing = ["unknown"]\n',
        encoding="utf-8",
    )
    done = call("labels", "check", "map.toml", cwd=tmp_path)
    assert done.stdout.splitlines() == [
        "column sex",
        "  all sites:",
        "    m -> 1 (term)",
        "    unknown -> missing",
        "    male -> m (synonym)",
        "chur never looked for mass",
        "a word without an entry drops the record",
    ]


def test_words_of_records_are_counted_and_said_to_stay(folder: Path) -> None:
    done = call("labels", "check", "map.toml", "scenario.toml", cwd=folder)
    assert done.returncode == 0
    lines = done.stdout.removeprefix(PRINTED).splitlines()
    assert lines[0] == "words in the records:"
    assert any(line.startswith("  bern, finding: I21.4 -> infarct (pattern), ") for line in lines)
    assert lines[-2:] == [
        "every word has an entry",
        "these words and counts are facts about records: they stay at the site",
    ]
    # The commonest word of a site comes first, and the words are all of its records.
    counts = [int(line.split()[-2]) for line in lines if line.startswith("  chur")]
    assert sum(counts) == 60
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[1]


def test_words_without_an_entry_end_with_one(folder: Path) -> None:
    add(folder, "50,1,J45", "50,1,J45", "50,1,?")
    done = call("labels", "check", "map.toml", "scenario.toml", "--display", "json", cwd=folder)
    assert done.returncode == 1
    words = json.loads(done.stdout)["words"]
    assert [word for word in words if word["becomes"] is None] == [
        {
            "site": "bern",
            "column": "finding",
            "word": "J45",
            "records": 2,
            "becomes": None,
            "how": "unmapped",
        }
    ]
    done = call("labels", "check", "map.toml", "scenario.toml", cwd=folder)
    assert "  bern, finding: J45 has no entry, 2 records\n" in done.stdout
    assert "1 word in 2 records without a single entry\n" in done.stdout


def test_a_site_checks_its_own_file_alone(folder: Path) -> None:
    own = folder / "own.csv"
    (folder / "sites/bern.csv").rename(own)
    arguments = ("labels", "check", "map.toml", "scenario.toml")
    shared = folder / "scenario.toml"
    text = shared.read_text(encoding="utf-8").replace('path = "sites/*.csv"\n', "")
    shared.write_text(text, encoding="utf-8")
    done = call(*arguments, "--records", own, "--site", "bern", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "  bern, finding: Z03.5 -> healthy (code)" in done.stdout
    done = call(*arguments, "--records", own, "--site", "basel", cwd=folder)
    assert done.returncode == 1
    assert "Z03.5 has no entry" in done.stdout
    sentence = "--site: the schema has no site 'wil'; it has basel, bern, chur"
    refused(call(*arguments, "--records", own, "--site", "wil", cwd=folder), 2, sentence)
    refused(call(*arguments, cwd=folder), 2, "give a site's file")
    refused(call(*arguments, "--site", "bern", cwd=folder), 2, "go together")


def test_a_label_that_a_site_never_looked_for_has_no_words(tmp_path: Path) -> None:
    write_partial(tmp_path)
    (tmp_path / "scenario.toml").write_text(DATA + SGD, encoding="utf-8")
    table = tmp_path / "map.toml"
    more = '[columns.mass]\nterms = { yes = "yes", no = "no" }\n'
    table.write_text(table.read_text(encoding="utf-8") + more, encoding="utf-8")
    done = call("labels", "check", "map.toml", "scenario.toml", cwd=tmp_path)
    assert done.returncode == 0
    assert "  bern, mass: " in done.stdout
    assert "  chur, mass: " not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nothing.toml",), "nothing.toml"),
        (("map.toml", "--site", "bern"), "--site has no effect without a scenario"),
        (("map.toml", "--set", "seed=1"), "--set has no effect without a scenario"),
        (("bad.toml",), "bad.toml: the crosswalk: a crosswalk needs columns"),
        (("map.toml", "heart.toml"), "data.crosswalk has no effect with heart; remove it"),
    ],
)
def test_bad_files_end_with_two(folder: Path, arguments: tuple[str, ...], sentence: str) -> None:
    (folder / "bad.toml").write_text("", encoding="utf-8")
    (folder / "heart.toml").write_text('data = { name = "heart" }', encoding="utf-8")
    refused(call("labels", "check", *arguments, cwd=folder), 2, sentence)


def test_data_check_counts_coarse_labels_and_names_several_ones(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    done = call("data", "check", "scenario.toml", cwd=folder)
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert any(line.startswith("basel: ") and "0 with a coarse label" in line for line in lines)
    (chur,) = (line for line in lines if line.startswith("chur: "))
    assert "0 of angina, 0 of infarct" in chur
    assert "0 with a coarse label" not in chur
    several = tmp_path_factory.mktemp("several")
    write_partial(several)
    (several / "scenario.toml").write_text(DATA + SGD, encoding="utf-8")
    done = call("data", "check", "scenario.toml", cwd=several)
    assert "of effusion, 0 of mass" in done.stdout
