"""docs/medical-data.md: from three hospitals' DICOM files to an audited run, word for word."""

import json
import runpy
from pathlib import Path

import pytest

from securefl.files import read_lines
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


# Of the invented patients: a name, the beginning of all UIDs, and that of one site's identifiers.
IDENTIFIERS = (b"Invented", b"2.25.1", b"bern-1")


def test_the_commands_of_the_page_work_in_their_order(hospitals: Path) -> None:
    for line in commands(PAGE):
        run(line, hospitals)
    run_folder = hospitals / "runs/first"
    card = json.loads((run_folder / "card.json").read_text(encoding="utf-8"))
    assert list(card["sites"]) == ["bern", "geneva", "chur"]
    assert all(figures["auc"]["value"] > 0.9 for figures in card["sites"].values())
    assert card["data"]["harmonise"] == [{"name": "zscore", "clip": None}]
    assert card["data"]["crosswalk"]
    (cell,) = (run_folder / "cells").iterdir()
    for client in range(3):
        kinds = [line["kind"] for line in read_lines(cell / f"ledgers/{client}.jsonl")]
        assert (kinds.count("reserve"), kinds.count("settle")) == (12, 12)


def test_no_identifier_of_a_patient_leaves_the_files(hospitals: Path) -> None:
    done = call("run", "scenario.toml", "--out", "kept", cwd=hospitals)
    assert done.returncode == 0, done.stderr
    archive = b"".join(path.read_bytes() for path in (hospitals / "sites").rglob("image*"))
    written = [path.read_bytes() for path in (hospitals / "kept").rglob("*") if path.is_file()]
    written.append((done.stdout + done.stderr).encode())
    for identifier in IDENTIFIERS:
        assert identifier in archive
        assert not any(identifier in content for content in written)


def test_unlike_hospitals_train_one_model_under_masks_and_noise(hospitals: Path) -> None:
    done = call("run", "scenario.toml", "--out", "seeded", *SEEDED, cwd=hospitals)
    assert done.returncode == 0, done.stderr
    (metrics,) = (hospitals / "seeded").rglob("metrics.json")
    values = json.loads(metrics.read_text(encoding="utf-8"))
    assert values["auc"] > 0.95
    assert values["accuracy"] > 0.9
    assert 7 < values["epsilon"] <= 8


def test_the_server_of_unlike_hospitals_sees_sums_and_refutes_no_claim(hospitals: Path) -> None:
    arguments = ("--adversary", "server", "--shadows", "2", "--no-exposure", "--out", "audit")
    done = call("audit", "scenario.toml", *arguments, *SEEDED, cwd=hospitals)
    assert done.returncode == 0, done.stderr
    (file,) = (hospitals / "audit").glob("audit-*.json")
    findings = json.loads(file.read_text(encoding="utf-8"))
    assert findings["claim"].startswith("epsilon 8 at delta 0.001, of which 7.99")
    # The canaries are found more often than by guessing: the attack works, through a sum.
    (canaries,) = [line for line in findings["lines"] if "gradient canaries" in line["attack"]]
    assert canaries["auc"] - 4 * canaries["auc_error"] > 0.5
    assert findings["verdict"] == "cannot tell"
    assert "sum of updates" in findings["notes"][0]
    assert "in the clear" not in findings["notes"][0]


def test_without_its_words_a_hospital_is_refused_by_the_line_alone(hospitals: Path) -> None:
    text = (hospitals / "words.toml").read_text(encoding="utf-8")
    (hospitals / "fewer.toml").write_text(text.replace('krank = "ill"', 'krunk = "ill"'))
    arguments = ("--set", "data.crosswalk=fewer.toml", "--set", "privacy.epsilon=inf")
    others = ("--set", "training.kind=sgd", "--out", "refused")
    done = call("run", "scenario.toml", *arguments, *others, cwd=hospitals)
    assert done.returncode == 1
    assert "data.labels, line 3 has a label that the crosswalk does not know" in done.stderr
    assert "krank" not in done.stderr
    assert not (hospitals / "refused").exists()
    done = call("labels", "check", "fewer.toml", "scenario.toml", cwd=hospitals)
    assert done.returncode == 1
    assert "bern, finding: krank" in done.stdout


def test_the_page_fits_on_one_page() -> None:
    assert len((ROOT / PAGE).read_text(encoding="utf-8").splitlines()) <= 90
