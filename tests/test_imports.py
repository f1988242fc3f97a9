"""What importing costs, and what it must not pull in."""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

import securefl

SECUREFL = Path(sys.executable).with_name("securefl")


def modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_securefl_pulls_in_nothing_heavy() -> None:
    heavy = {"torch", "opacus", "tenseal", "matplotlib", "flwr", "numpy", "pydantic"}
    assert not modules_after("import securefl") & heavy


def test_running_a_federation_never_imports_torchvision() -> None:
    statement = "import securefl.demo, benchmarks.cli, securefl.doctor, securefl.report"
    assert not [name for name in modules_after(statement) if name.split(".")[0] == "torchvision"]


def test_medmnist_imports_beside_a_torchvision_that_does_not() -> None:
    assert "medmnist" in modules_after("import medmnist")


def test_help_is_quick() -> None:
    # The goal is .3 s on a quiet machine; a shared one gets .5 s for the median of five.
    times = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run([SECUREFL, "--help"], capture_output=True, check=True, env={**os.environ, "NO_COLOR": "1"})
        times.append(time.perf_counter() - started)
    assert statistics.median(times) < 0.5


def test_public_names_are_few_and_all_there() -> None:
    assert len(securefl.__all__) <= 16
    assert all(getattr(securefl, name) is not None for name in securefl.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Manager'"):
        _ = securefl.Manager
