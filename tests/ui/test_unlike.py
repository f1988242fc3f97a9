"""`securefl data check --site-effect` and `securefl data landmarks`."""

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.commands import call, refused, scenario_file

TEXT = """
training = { kind = "sgd" }
data = { name = "arrays", path = "own.npz", test_share = 0.2, harmonise = ["zscore"] }
simulate = { scanners = [{ client = 1, gain = 0.5 }] }
"""


PLAIN = (
    'training = { kind = "sgd" }\ndata = { name = "arrays", path = "own.npz", test_share = 0.2 }'
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path)
    return tmp_path


def write(folder: Path, **more: Any) -> None:
    random = np.random.default_rng(0)
    values = {
        "train_images": random.integers(0, 256, size=(120, 6, 6)).astype(np.uint8),
        "train_labels": np.arange(120) % 2,
        "train_sites": np.array(["bern", "chur"])[np.arange(120) // 60],
        **more,
    }
    np.savez(folder / "own.npz", **values)


def test_a_site_effect_is_printed_before_and_after_the_steps(folder: Path) -> None:
    scenario_file(folder, TEXT)
    done = call("data", "check", "s.toml", "--site-effect", "--display", "plain", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "records that judge pass data.harmonise: zscore" in done.stdout
    assert "site effect: held-out AUC of linear classifiers; .5 is chance" in done.stdout
    assert "before data.harmonise: the site by intensity 1.00, sharpness " in done.stdout
    shown = call("data", "check", "s.toml", "--site-effect", "--display", "json", cwd=folder)
    found = json.loads(shown.stdout)["site_effect"]
    assert set(found) == {"before", "after"}
    assert found["before"]["site"]["intensity"] > 0.99
    assert found["after"]["site"]["intensity"] < 0.7


def test_without_steps_and_scanners_there_is_no_after(folder: Path) -> None:
    scenario_file(folder, PLAIN)
    done = call("data", "check", "s.toml", "--site-effect", "--display", "json", cwd=folder)
    found = json.loads(done.stdout)["site_effect"]
    assert set(found) == {"before"}
    assert found["before"]["site"]["intensity"] < 0.7
    quiet = call("data", "check", "s.toml", "--display", "json", cwd=folder)
    assert "site_effect" not in json.loads(quiet.stdout)


def test_groups_of_records_stay_in_one_fold(folder: Path) -> None:
    # Each patient has one image twelve times over, with noise: by record the site is known by
    # heart, by patient it is not.
    random = np.random.default_rng(1)
    patients = np.arange(120) // 12
    images = random.integers(20, 236, size=(10, 6, 6))[patients]
    noisy = (images + random.integers(-2, 3, size=images.shape)).astype(np.uint8)
    sites = np.array(["bern", "chur"])[patients % 2]
    aucs = []
    for more in ({}, {"train_groups": patients}):
        write(folder, train_images=noisy, train_sites=sites, **more)
        scenario_file(folder, PLAIN)
        done = call("data", "check", "s.toml", "--site-effect", "--display", "json", cwd=folder)
        aucs.append(json.loads(done.stdout)["site_effect"]["before"]["site"]["intensity"])
    assert aucs[0] > aucs[1] + 0.1


def test_a_file_and_a_single_site_have_no_site_effect(folder: Path) -> None:
    done = call("data", "check", "own.npz", "--site-effect", cwd=folder)
    refused(done, 2, "--site-effect compares the sites of a scenario; give its .toml")
    scenario_file(folder, PLAIN.replace("test_share", 'partition = "pooled", test_share'))
    done = call("data", "check", "s.toml", "--site-effect", cwd=folder)
    refused(done, 2, "--site-effect compares sites, and the scenario has one only")


@pytest.mark.parametrize("source", ["own.npz", "s.toml"])
def test_landmarks_are_drafted_as_a_line_of_a_scenario(folder: Path, source: str) -> None:
    if source == "s.toml":
        scenario_file(folder, PLAIN)
    done = call("data", "landmarks", source, cwd=folder)
    assert done.returncode == 0, done.stderr
    (step,) = tomllib.loads(done.stdout)["harmonise"]
    assert step["name"] == "nyul"
    assert step["percentiles"] == list(range(0, 101, 10))
    assert step["landmarks"] == sorted(set(step["landmarks"]))
    assert step["landmarks"][5] == pytest.approx(127, abs=8)
    assert "release" in done.stdout
    # The line is one that a scenario takes.
    scenario_file(folder, TEXT.replace('harmonise = ["zscore"]', done.stdout.splitlines()[0]))
    assert call("validate", "s.toml", cwd=folder).returncode == 0


def test_landmarks_of_no_images_are_refused(folder: Path) -> None:
    scenario_file(folder, 'data = { name = "heart" }')
    refused(call("data", "landmarks", "s.toml", cwd=folder), 2, "landmarks are of images")
    (folder / "a.csv").write_text("a\n1\n")
    refused(call("data", "landmarks", "a.csv", cwd=folder), 2, "is no .toml and no .npz file")
    done = call("data", "landmarks", "own.npz", "--set", "data.share=0.5", cwd=folder)
    refused(done, 2, "--set has no effect with a file; remove it")
