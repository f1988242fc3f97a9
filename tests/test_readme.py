"""The README's quick start, word for word."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import securefl

README = (Path(__file__).parent.parent / "README.md").read_text()


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", README, re.S)
    assert found is not None
    return found.group(1)


def test_the_quick_start_works_word_for_word(tmp_path: Path) -> None:
    environment = {**os.environ, "NO_COLOR": "1"}
    programs = Path(sys.executable).parent
    for line in block("console").splitlines():
        program, *arguments = shlex.split(line)
        done = subprocess.run(
            [programs / program, *arguments], cwd=tmp_path, capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0, f"{line}: {done.stderr}"
    script = subprocess.run(
        [sys.executable, "-c", block("python")], cwd=tmp_path, capture_output=True, text=True, env=environment
    )
    assert script.returncode == 0, script.stderr
    first, krum_refused, too_dear, elected = script.stdout.splitlines()
    assert len(first.split()) == 2
    assert "krum with f=1 needs 5 rows" in krum_refused
    assert "would exceed epsilon 8" in too_dear
    assert elected == "tensor([2.])"


def test_every_public_name_is_used_in_the_readme() -> None:
    code = block("python")
    assert not [name for name in securefl.__all__ if not re.search(rf"\b{name}\b", code)]


def test_the_two_commands_come_first() -> None:
    assert README.splitlines()[2].startswith("    make demo")
    assert README.splitlines()[3].startswith("    make test")
