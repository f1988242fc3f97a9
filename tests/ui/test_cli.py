"""The command line as a user meets it: one sentence, the right exit code, nothing lost."""

import contextlib
import json
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from securefl.runs.folder import RunFolder
from securefl.runs.metrics import RunMetrics
from securefl.scenario import catalog
from securefl.ui.doctor import examine
from tests.commands import Done, call

SECUREFL = str(Path(sys.executable).with_name("securefl"))
QUICK = """
rounds = 3
training = { kind = "sgd" }
"""
CLAIM = """
rounds = 40
training = { kind = "dp_sgd", batch = 64 }
privacy = { noise = "seeded", noise_multiplier = 2.0 }
channel = { kind = "plain", min_cohort = 3 }
"""
SEEDED = CLAIM.replace("noise_multiplier = 2.0", "epsilon = 8.0").replace(
    "rounds = 40", "rounds = 20"
)


def scenario(folder: Path, text: str) -> Path:
    path = folder / "s.toml"
    path.write_text(text)
    return path


def refused(done: Done, code: int, sentence: str) -> None:
    assert done.returncode == code, done.stderr
    assert sentence in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("frobnicate = 1", "unknown key 'frobnicate'"),
        ("privacy = { epsilon = -1.0 }", "privacy.epsilon"),
        (
            'data = { partition = "halves" }\ndefense = { rule = { name = "trimmed_mean", f = 4 } }',
            "needs 9 rows",
        ),
        (
            'defense = { rule = { name = "krum", f = 1 } }',
            "krum with f=1 needs 5 rows, plain with 4 clients reveals 4",
        ),
        ("privacy = { delta = 0.5 }", "privacy.delta must be below 1/n"),
        (
            'data = { name = "digits", clients = 2000 }',
            "2000 clients with 1 or more records each take 2000, digits has 1257 training records",
        ),
        ('channel = { kind = "bfv", ring = 32 }', "not available yet"),
        ("seed = = 1", "not valid TOML"),
    ],
)
def test_a_bad_scenario_is_one_sentence_and_exit_2(
    tmp_path: Path, text: str, sentence: str
) -> None:
    refused(call("validate", scenario(tmp_path, text), cwd=tmp_path), 2, sentence)


def test_run_refuses_what_validate_refuses_and_leaves_nothing(tmp_path: Path) -> None:
    path = scenario(tmp_path, "frobnicate = 1")
    refused(call("run", path, cwd=tmp_path), 2, "unknown key")
    assert [entry.name for entry in tmp_path.iterdir()] == ["s.toml"]


def test_an_absent_file_is_exit_2(tmp_path: Path) -> None:
    refused(
        call("run", "absent.toml", cwd=tmp_path),
        2,
        "cannot read absent.toml: No such file or directory",
    )


def test_an_unwritable_folder_is_exit_2(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = scenario(tmp_path, QUICK)
    refused(
        call("run", path, "--out", "file/run", cwd=tmp_path),
        2,
        "cannot write the run folder file/run",
    )


def test_a_run_shows_its_row_and_again_without_running(tmp_path: Path) -> None:
    path = scenario(tmp_path, QUICK)
    first = call("run", path, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "accuracy" in first.stdout
    assert "round 3/3" in first.stdout
    again = call("run", path, cwd=tmp_path)
    assert again.returncode == 0
    assert "round 3/3" not in again.stdout
    assert first.stdout.splitlines()[-3] == again.stdout.splitlines()[-3]


def test_json_is_one_object_a_line(tmp_path: Path) -> None:
    done = call("run", scenario(tmp_path, QUICK), "--display", "json", cwd=tmp_path)
    events = [json.loads(line)["event"] for line in done.stdout.splitlines()]
    assert events == ["start", "round", "round", "round", "row", "line"]


def test_display_none_is_silent(tmp_path: Path) -> None:
    done = call("run", scenario(tmp_path, QUICK), "--display", "none", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")


def test_rich_display_works_without_a_terminal(tmp_path: Path) -> None:
    done = call("run", scenario(tmp_path, QUICK), "--display", "rich", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout


def test_overrides_reach_the_run(tmp_path: Path) -> None:
    path = scenario(tmp_path, QUICK)
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
    path = scenario(tmp_path, QUICK)
    assert call("run", path, "--out", "r", cwd=tmp_path).returncode == 0
    before = (tmp_path / "r" / "results.csv").read_bytes()
    refused(
        call("run", path, "--set", "seed=9", "--out", "r", cwd=tmp_path), 2, "choose another --out"
    )
    assert (tmp_path / "r" / "results.csv").read_bytes() == before


def test_a_spent_budget_is_exit_3_and_again_at_once(tmp_path: Path) -> None:
    path = scenario(tmp_path, CLAIM)
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
    done = call("run", scenario(folder, SEEDED), "--out", "whole", cwd=folder)
    assert done.returncode == 0, done.stderr
    return metrics_in(folder / "whole")


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_seeded_run_ends_with_the_same_metrics(
    tmp_path: Path, blow: signal.Signals, undisturbed: RunMetrics
) -> None:
    path = scenario(tmp_path, SEEDED)
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
    path = scenario(tmp_path, QUICK.replace("3", "2000"))
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


@pytest.mark.parametrize("kilobytes", [2, 3, 4, 6])
def test_a_full_disk_is_one_sentence_and_exit_1(tmp_path: Path, kilobytes: int) -> None:
    path = scenario(tmp_path, SEEDED)
    with largest_file(1024 * kilobytes):
        done = call("run", path, "--out", "r", "--display", "none", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ")


def test_init_writes_a_scenario_that_validates_and_never_replaces(tmp_path: Path) -> None:
    assert call("init", "mine.toml", cwd=tmp_path).returncode == 0
    done = call("validate", "mine.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "(8, 1e-05)-DP for one training example" in done.stdout
    refused(call("init", "mine.toml", cwd=tmp_path), 2, "exists; choose another name")
    assert call("init", "mine.toml", "--force", cwd=tmp_path).returncode == 0


def test_the_report_shows_the_row_and_escapes_what_users_wrote(tmp_path: Path) -> None:
    path = scenario(tmp_path, QUICK + "# <script>alert(1)</script>\n")
    assert call("run", path, "--out", "r", cwd=tmp_path).returncode == 0
    assert call("report", "r", cwd=tmp_path).returncode == 0
    page = (tmp_path / "r" / "report" / "index.html").read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "<td>done</td>" in page
    assert "none" in page


def test_a_report_of_nothing_is_exit_2(tmp_path: Path) -> None:
    refused(call("report", ".", cwd=tmp_path), 2, "is not a run folder, and holds no audits")


@pytest.mark.parametrize("option", ["--pictures", "--no-exposure"])
def test_options_of_an_audit_need_its_adversary(tmp_path: Path, option: str) -> None:
    refused(
        call("audit", ".", option, cwd=tmp_path), 2, "--pictures and --no-exposure need --adversary"
    )


@pytest.mark.parametrize(
    ("what", "line"),
    [
        (
            "rules",
            "krum                    Returns the row closest to its n - f - 2 nearest neighbours",
        ),
        (
            "prefilters",
            "nearest_neighbor_mixing Replaces each row by the mean of its n - f nearest rows",
        ),
        ("attacks", "sign_flip"),
        (
            "data",
            "heart                     15 numbers, 2 classes, 490 training records; natural, halves, pooled, iid",
        ),
        (
            "data",
            "medmnist:dermamnist       images 3 x 28 x 28, 7 classes, 7007 training records; sizes 28, 64, 128",
        ),
        (
            "data",
            "14 labels, several a record, 78468 training records; sizes 28, 64, 128, 224; CC BY 4.0",
        ),
        ("channels", "ckks           2 stage(s) a round"),
        ("models", "Takes hidden."),
        ("steps", "fedadam"),
        ("channels", "plain          1 stage(s) a round"),
    ],
)
def test_ls_shows_what_a_scenario_can_name(tmp_path: Path, what: str, line: str) -> None:
    done = call("ls", what, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert line in done.stdout


def test_ls_runs_shows_states(tmp_path: Path) -> None:
    call("run", scenario(tmp_path, QUICK), "--out", "runs/a", cwd=tmp_path)
    assert call("ls", "runs", cwd=tmp_path).stdout.split() == [
        "a",
        "1",
        "done;",
        "3",
        "of",
        "3",
        "rounds",
    ]
    refused(call("ls", "runs", "absent", cwd=tmp_path), 2, "there is no folder absent")
    (tmp_path / "runs" / "older").mkdir()
    (tmp_path / "runs" / "older" / "resolved.json").write_text("{}")
    shown = call("ls", "runs", cwd=tmp_path).stdout.splitlines()
    assert shown[0].split()[:3] == ["a", "1", "done;"]
    assert "is damaged, or was made by another version" in shown[1]
    refused(call("ls", "nonsense", cwd=tmp_path), 2, "there is no list 'nonsense'")


def test_doctor_names_files_that_are_not_the_published_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECUREFL_DATA", str(tmp_path / "data"))
    verdict = {name: (good, finding) for name, good, finding in examine()}
    assert verdict["SECUREFL_DATA"] == (False, f"there is no folder {tmp_path / 'data'}")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "unrelated.npz").write_bytes(b"mine")
    assert {name: (good, finding) for name, good, finding in examine()}["SECUREFL_DATA"] == (
        True,
        "0 published files, each with its MD5",
    )
    (tmp_path / "data" / "breastmnist_64.npz").write_bytes(b"cut")
    (tmp_path / "data" / "organmnist3d.npz").write_bytes(b"short")
    good, finding = {name: (good, finding) for name, good, finding in examine()}["SECUREFL_DATA"]
    assert not good
    assert finding == "not the published files: breastmnist_64.npz, organmnist3d.npz; delete them"


@pytest.mark.parametrize("kind", catalog.CHANNELS)
def test_validate_says_what_every_channel_shows_the_server(kind: str, tmp_path: Path) -> None:
    done = call(
        "validate", scenario(tmp_path, QUICK), "--set", f"channel.kind={kind}", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert (
        f"channel {kind}: the server sees {catalog.CHANNELS[kind].threats['server']}" in done.stdout
    )


@pytest.mark.parametrize(
    ("defense", "told"),
    [
        ('rule = "mean"', "rule mean, weights equal, server fedavg"),
        (
            'rule = "median"',
            "rule median, all rows count the same (weights equal are not used), server fedavg",
        ),
        (
            'prefilters = [{ name = "clip_norms", radius = 1.0 }]',
            "clip_norms (radius=1.0), then rule mean, all rows count the same (weights equal are not used), server",
        ),
    ],
)
def test_validate_says_whose_weights_count(defense: str, told: str, tmp_path: Path) -> None:
    text = QUICK + f'weights = "equal"\ndefense = {{ {defense} }}\n'
    assert told in call("validate", scenario(tmp_path, text), cwd=tmp_path).stdout


def test_validate_says_what_is_done_to_the_records(tmp_path: Path) -> None:
    text = (
        QUICK
        + 'data = { name = "heart", share = 0.5, label_noise = 0.1, fold = 2, test_on = "validation" }\n'
    )
    done = call("validate", scenario(tmp_path, text), cwd=tmp_path)
    kept = "each record kept with probability 0.5, labels wrong with probability 0.1, judged on VALIDATION records"
    assert kept in done.stdout
    assert (
        "at most 30 records a client"
        in call(
            "validate",
            scenario(tmp_path, 'data = { most = 30 }\ntraining.kind = "sgd"\n'),
            cwd=tmp_path,
        ).stdout
    )
    assert (
        "judged on VALIDATION records" in call("run", scenario(tmp_path, text), cwd=tmp_path).stdout
    )


def test_validate_says_how_large_images_are_and_when_validation_records_judge(
    tmp_path: Path,
) -> None:
    data = (
        'data = { name = "medmnist:breastmnist", size = 64, test_on = "validation", clients = 5 }\n'
    )
    text = data + QUICK + 'weights = "reported"\nchannel = { kind = "ckks", clip = 2.0 }\n'
    done = call("validate", scenario(tmp_path, text), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (
        "medmnist:breastmnist (iid, 64 pixels a side, judged on VALIDATION records)" in done.stdout
    )
    assert (
        "2 may drop out; coordinates clipped at 2, the mean is off by at most 9e-07" in done.stdout
    )


@pytest.mark.parametrize("kind", ["plain", "ckks"])
def test_a_set_up_that_does_not_exist_cannot_be_missed(kind: str, tmp_path: Path) -> None:
    keys = f'channel = {{ kind = "{kind}" }}\nsimulate = {{ missing = [1] }}\n'
    done = call("validate", scenario(tmp_path, QUICK + keys), cwd=tmp_path)
    refused(done, 2, f"simulate.missing: {kind} has no set-up that a client could miss")


def test_data_that_cannot_be_had_leave_no_run_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "breastmnist.npz").write_bytes(b"cut")
    monkeypatch.setenv("SECUREFL_DATA", str(tmp_path))
    file = scenario(tmp_path, QUICK + 'data = { name = "medmnist:breastmnist", clients = 5 }\n')
    refused(
        call("run", file, "--out", "kept", cwd=tmp_path),
        1,
        "breastmnist.npz is not the published file",
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["breastmnist.npz", "s.toml"]


def test_doctor_finds_this_installation_healthy(tmp_path: Path) -> None:
    done = call("doctor", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "BAD" not in done.stdout
    assert "known answer 6.552" in done.stdout


def test_the_version_is_that_of_the_package(tmp_path: Path) -> None:
    done = call("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, f"securefl {version('securefl')}")


def test_ls_threats_says_what_the_server_sees(tmp_path: Path) -> None:
    done = call("ls", "threats", cwd=tmp_path)
    assert done.returncode == 0
    assert "masked   server: the sum over each block's survivors" in done.stdout


def test_a_run_says_who_was_left_out_and_how_many_rounds_were_abandoned(tmp_path: Path) -> None:
    text = 'rounds = 2\ntraining = { kind = "sgd" }\nchannel = { kind = "masked" }\nsimulate = { missing = [1], '
    path = scenario(tmp_path, text + "drop = [{ client = 0, round = 1, stage = 3 }] }")
    done = call("run", path, "--display", "plain", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "client 1 took no part in the session: no commitment in attempt 0" in done.stdout
    assert "1 of 2 rounds were abandoned" in done.stdout


def test_ls_alone_says_what_it_can_list(tmp_path: Path) -> None:
    done = call("ls", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == "securefl ls rules"
    assert all(
        call(*line.split()[1:], cwd=tmp_path).returncode == 0
        for line in done.stdout.splitlines()[3:5]
    )


def test_errors_are_json_where_json_is_asked_for(tmp_path: Path) -> None:
    for how in (("--display", "json"), ("--display=json",)):
        done = call("validate", "none.toml", *how, cwd=tmp_path)
        told = json.loads(done.stdout)
        assert (done.returncode, told["event"], told["exit"]) == (2, "error", 2)
        assert done.stderr == f"error: {told['error']}\n"
    assert call("validate", "none.toml", "--display", "plain", cwd=tmp_path).stdout == ""


def test_the_schema_is_printed(tmp_path: Path) -> None:
    assert json.loads(call("schema", cwd=tmp_path).stdout)["title"] == "Declaration"
