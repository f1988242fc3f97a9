"""No folder of anybody's machine is in what is handed on."""

from dataclasses import replace
from pathlib import Path

import pytest

from securefl.ui.report.document.paths import shared, without_folders, without_paths
from tests.ui.report.document.subjects import CHANCE, LABELS_SHOWN, SCOPE, findings_of


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("securefl audit a.toml --set x=1.5", "securefl audit a.toml --set x=1.5"),
        ("securefl audit runs/first --out=b/c", "securefl audit runs/first --out=b/c"),
        ("securefl audit /home/anna/a.toml", "securefl audit a.toml"),
        ("securefl audit /a.toml", "securefl audit a.toml"),
        ("securefl audit ~/a.toml --out=~anna/b", "securefl audit a.toml --out=b"),
        ("securefl audit ../../home/anna/a.toml", "securefl audit a.toml"),
        ("securefl audit '/home/anna b/a c.toml'", "securefl audit 'a c.toml'"),
        ("securefl audit /home/anna/", "securefl audit anna/"),
        ("securefl audit a.toml --out=/mnt/x/y/", "securefl audit a.toml --out=y/"),
        ("s --set data.path=/home/anna/r.csv", "s --set data.path=r.csv"),
        ('s --set \'p=["/home/a/b", "/c/d"]\'', 's --set \'p=["b", "d"]\''),
        (r"s 'C:\Users\anna\a.toml'", "s a.toml"),
        ("s --set a.name=python:/home/anna/r.py:f", "s --set a.name=python:r.py:f"),
        ("s --set 'a.name=python:/home/anna b/r.py:f'", "s --set a.name=python:r.py:f"),
        (r"s '\\server\share\a.toml'", "s a.toml"),
    ],
)
def test_absolute_folders_are_left_out_of_a_command(command: str, shown: str) -> None:
    assert without_paths(command) == shown


def test_a_command_that_no_shell_would_read_is_one_word() -> None:
    assert without_paths("securefl 'audit") == "'securefl '\"'\"'audit'"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rule python:/home/anna/r.py:f, weights equal", "rule python:r.py:f, weights equal"),
        ("rule python:/home/anna b/r.py:f (x=1)", "rule python:r.py:f (x=1)"),
        ("read '/home/anna/a.csv' twice", "read 'a.csv' twice"),
        ("from ~anna/x/a.csv, too", "from a.csv, too"),
        ("from ../../home/a.csv", "from a.csv"),
        (r"from C:\Users\anna\a.csv", "from a.csv"),
        ("0.020 [0.005, 0.050] / 0.062", "0.020 [0.005, 0.050] / 0.062"),
        ("4 of 10 clients, and/or more", "4 of 10 clients, and/or more"),
        ("docs/threat-model.md", "docs/threat-model.md"),
        ("https://example.org/a/b", "https://example.org/a/b"),
        ("(4, 1e-05)-DP", "(4, 1e-05)-DP"),
    ],
)
def test_absolute_folders_are_left_out_of_a_sentence(text: str, shown: str) -> None:
    assert without_folders(text) == shown


def test_every_text_of_findings_is_cleaned_and_their_command_cut_where_it_is_shown() -> None:
    path = "python:/home/anna/r.py:f"
    scope = replace(SCOPE, scenario=("rounds", f"rule {path}"))
    findings = findings_of(
        Path("f"),
        replace(CHANCE, why=path),
        exposures=(replace(LABELS_SHOWN, why=path),),
        scope=scope,
        command=f"securefl audit {path}",
    )
    findings = replace(findings, claim=path, notes=(path,))
    clean = shared(findings)
    texts = (clean.claim, *clean.notes, clean.lines[0].why, clean.exposures[0].why)
    assert set(texts) == {"python:r.py:f"}
    assert clean.scope is not None
    assert clean.scope.scenario == ("rounds", "rule python:r.py:f")
    assert clean.command == findings.command
    assert replace(clean.lines[0], why=path) == findings.lines[0]
    assert shared(replace(findings, scope=None)).scope is None
