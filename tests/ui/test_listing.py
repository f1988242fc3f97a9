"""`securefl ls`: the same words as the code, quickly, and no wider than the terminal."""

import inspect
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from securefl.audit.threats import THREATS
from securefl.scenario import catalog
from securefl.scenario.entries import Entry
from securefl.studies.find import shipped_studies
from securefl.ui.commands.completion import complete_adversary, complete_list, complete_study
from securefl.ui.listing import listing, wrapped
from securefl.ui.names import ADVERSARIES, LISTS
from securefl.ui.sources import descriptions
from tests.commands import QUICK, call, refused, scenario_file

SECUREFL = Path(sys.executable).with_name("securefl")
TABLES: dict[str, Mapping[str, Entry]] = {
    "RULES": catalog.RULES,
    "PREFILTERS": catalog.PREFILTERS,
    "ATTACKS": catalog.ATTACKS,
    "MODELS": catalog.MODELS,
    "STEPS": catalog.STEPS,
}


@pytest.mark.parametrize("table", TABLES)
def test_the_source_says_what_the_imported_catalog_says(table: str) -> None:
    expected = [
        (
            name,
            tuple((inspect.getdoc(function) or "").splitlines()[0] for function in entry.functions),
            tuple(entry.parameters),
        )
        for name, entry in TABLES[table].items()
    ]
    assert [tuple(entry) for entry in descriptions(table)] == expected


def test_a_table_that_is_not_there_is_an_error() -> None:
    with pytest.raises(LookupError, match="has no table NONSENSE"):
        list(descriptions("NONSENSE"))


@pytest.mark.parametrize("kind", ["rules", "attacks"])
def test_plug_ins_are_listed_without_loading_what_takes_seconds(kind: str) -> None:
    code = f"import sys; sys.argv[1:] = ['ls', '{kind}']; from securefl.ui.cli import app\n"
    code += "try: app()\nexcept SystemExit: print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "securefl" in loaded
    assert not loaded & {"torch", "numpy", "scipy", "sklearn", "pandas", "opacus", "cryptography"}


def test_a_line_wraps_under_its_second_column_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line = "krum                    The row closest to its neighbours, by f and by distance."
    assert wrapped(line) == line  # a pipe gets whole lines
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setitem(os.environ, "COLUMNS", "50")
    assert wrapped(line).splitlines() == [
        "krum                    The row closest to its",
        "                        neighbours, by f and by",
        "                        distance.",
    ]


@pytest.mark.parametrize("kind", [kind for kind in LISTS if kind != "runs"])
def test_no_list_is_wider_than_the_terminal(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setitem(os.environ, "COLUMNS", "80")
    lines = [line for entry in listing(kind, Path()) for line in wrapped(entry).splitlines()]
    assert max(map(len, lines)) <= 80


def test_completion_offers_the_lists_the_adversaries_and_the_studies() -> None:
    assert complete_list("") == list(LISTS)
    assert complete_list("mo") == ["models"]
    assert complete_adversary("out") == ["outsider", "outsider-weights"]
    assert complete_study("") == list(shipped_studies())
    assert complete_study("rob") == ["robustness"]
    assert list(ADVERSARIES) == list(THREATS)


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("securefl ls pre", "prefilters"),
        ("securefl bench rob", "robustness"),
        ("securefl audit run --adversary mal", "malicious-server"),
    ],
)
def test_the_shell_is_offered_values(words: str, offered: str) -> None:
    """As bash asks: the program completes its own command line."""
    environment = {
        **os.environ,
        "_SECUREFL_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    done = subprocess.run([SECUREFL], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == [offered]


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
            "heart                     15 numbers, 2 classes, 490 training records; "
            "natural, halves, pooled, iid",
        ),
        (
            "data",
            "medmnist:dermamnist       images 3 x 28 x 28, 7 classes, 7007 training records; "
            "sizes 28, 64, 128",
        ),
        (
            "data",
            "14 labels, several a record, 78468 training records; sizes 28, 64, 128, 224; "
            "CC BY 4.0",
        ),
        ("data", "folder                    your own: "),
        ("channels", "ckks           2 stage(s) a round"),
        ("models", "Takes hidden."),
        ("steps", "fedadam"),
        ("channels", "plain          1 stage(s) a round"),
        ("channels", "masked         5 stage(s) a round, 8 with channel.sketch"),
    ],
)
def test_ls_shows_what_a_scenario_can_name(tmp_path: Path, what: str, line: str) -> None:
    done = call("ls", what, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert line in done.stdout


def test_ls_runs_shows_states(tmp_path: Path) -> None:
    call("run", scenario_file(tmp_path, QUICK), "--out", "runs/a", cwd=tmp_path)
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


def test_ls_threats_says_what_the_server_sees(tmp_path: Path) -> None:
    done = call("ls", "threats", cwd=tmp_path)
    assert done.returncode == 0
    # Many clients make blocks, and channel.groups makes groups: either has one sum.
    assert "masked   server: the sum over each block's or group's survivors, who" in done.stdout


def test_ls_alone_says_what_it_can_list(tmp_path: Path) -> None:
    done = call("ls", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == "securefl ls rules"
    assert all(
        call(*line.split()[1:], cwd=tmp_path).returncode == 0
        for line in done.stdout.splitlines()[3:5]
    )
