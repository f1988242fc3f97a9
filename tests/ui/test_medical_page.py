"""docs/medical-data.md: from three hospitals' DICOM files to an audited run, word for word."""

import json
import runpy
from pathlib import Path

import pytest

from tests.commands import call
from tests.paths import ROOT
from tests.ui.test_readme import commands, run

PAGE = "docs/medical-data.md"
# System noise gives another model each time, which no test can be sure of.
SEEDED = ("--set", "privacy.noise=seeded")


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hospitals")
    runpy.run_path(str(ROOT / "examples/dicom/make_sites.py"))["write_sites"](folder)
    return folder


def test_the_commands_of_the_page_work_in_their_order(hospitals: Path) -> None:
    for line in commands(PAGE):
        run(line, hospitals)
    (cell,) = (hospitals / "runs/first/cells").iterdir()
    card = (hospitals / "runs/first/card.md").read_text(encoding="utf-8")
    assert "bern" in card
    # Neither the run folder nor its card has an identifier of a patient.
    for file in (hospitals / "runs").rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert b"Invented" not in content, file
            assert b"2.25.1" not in content, file
            assert b"bern-1" not in content, file
    assert (cell / "ledgers/2.jsonl").exists()


def test_unlike_hospitals_train_one_model_under_masks_and_noise(hospitals: Path) -> None:
    done = call("run", "scenario.toml", "--out", "seeded", *SEEDED, cwd=hospitals)
    assert done.returncode == 0, done.stderr
    (metrics,) = (hospitals / "seeded").rglob("metrics.json")
    values = json.loads(metrics.read_text(encoding="utf-8"))
    assert values["auc"] > 0.95
    assert values["accuracy"] > 0.9
    assert 7 < values["epsilon"] <= 8


def test_the_server_of_unlike_hospitals_can_be_audited(hospitals: Path) -> None:
    arguments = ("--adversary", "server", "--shadows", "2", "--no-exposure", "--out", "audit")
    done = call("audit", "scenario.toml", *arguments, *SEEDED, cwd=hospitals)
    assert done.returncode == 0, done.stderr
    assert "epsilon 8 at delta 0.001" in done.stdout
    assert "masked" not in done.stderr


def test_without_its_words_a_hospital_is_refused_by_the_line_alone(hospitals: Path) -> None:
    text = (hospitals / "words.toml").read_text(encoding="utf-8")
    (hospitals / "fewer.toml").write_text(text.replace('krank = "ill"', 'krunk = "ill"'))
    arguments = ("--set", "data.crosswalk=fewer.toml", "--set", "privacy.epsilon=inf")
    others = ("--set", "training.kind=sgd", "--out", "refused")
    done = call("run", "scenario.toml", *arguments, *others, cwd=hospitals)
    assert done.returncode in (1, 2)
    assert "data.labels, line 3 has a label that the crosswalk does not know" in done.stderr
    assert "krank" not in done.stderr
    assert not (hospitals / "refused").exists()
    done = call("labels", "check", "fewer.toml", "scenario.toml", cwd=hospitals)
    assert done.returncode == 1
    assert "bern, finding: krank" in done.stdout


def test_the_page_fits_on_one_page() -> None:
    assert len((ROOT / PAGE).read_text(encoding="utf-8").splitlines()) <= 90
