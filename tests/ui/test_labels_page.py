"""docs/labels.md: its files and commands work word for word, on records in its words."""

import random
import shlex
import tomllib
from pathlib import Path

import pytest

from securefl.data.crosswalk.words import CODE_SYSTEMS
from securefl.data.own.agreed import read_schema
from securefl.data.own.schema import Schema
from tests.commands import call
from tests.paths import ROOT
from tests.ui.test_readme import blocks, commands

PAGE = "docs/labels.md"
DATA, SCHEMA, MAP, LABELS = blocks("toml", PAGE)
WORDS = {
    "basel": ("gesund", "Angina", "AP", "Herzinfarkt", "k. A."),
    "bern": ("Z03.5", "I20.0", "I21.4"),
    "chur": ("ok", "ischaemia"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    more = 'rounds = 1\ntraining = { kind = "sgd" }\n'
    (tmp_path / "scenario.toml").write_text(DATA + more, encoding="utf-8")
    (tmp_path / "visits.toml").write_text(SCHEMA, encoding="utf-8")
    (tmp_path / "map.toml").write_text(MAP, encoding="utf-8")
    (tmp_path / "sites").mkdir()
    for site, words in WORDS.items():
        draw = random.Random(site)
        lines = ["age,chol,finding"]
        for _ in range(30):
            chol = f"{draw.uniform(3, 8):.2f}" if site == "basel" else draw.randint(120, 300)
            lines.append(f"{draw.randint(20, 90)},{chol},{draw.choice(words)}")
        path = tmp_path / f"sites/{site}.csv"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


def test_the_commands_of_the_page_work_and_its_scenario_runs(folder: Path) -> None:
    for line in commands(PAGE):
        program, *arguments = shlex.split(line)
        assert program == "securefl"
        done = call(*arguments, cwd=folder)
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
    done = call("run", "scenario.toml", "--out", "r", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert '"coarse": ' in next((folder / "r").rglob("metrics.json")).read_text(encoding="utf-8")


def test_the_labels_of_the_page_are_those_of_a_schema() -> None:
    columns = 'sites = ["chur"]\ncolumns = [{ name = "age", range = [20, 90] }]\n'
    given = tomllib.loads(LABELS + columns)
    crosswalk = {"not_observed": {"chur": ["mass"]}}
    assert read_schema(Schema, {**given, "crosswalk": crosswalk}).task.partial


def test_the_page_names_every_system_of_codes() -> None:
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    assert all(system in text for system in CODE_SYSTEMS)
