"""A wheel installs the code of the checkout, by its hash, and every file that the code reads."""

import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from securefl.runs.environment import code_hash
from tests.paths import ROOT

SCRIPT = """
from securefl.runs.environment import code_hash
from securefl.studies.find import shipped_studies
from securefl.data.heart import load_heart
from securefl.data.published import figures_of, means
import securefl
print(securefl.__file__, code_hash(), *shipped_studies())
load_heart(partition="natural", split_seed=0)
assert figures_of("medmnist:breastmnist") and means()
"""

COMMANDS = [
    "demo --out demo",
    "bench robustness --max-cells 2 --jobs 1 --out bench",
    "init scenario.toml",
    "new rule mine --to made",
    "audit scenario.toml --adversary server --shadows 0 --set rounds=3",
]


OWN_CODE = """
from torch import nn


def build(task, *, width: int = 4):
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.MaxPool2d(4),
        nn.Flatten(),
        nn.Linear(width * 4, task.outputs),
    )


def rule(rows, *, f: int = 1):
    return rows.sort(dim=0).values[f : len(rows) - f].mean(dim=0)


def attack(rows, *, f, scale: float = 2.0):
    return -scale * rows[:f]
"""
OWN_STUDY = """
name = "own"
seeds = 2
metrics = ["accuracy"]

[base]
rounds = 2
data = { name = "arrays", path = "own.npz", test_share = 0.3, partition = "iid", clients = 5 }
model = "python:mine.py:build"
training = { kind = "sgd", lr = 0.1 }

[axes.rule]
"mean" = { "defense.rule" = "mean" }
"mine" = { "defense.rule" = { name = "python:mine.py:rule", f = 1 } }

[axes.attack]
"none" = {}
"mine" = { "attack" = { name = "python:mine.py:attack", clients = [0] } }
"""
OWN_SCENARIO = """
rounds = 2
model = "python:mine.py:build"
training = { kind = "dp_sgd", batch = 16 }
privacy = { records = [60, 60] }

[data]
name = "arrays"
path = "own.npz"
num_classes = 2
test_share = 0.3
partition = "iid"
clients = 2
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment in which a wheel is installed that was built from the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # building leaves folders behind
    for name in ("securefl", "attacks", "defenses"):
        shutil.copytree(ROOT / name, source / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    wheel_folder = ("--wheel-dir", str(folder), str(source))
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps")
    subprocess.run([*pip, *wheel_folder], check=True, capture_output=True)
    (wheel,) = folder.glob("securefl-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if name.startswith("benchmarks/")]
    made = folder / "env"
    venv.create(made, with_pip=False)
    (site,) = made.glob("lib/*/site-packages")
    # Libraries come from this environment, behind what is installed there: no network is needed.
    libraries = next(path for path in sys.path if path.endswith("site-packages"))
    (site / "outer.pth").write_text(f"import site; site.addsitedir({libraries!r})\n")
    install = (sys.executable, "-m", "pip", "--python", str(made / "bin/python"), "install")
    options = ("--quiet", "--no-index", "--no-deps", "--ignore-installed", str(wheel))
    subprocess.run([*install, *options], check=True, capture_output=True)
    return made


def spoken(made: Path, cwd: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Runs a program of the environment, with nothing of the checkout or of the account."""
    program, *arguments = command
    settings = {"SECUREFL_CACHE": str(cwd / "cache"), "SECUREFL_CONFIG": str(cwd / "settings")}
    return subprocess.run(
        [str(made / "bin" / program), *arguments],
        cwd=cwd,
        env={"PATH": "", "NO_COLOR": "1", **settings},
        capture_output=True,
        text=True,
    )


def securefl(made: Path, cwd: Path, command: str) -> subprocess.CompletedProcess[str]:
    return spoken(made, cwd, "securefl", *command.split())


@pytest.mark.slow
def test_the_code_of_a_wheel_has_the_hash_of_the_checkout_and_brings_its_studies_and_records(
    environment: Path, tmp_path: Path
) -> None:
    done = spoken(environment, tmp_path, "python", "-c", SCRIPT)
    assert done.returncode == 0, done.stderr
    file, hashed, *studies = done.stdout.split()
    assert Path(file).is_relative_to(environment)
    assert hashed == code_hash()
    assert "robustness" in studies
    # What people do with it, from another folder: nothing may lie in the checkout only.
    for command in COMMANDS:
        ran = securefl(environment, tmp_path, command)
        assert ran.returncode == 0, (command, ran.stderr)
    assert (tmp_path / "demo/report/index.html").stat().st_size > 10_000
    assert len(list((tmp_path / "bench/cells").iterdir())) == 2
    assert list(tmp_path.glob("audits/*/audit-*.json"))


@pytest.mark.slow
def test_with_a_wheel_somebody_compares_his_own_rule_on_his_own_records_and_network(
    environment: Path, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    labels = np.arange(150) % 2
    images = random.integers(0, 60, (150, 8, 8)) + 150 * labels[:, None, None]
    np.savez(tmp_path / "own.npz", train_images=images.astype(np.uint8), train_labels=labels)
    (tmp_path / "mine.py").write_text(OWN_CODE)
    (tmp_path / "study.toml").write_text(OWN_STUDY)
    (tmp_path / "private.toml").write_text(OWN_SCENARIO)
    refused = securefl(environment, tmp_path, "bench study.toml --out r")
    assert refused.returncode == 2
    assert "add --trust" in refused.stderr
    done = securefl(environment, tmp_path, "bench study.toml --trust . --jobs 1 --out r")
    assert done.returncode == 0, done.stderr
    results = pd.read_csv(tmp_path / "r" / "results.csv")
    accuracy = results[results["metric"] == "accuracy"]
    assert len(accuracy) == 8
    assert set(accuracy["rule"]) == {"mean", "mine"}
    # Batch norm mixes the records of a batch: no epsilon bounds that.
    private = securefl(environment, tmp_path, "run private.toml --out p")
    assert private.returncode == 2
    assert 'set model.batch_norm = "group"' in private.stderr
    private = securefl(
        environment, tmp_path, "run private.toml --out p --set model.batch_norm=group"
    )
    assert private.returncode == 0, private.stderr
    assert "GroupNorm" in (tmp_path / "p" / "resolved.json").read_text()
