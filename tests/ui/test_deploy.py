"""securefl deploy rehearse: real processes, started as users do, and what they read about it."""

from pathlib import Path

import pytest

from securefl.runs.deployed.rehearsal import Rehearsed
from securefl.ui import deploy
from tests.commands import call, refused, scenario_file
from tests.runs.deployed.parties import MASKED, SGD


def test_a_rehearsal_compares_the_model_with_the_simulations(tmp_path: Path) -> None:
    path = scenario_file(tmp_path, SGD + MASKED)
    done = call(
        *("deploy", "rehearse", path, "--out", "out", "--link", "direct", "--set", "rounds=1"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "4 sites, 1 rounds, 9 trips over TLS" in done.stdout
    assert "the model is the simulation's, bit for bit" in done.stdout
    assert not list((tmp_path / "out").rglob("*.pem"))


@pytest.mark.parametrize(
    "options", [("--link", "flower"), ("--flower", "bin"), ("--link", "direct", "--flower", "bin")]
)
def test_flowers_link_and_flowers_programs_belong_together(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    path = scenario_file(tmp_path, SGD)
    done = call("deploy", "rehearse", path, "--out", "out", *options, cwd=tmp_path)
    refused(done, 2, "--link flower needs --flower")
    assert not (tmp_path / "out").exists()


def test_a_rehearsal_over_flower_needs_flower(tmp_path: Path) -> None:
    path = scenario_file(tmp_path, SGD)
    done = call(
        *("deploy", "rehearse", path, "--out", "out", "--link", "flower", "--flower", "nowhere"),
        cwd=tmp_path,
    )
    refused(done, 2, "nowhere has no flwr and no flower-superlink")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("outcome", "code", "sentence"),
    [
        (Rehearsed(0, "", {}, 3, identical=False), 1, "the model is NOT the simulation's"),
        (Rehearsed(0, "", {}, 3, identical=True, figures=False), 1, "figures are NOT its figures"),
        (Rehearsed(0, "", {1: (0, 2)}, 3, identical=None), 1, "absent: round 1 without 0 and 2"),
        (Rehearsed(1, "no clients left", {}, 3, identical=None), 1, "no clients left"),
        (Rehearsed(3, "no budget", {}, 3, identical=None), 3, "no budget"),
    ],
)
def test_what_goes_wrong_decides_the_exit_code(
    outcome: Rehearsed, code: int, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deploy, "rehearse", lambda *args, **options: outcome)
    path = scenario_file(tmp_path, SGD)
    refused(call("deploy", "rehearse", path, "--out", "out", cwd=tmp_path), code, sentence)


def test_fresh_noise_is_said_to_be_no_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = Rehearsed(0, "", {}, 3, identical=None)
    monkeypatch.setattr(deploy, "rehearse", lambda *args, **options: outcome)
    path = scenario_file(tmp_path, SGD)
    done = call("deploy", "rehearse", path, "--out", "out", cwd=tmp_path)
    assert done.returncode == 0
    assert "noise is fresh" in done.stdout


def test_a_scenario_that_only_simulates_is_refused_before_there_is_a_folder(
    tmp_path: Path,
) -> None:
    path = scenario_file(tmp_path, SGD + "channel = { kind = 'ckks' }")
    done = call("deploy", "rehearse", path, "--out", "out", cwd=tmp_path)
    refused(done, 2, "'ckks' does not run between sites yet")
    assert not (tmp_path / "out").exists()
