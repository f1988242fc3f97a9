"""The README's quick start, and the commands that its pages show, word for word."""

import contextlib
import csv
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

import securefl
from securefl import parse_scenario
from tests.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str, page: str = "README.md") -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.S)


def run(lines: str, folder: Path) -> None:
    for line in lines.splitlines():
        program, *arguments = shlex.split(line)
        done = subprocess.run(
            [Path(sys.executable).parent / program, *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            env={**os.environ, "NO_COLOR": "1"},
        )
        assert done.returncode == 0, f"{line}: {done.stderr}"


def test_the_quick_start_works_word_for_word(tmp_path: Path) -> None:
    run(blocks("console")[0], tmp_path)
    script = subprocess.run(
        [sys.executable, "-c", blocks("python")[0]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert script.returncode == 0, script.stderr
    first, krum_refused, too_dear, elected = script.stdout.splitlines()
    assert len(first.split()) == 2
    assert "krum with f=1 needs 5 rows" in krum_refused
    assert "would exceed epsilon 8" in too_dear
    assert elected == "tensor([2.])"
    assert parse_scenario(blocks("toml")[0]).channel.kind == "masked"
    run(blocks("console", "docs/accounting.md")[-1], tmp_path)
    assert (tmp_path / "profile.svg").exists()


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150
    assert len(README.split()) <= 900


def test_a_study_and_the_queries_work_word_for_word(tmp_path: Path) -> None:
    run(blocks("console", "docs/studies.md")[-1], tmp_path)
    script = subprocess.run(
        [sys.executable, "-c", blocks("python", "docs/studies.md")[-1]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert script.returncode == 0, script.stderr
    expected = [("IID", "mean", "sign flip", "10 %", 1), ("IID", "mean", "sign flip", "20 %", 1)]
    printed = re.sub(r"\s+", " ", script.stdout)
    assert "IID mean sign flip 10 %" in printed
    with contextlib.chdir(tmp_path):
        found = duckdb.execute(blocks("sql", "docs/studies.md")[0]).fetchall()
    assert [(*row[:4], row[6]) for row in found] == expected
    with (tmp_path / "runs/robustness/results.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "accuracy"]
    assert [row[4] for row in found] == [float(row["value"]) for row in rows]


def test_every_public_name_is_used_in_the_readme() -> None:
    code = blocks("python")[0]
    assert not [name for name in securefl.__all__ if not re.search(rf"\b{name}\b", code)]


def test_the_two_commands_come_first() -> None:
    assert README.splitlines()[2].startswith("    make demo")
    assert README.splitlines()[3].startswith("    make test")


@pytest.mark.parametrize(
    "page", [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")], ids=lambda page: page.name
)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [
        link.split("#")[0]
        for link in re.findall(r"\]\(([^)\s]+)\)", text)
        if not link.startswith("http")
    ]
    assert [link for link in links if link and not (page.parent / link).exists()] == []


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    assert [
        page.name for page in (ROOT / "docs").glob("*.md") if page.name not in f"{index} index.md"
    ] == []
