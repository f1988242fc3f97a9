"""A wheel installs the code of the checkout, by its hash, and every file that the code reads."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from securefl.runs.environment import code_hash
from tests.paths import ROOT

SCRIPT = """
from securefl.runs.environment import code_hash
from securefl.studies.find import shipped_studies
from securefl.data.heart import load_heart
print(code_hash(), *shipped_studies())
load_heart(partition="natural", split_seed=0)
"""

COMMANDS = [
    "demo --out demo",
    "bench robustness --max-cells 2 --jobs 1 --out bench",
    "init scenario.toml",
    "audit scenario.toml --adversary server --shadows 0 --set rounds=3",
]


@pytest.mark.slow
def test_the_code_of_a_wheel_has_the_hash_of_the_checkout_and_brings_its_studies_and_records(
    tmp_path: Path,
) -> None:
    source = tmp_path / "source"  # building leaves folders behind
    for name in ("securefl", "attacks", "defenses"):
        shutil.copytree(ROOT / name, source / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(tmp_path),
        str(source),
    ]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("securefl-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if name.startswith("benchmarks/")]
        archive.extractall(tmp_path / "unpacked")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "unpacked"), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    hashed, *studies = done.stdout.split()
    assert hashed == code_hash()
    assert "robustness" in studies
    # What people do with it, from another folder: nothing may lie in the checkout only.
    for command in COMMANDS:
        ran = subprocess.run(
            [sys.executable, "-m", "securefl.ui.main", *command.split()],
            cwd=tmp_path,
            env={"PYTHONPATH": str(tmp_path / "unpacked"), "PATH": "", "NO_COLOR": "1"},
            capture_output=True,
            text=True,
        )
        assert ran.returncode == 0, (command, ran.stderr)
    assert (tmp_path / "demo/report/index.html").stat().st_size > 10_000
    assert len(list((tmp_path / "bench/cells").iterdir())) == 2
    assert list(tmp_path.glob("audits/*/audit-*.json"))
