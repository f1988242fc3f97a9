"""docs/own-data.md: its scenarios and commands work word for word, on files that it describes."""

import csv
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.commands import call, refused
from tests.data.own.files import picture
from tests.ui.test_readme import blocks, commands

PAGE = "docs/own-data.md"
SITES = ("bern", "chur", "sion")
SCENARIOS = [block for block in blocks("toml", PAGE) if block.startswith("data = ")]
(SCHEMA,) = (block for block in blocks("toml", PAGE) if block.startswith("label = "))
LOADER = """
import numpy as np

def load():
    images = np.arange(24 * 64, dtype=np.float32).reshape(24, 1, 8, 8) / 2000
    return {"bern": (images, np.arange(24) % 2), "chur": (images, np.arange(24) % 2)}
"""
# After what a scenario's line of the page has.
MORE = 'rounds = 1\ntraining = { kind = "sgd" }\n'


def visits(folder: Path) -> None:
    """Writes a table with every kind of column that the schema on the page has."""
    with (folder / "visits.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("patient", "hospital", "age", "sex", "pain", "diagnosis", "split"))
        for index in range(48):
            site = SITES[index % 3]
            pain = ("typical", "atypical", "none", "other")[index % 4]
            age = "" if index == 5 else 20 + index
            split = ("train", "train", "validation", "test")[index // 3 % 4]
            writer.writerow((index, site, age, index // 3 % 2, pain, index // 6 % 5, split))
    (folder / "visits.toml").write_text(SCHEMA, encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images: Any = np.arange(60 * 64, dtype=np.uint8).reshape(60, 8, 8)
    sites = np.array(SITES)[np.arange(60) % 3]
    labels = np.arange(60) // 3 % 2
    np.savez(tmp_path / "xray.npz", train_images=images, train_labels=labels, train_sites=sites)
    rows = np.random.default_rng(0).uniform(size=(30, 3))
    days = np.stack([rows[:, 0] * 40, 34 + rows[:, 1] * 9], axis=1)
    np.savez(tmp_path / "stays.npz", train_features=rows, train_labels=days)
    for number in range(8):
        for place in ("bern/healthy", "bern/pneumonia", "chur/healthy", "chur/pneumonia"):
            picture(tmp_path / f"scans/{place}/{number}.png", grey=30 * number)
    (tmp_path / "my_hospitals.py").write_text(LOADER, encoding="utf-8")
    visits(tmp_path)
    return tmp_path


@pytest.mark.parametrize("block", SCENARIOS, ids=range(len(SCENARIOS)))
def test_each_scenario_of_the_page_is_checked_validated_and_run(folder: Path, block: str) -> None:
    (folder / "s.toml").write_text(block + MORE, encoding="utf-8")
    done = call("data", "check", "s.toml", "--trust", ".", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert call("validate", "s.toml", cwd=folder).returncode == 0
    done = call("run", "s.toml", "--out", "r", cwd=folder)
    assert done.returncode == 0, done.stderr


def test_every_form_has_a_scenario_on_the_page() -> None:
    assert len(SCENARIOS) == 5
    for name in ("arrays", "folder", "python:my_hospitals.py:load", "table"):
        assert sum(f'name = "{name}"' in block for block in SCENARIOS) == 1 + (name == "arrays")


def test_the_commands_of_the_page_work_word_for_word(folder: Path) -> None:
    (folder / "scenario.toml").write_text(SCENARIOS[0] + MORE, encoding="utf-8")
    outputs = {}
    for line in commands(PAGE):
        program, *arguments = shlex.split(line)
        assert program == "securefl"
        done = call(*arguments, cwd=folder)
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
        outputs[line] = done.stdout
    assert (folder / "records.svg").exists()
    assert "column age: 1 missing" in outputs["securefl data check visits.csv --schema visits.toml"]
    # A draft is a schema, too.
    done = call("data", "check", "visits.csv", "--schema", "draft.toml", cwd=folder)
    assert "training records at 3 sites" in done.stdout


def test_a_schema_without_a_split_needs_a_share_of_records_that_judge(folder: Path) -> None:
    schema = SCHEMA.replace('split = "split"\n', "")
    assert schema != SCHEMA
    (folder / "visits.toml").write_text(schema, encoding="utf-8")
    (table,) = (block for block in SCENARIOS if '"table"' in block)
    (folder / "s.toml").write_text(table + MORE, encoding="utf-8")
    refused(call("validate", "s.toml", cwd=folder), 2, "set data.test_share")
    done = call("validate", "s.toml", "--set", "data.test_share=0.3", cwd=folder)
    assert done.returncode == 0
