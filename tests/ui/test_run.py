"""securefl run: progress, results, and a record that survives interrupts and full disks."""

import contextlib
import json
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from securefl.runs.folder import Request, RunFolder
from securefl.runs.metrics import RunMetrics
from securefl.scenario.scenario import load_scenario
from tests.commands import QUICK, call, refused, scenario_file

SECUREFL = str(Path(sys.executable).with_name("securefl"))
CLAIM = """
rounds = 40
training = { kind = "dp_sgd", batch = 64 }
privacy = { noise = "seeded", noise_multiplier = 2.0 }
channel = { kind = "plain", min_cohort = 3 }
"""


SEEDED = CLAIM.replace("noise_multiplier = 2.0", "epsilon = 8.0").replace(
    "rounds = 40", "rounds = 20"
)


def test_a_run_shows_its_row_and_again_without_running(tmp_path: Path) -> None:
    path = scenario_file(tmp_path, QUICK)
    first = call("run", path, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "accuracy" in first.stdout
    assert "round 3/3" in first.stdout
    again = call("run", path, cwd=tmp_path)
    assert again.returncode == 0
    assert "round 3/3" not in again.stdout
    assert first.stdout.splitlines()[-3] == again.stdout.splitlines()[-3]


def test_a_run_says_whom_its_claim_holds_against(tmp_path: Path) -> None:
    path = scenario_file(tmp_path, CLAIM)
    done = call("run", path, "--set", "rounds=1", "--display", "json", cwd=tmp_path)
    claims = [
        event["claim"] for event in map(json.loads, done.stdout.splitlines()) if "claim" in event
    ]
    assert claims == [
        "epsilon is for one training record; local noise: the claim holds against everybody else"
    ]


def test_json_is_one_object_a_line(tmp_path: Path) -> None:
    done = call("run", scenario_file(tmp_path, QUICK), "--display", "json", cwd=tmp_path)
    events = [json.loads(line)["event"] for line in done.stdout.splitlines()]
    assert events == ["start", "round", "round", "round", "row", "line"]


def test_display_none_is_silent(tmp_path: Path) -> None:
    done = call("run", scenario_file(tmp_path, QUICK), "--display", "none", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")


def test_rich_display_works_without_a_terminal(tmp_path: Path) -> None:
    done = call("run", scenario_file(tmp_path, QUICK), "--display", "rich", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout


def test_overrides_reach_the_run(tmp_path: Path) -> None:
    path = scenario_file(tmp_path, QUICK)
    done = call(
        "run", path, "--set", "rounds=2", "--set", "defense.rule=median", "--out", "r", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    ((_, resolved, cell),) = RunFolder.open(tmp_path / "r").cells()
    assert (
        (tmp_path / "r" / "scenario.toml")
        .read_text()
        .endswith("# --set rounds=2\n# --set defense.rule=median")
    )
    assert resolved["defense"]["rule"] == {"name": "median"}
    assert len(cell.rounds()) == 2


def test_another_scenario_in_the_same_folder_is_refused_and_the_first_kept(tmp_path: Path) -> None:
    path = scenario_file(tmp_path, QUICK)
    assert call("run", path, "--out", "r", cwd=tmp_path).returncode == 0
    before = (tmp_path / "r" / "results.csv").read_bytes()
    refused(
        call("run", path, "--set", "seed=9", "--out", "r", cwd=tmp_path), 2, "choose another --out"
    )
    assert (tmp_path / "r" / "results.csv").read_bytes() == before


def test_a_budget_that_cannot_last_is_exit_3_before_anything_runs(tmp_path: Path) -> None:
    path = scenario_file(tmp_path, CLAIM)
    refused(
        call("run", path, "--out", "r", cwd=tmp_path),
        3,
        "privacy.noise_multiplier = 2 ends the run in",
    )
    assert not (tmp_path / "r").exists()


def test_a_spent_budget_is_exit_3_and_again_at_once(tmp_path: Path) -> None:
    path = scenario_file(tmp_path, CLAIM)
    # Refused before it starts, see above: a folder made by hand is how a run can still end early.
    scenario = load_scenario(path)
    RunFolder.create(tmp_path / "r", Request.of({"run": scenario}, CLAIM))
    first = call("run", path, "--out", "r", cwd=tmp_path)
    refused(first, 3, "clients may still spend")
    ((_, _, cell),) = RunFolder.open(tmp_path / "r").cells()
    assert (cell.folder / "model.safetensors").exists()
    assert cell.metrics() is not None
    assert "out of budget" in (tmp_path / "r" / "results.csv").read_text()
    again = call("run", path, "--out", "r", cwd=tmp_path)
    refused(again, 3, "clients may still spend")
    assert again.stdout == ""


def metrics_in(folder: Path) -> RunMetrics:
    """The final metrics of a run, without the seconds that it took."""
    ((_, _, cell),) = RunFolder.open(folder).cells()
    metrics = cell.metrics()
    assert metrics is not None
    return {**metrics, "seconds": 0}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> RunMetrics:
    folder = tmp_path_factory.mktemp("undisturbed")
    done = call("run", scenario_file(folder, SEEDED), "--out", "whole", cwd=folder)
    assert done.returncode == 0, done.stderr
    return metrics_in(folder / "whole")


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_seeded_run_ends_with_the_same_metrics(
    tmp_path: Path, blow: signal.Signals, undisturbed: RunMetrics
) -> None:
    path = scenario_file(tmp_path, SEEDED)
    command = [SECUREFL, "run", str(path), "--out", "cut", "--display", "json"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line).get("round") == 7:
            process.send_signal(blow)
            break
    process.stdout.read()
    code = process.wait(timeout=60)
    assert process.stderr is not None
    assert code == (130 if blow == signal.SIGINT else -signal.SIGKILL)
    assert (process.stderr.read() == "") == (blow == signal.SIGKILL)
    process.stdout.close()
    process.stderr.close()
    assert call("run", path, "--out", "cut", cwd=tmp_path).returncode == 0
    assert metrics_in(tmp_path / "cut") == undisturbed


def test_two_runs_in_one_folder_do_not_mix(tmp_path: Path) -> None:
    path = scenario_file(tmp_path, QUICK.replace("3", "2000"))
    command = [SECUREFL, "run", str(path), "--out", "r", "--display", "json"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while '"round"' not in process.stdout.readline():
            time.sleep(0.01)
        refused(call("run", path, "--out", "r", cwd=tmp_path), 1, "in use by another run")
        process.kill()


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Files of this process cannot grow beyond so many bytes, as on a disk that is full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("kilobytes", [4, 5, 7])
def test_a_full_disk_is_one_sentence_and_exit_1(tmp_path: Path, kilobytes: int) -> None:
    path = scenario_file(tmp_path, SEEDED)
    with largest_file(1024 * kilobytes):
        done = call("run", path, "--out", "r", "--display", "none", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ")


def test_data_that_cannot_be_had_leave_no_run_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "breastmnist.npz").write_bytes(b"cut")
    monkeypatch.setenv("SECUREFL_DATA", str(tmp_path))
    file = scenario_file(
        tmp_path, QUICK + 'data = { name = "medmnist:breastmnist", clients = 5 }\n'
    )
    refused(
        call("run", file, "--out", "kept", cwd=tmp_path),
        1,
        "breastmnist.npz is not the published file",
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["breastmnist.npz", "s.toml"]


def test_a_run_says_who_was_left_out_and_how_many_rounds_were_abandoned(tmp_path: Path) -> None:
    text = (
        'rounds = 2\ntraining = { kind = "sgd" }\nchannel = { kind = "masked" }\n'
        "simulate = { missing = [1], drop = [{ client = 0, round = 1, stage = 3 }] }"
    )
    path = scenario_file(tmp_path, text)
    done = call("run", path, "--display", "plain", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "client 1 took no part in the session: no commitment in attempt 0" in done.stdout
    assert "1 of 2 rounds was abandoned" in done.stdout


def test_a_run_says_which_clients_were_lost_with_their_group(tmp_path: Path) -> None:
    text = """
        rounds = 2
        data = { name = "digits", partition = "iid", clients = 6 }
        training = { kind = "sgd", batch = 64 }
        weights = "equal"
        channel = { kind = "masked", groups = 2 }
        simulate = { drop = [{ client = 5, round = 1, stage = 3 }] }
    """
    done = call("run", scenario_file(tmp_path, text), "--out", "kept", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    # Two of three are lost with the one that was silent.
    assert re.search(r"clients [0-4], [0-4] were lost with their group in round 2", done.stdout)
    assert "round 2, client 5 absent" in done.stdout + done.stderr
    assert "lost with its block" not in done.stdout + done.stderr
