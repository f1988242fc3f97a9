"""The README's quick start, word for word."""

import contextlib
import csv
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import duckdb

import securefl

README = (Path(__file__).parent.parent / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


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
        [sys.executable, "-c", blocks("python")[0]], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert script.returncode == 0, script.stderr
    first, krum_refused, too_dear, elected = script.stdout.splitlines()
    assert len(first.split()) == 2
    assert "krum with f=1 needs 5 rows" in krum_refused
    assert "would exceed epsilon 8" in too_dear
    assert elected == "tensor([2.])"
    run(blocks("console")[1], tmp_path)
    assert (tmp_path / "profile.svg").exists()


def test_a_study_and_the_queries_work_word_for_word(tmp_path: Path) -> None:
    run(blocks("console")[2], tmp_path)
    script = subprocess.run(
        [sys.executable, "-c", blocks("python")[1]], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert script.returncode == 0, script.stderr
    expected = [("IID", "mean", "sign flip", "10 %", 1), ("IID", "mean", "sign flip", "20 %", 1)]
    printed = re.sub(r"\s+", " ", script.stdout)
    assert "IID mean sign flip 10 %" in printed
    with contextlib.chdir(tmp_path):
        found = duckdb.execute(blocks("sql")[0]).fetchall()
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
