"""securefl refine, rollback, drift and card, as they are typed."""

import json
import shutil
from pathlib import Path

import pytest

from securefl.runs import api
from securefl.scenario.scenario import parse_scenario
from tests.commands import call, refused
from tests.runs.refining.conftest import CLAIM, PLAIN


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("versions")
    for name, text in (("plain", PLAIN), ("claim", CLAIM)):
        api.run(parse_scenario(text), folder / name, text=text)
    (folder / "new.toml").write_text("data = { share = 0.9 }\n")
    return folder


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "home")


def test_a_version_is_released_shown_rolled_back_and_drawn(home: Path) -> None:
    gate = ("--gate", "accuracy >= previous - 0.5")
    done = call("refine", "plain", "--data", "new.toml", *gate, cwd=home)
    assert done.returncode == 0, done.stderr
    assert "version 2 released by the gate accuracy >= previous - 0.5: value 0." in done.stdout
    assert "version 2 is in force; model card plain/versions/2/card.md" in done.stdout
    assert (home / "plain/versions/2/card.json").exists()

    again = call("refine", "plain", "--data", "new.toml", *gate, cwd=home)
    assert again.returncode == 0
    assert "version 2 has these records and options already" in again.stdout

    drift = call("drift", "plain", "--plot", "drift.svg", cwd=home)
    assert drift.returncode == 0, drift.stderr
    rows = [line.split() for line in drift.stdout.splitlines()]
    assert ["site", "v1", "v2"] in rows
    metrics = [
        json.loads(next((home / folder).glob("cells/*/metrics.json")).read_text())
        for folder in ("plain", "plain/versions/2/run")
    ]
    for site in ("cleveland", "hungarian", "va"):
        values = [f"{found['sites'][site]['auc']:.3f}" for found in metrics]
        assert [site, *values] in rows
    assert ["switzerland", "-", "-"] in rows
    figure = (home / "drift.svg").read_bytes()
    call("drift", "plain", "--plot", "again.svg", cwd=home)
    assert (home / "again.svg").read_bytes() == figure

    back = call("rollback", "plain", cwd=home)
    assert back.returncode == 0, back.stderr
    assert (
        "version 1 is in force again; nothing that later versions spent comes back" in back.stdout
    )
    refused(call("rollback", "plain", cwd=home), 2, "no version before 1 was released")
    forth = call("rollback", "plain", "--to", "2", "--display", "json", cwd=home)
    assert json.loads(forth.stdout)["in_force"] == 2


def test_a_version_that_fails_the_gate_ends_with_exit_code_one(home: Path) -> None:
    done = call("refine", "plain", "--data", "new.toml", "--gate", "accuracy >= 1", cwd=home)
    assert done.returncode == 1
    assert "version 2 refused by the gate accuracy >= 1" in done.stdout
    assert "version 1 is in force" in done.stdout
    again = call("refine", "plain", "--data", "new.toml", "--gate", "accuracy >= 1", cwd=home)
    assert again.returncode == 1
    card = (home / "plain/versions/2/card.md").read_text()
    assert card.startswith("# Model card: version 2\n\nNot in force. It was refused by the gate")


def test_under_a_claim_a_decision_is_refused_or_paid_for(home: Path) -> None:
    start = ("refine", "claim", "--data", "new.toml", "--set", "privacy.epsilon=5.0")
    gate = ("--gate", "accuracy >= previous - 0.9")
    refused(call(*start, *gate, cwd=home), 2, "each decision of a gate on the sites' own records")
    assert not (home / "claim/versions/2").exists()
    spent = ("refine", "claim", "--data", "new.toml")
    refused(call(*spent, cwd=home), 3, "raise privacy.epsilon")
    paid = call(*start, *gate, "--gate-noise", "4", "--gate-records", "250", cwd=home)
    assert paid.returncode == 0, paid.stderr
    assert "noisy difference" in paid.stdout
    drift = call("drift", "claim", cwd=home)
    assert "computed without noise on the sites' test records" in drift.stdout
    card = call("card", "claim", cwd=home)
    assert "wrote claim/versions/2/card.md" in card.stdout
    first = call("card", "claim", "--version", "1", cwd=home)
    assert "wrote claim/card.md" in first.stdout


def test_a_version_whose_training_had_not_begun_is_given_up_without_a_trace(home: Path) -> None:
    (home / "plain/versions/2").mkdir(parents=True)
    done = call("refine", "plain", "--abandon", cwd=home)
    assert "version 2 was given up; it had spent nothing" in done.stdout
    assert not (home / "plain/versions/2").exists()
    assert not (home / "plain/releases.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("refine", "plain"), "--data names the new records"),
        (("refine", "plain", "--data", "gone.toml"), "cannot read gone.toml"),
        (("refine", "gone", "--data", "new.toml"), "gone is not a run folder"),
        (("refine", "plain", "--data", "new.toml", "--gate", "x"), "--gate takes a comparison"),
        (
            ("refine", "plain", "--data", "new.toml", "--gate", "auc > 0", "--validation", "x.npz"),
            "--validation takes a TOML file",
        ),
        (("refine", "plain", "--abandon"), "is under way"),
        (("refine", "plain", "--abandon", "--data", "new.toml"), "--abandon goes without --data"),
        (("refine", "plain", "--data", "x.npz"), "data.path has no effect with heart"),
        (("rollback", "plain"), "no version before 1 was released"),
        (("rollback", "plain", "--to", "7"), "has no version 7"),
        (("drift", "plain", "--plot", "x.txt"), "--plot takes a file that ends in .svg"),
        (("card", "plain", "--version", "3"), "has no version 3"),
    ],
    ids=range(12),
)
def test_bad_requests_end_with_one_sentence_and_leave_nothing(
    home: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    refused(call(*arguments, cwd=home), 2, sentence)
    assert not (home / "plain/versions/2").exists()
    assert not (home / "plain/releases.jsonl").exists()
