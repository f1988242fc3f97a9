"""How to repeat the runs of a folder."""

from pathlib import Path

import pytest

from securefl.files import read_json
from securefl.runs.environment import code_hash
from securefl.runs.folder import RunFolder
from securefl.ui.cli import app
from securefl.ui.report.looks import groups_of, looks_at
from securefl.ui.report.repeat import Repeat, repeat
from tests.ui.report.folders import CLAIM, SCENARIO, Made, claimed, made


def repeat_of(folder: Path, *, demo: bool = False) -> Repeat:
    run = RunFolder.open(folder)
    request = run.request()
    groups = groups_of(looks_at(run, request))
    return repeat(request, groups, read_json(folder / "env.json"), demo=demo)


@pytest.mark.parametrize(
    ("text", "command"),
    [
        (SCENARIO, "securefl run scenario.toml --out repeated"),
        (
            f"{SCENARIO}\n# --set rounds=2\n# --set data.name='a b'",
            "securefl run scenario.toml --set rounds=2 --set 'data.name='\"'\"'a b'\"'\"'' "
            "--out repeated",
        ),
    ],
)
def test_a_run_is_repeated_with_its_overrides(tmp_path: Path, text: str, command: str) -> None:
    folder = made(tmp_path / "run", [Made("a")], text=text)
    found = repeat_of(folder)
    assert found.command == command
    assert found.remarks == []
    assert found.made_with["code hash"] == code_hash()
    assert "torch" in found.made_with


def test_a_study_is_repeated_by_bench(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", [Made("a")], study="s", text="title = 's'\n# --set rounds=2")
    assert repeat_of(folder).command == "securefl bench study.toml --set rounds=2 --out repeated"


def test_several_runs_have_no_command_unless_the_demo_made_them(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", [Made("a"), Made("b")])
    found = repeat_of(folder)
    assert found.command == ""
    assert found.remarks[0].startswith("The runs were made together by Python code")
    assert repeat_of(folder, demo=True).command == "securefl demo --out repeated"


def test_noise_of_the_system_is_not_repeated_and_that_is_said(tmp_path: Path) -> None:
    found = repeat_of(made(tmp_path / "run", [Made("a", 0, CLAIM, metrics=claimed())]))
    assert found.remarks[0].startswith("Noise from the system is drawn again by a repetition")


def test_the_command_runs_in_the_folder_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made(tmp_path / "run", [Made("a")], text=f"{SCENARIO}\n# --set rounds=1")
    program, *words = repeat_of(folder).command.split()
    assert program == "securefl"
    monkeypatch.chdir(folder)
    app(words, standalone_mode=False)
    assert (folder / "repeated" / "results.csv").is_file()
