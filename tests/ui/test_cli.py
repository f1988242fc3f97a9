"""The command line as a user meets it: one sentence for an error, and the right exit code."""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.commands import QUICK, call, refused, scenario_file

SECUREFL = str(Path(sys.executable).with_name("securefl"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("frobnicate = 1", "unknown key 'frobnicate'"),
        ("privacy = { epsilon = -1.0 }", "privacy.epsilon"),
        (
            'data.partition = "halves"\ndefense = { rule = { name = "trimmed_mean", f = 4 } }',
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
    refused(call("validate", scenario_file(tmp_path, text), cwd=tmp_path), 2, sentence)


def test_run_refuses_what_validate_refuses_and_leaves_nothing(tmp_path: Path) -> None:
    path = scenario_file(tmp_path, "frobnicate = 1")
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
    path = scenario_file(tmp_path, QUICK)
    refused(
        call("run", path, "--out", "file/run", cwd=tmp_path),
        2,
        "cannot write the run folder file/run",
    )


def test_init_writes_a_scenario_that_validates_and_never_replaces(tmp_path: Path) -> None:
    assert call("init", "mine.toml", cwd=tmp_path).returncode == 0
    done = call("validate", "mine.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "(8, 1e-05)-DP for one training example" in done.stdout
    refused(call("init", "mine.toml", cwd=tmp_path), 2, "exists; choose another name")
    assert call("init", "mine.toml", "--force", cwd=tmp_path).returncode == 0


def test_the_report_shows_the_row_and_escapes_what_users_wrote(tmp_path: Path) -> None:
    path = scenario_file(tmp_path, QUICK + "# <script>alert(1)</script>\n")
    assert call("run", path, "--out", "r", cwd=tmp_path).returncode == 0
    assert call("report", "r", cwd=tmp_path).returncode == 0
    page = (tmp_path / "r" / "report" / "index.html").read_text()
    assert "<script>alert" not in page
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


def test_the_version_is_that_of_the_package(tmp_path: Path) -> None:
    done = call("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, f"securefl {version('securefl')}")


def test_errors_are_json_where_json_is_asked_for(tmp_path: Path) -> None:
    for how in (("--display", "json"), ("--display=json",)):
        done = call("validate", "none.toml", *how, cwd=tmp_path)
        error = json.loads(done.stdout)
        assert (done.returncode, error["event"], error["exit"]) == (2, "error", 2)
        assert done.stderr == f"error: {error['error']}\n"
    assert call("validate", "none.toml", "--display", "plain", cwd=tmp_path).stdout == ""


def test_the_schema_is_printed(tmp_path: Path) -> None:
    assert json.loads(call("schema", cwd=tmp_path).stdout)["title"] == "Declaration"
