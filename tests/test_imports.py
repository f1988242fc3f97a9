"""What importing costs, and what it must not pull in."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import securefl

SECUREFL = str(Path(sys.executable).with_name("securefl"))


def modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_securefl_pulls_in_nothing_heavy() -> None:
    heavy = {"torch", "opacus", "tenseal", "matplotlib", "flwr", "numpy", "pydantic"}
    assert not modules_after("import securefl") & heavy


def test_the_commands_themselves_load_neither_torch_nor_pydantic() -> None:
    heavy = {"torch", "numpy", "pydantic", "cryptography", "flwr"}
    assert not modules_after("import securefl.ui.cli") & heavy


def test_running_a_federation_or_a_study_imports_neither_torchvision_nor_ray() -> None:
    rooms = ("demo", "main", "doctor", "report", "bench")
    statement = f"import {', '.join(f'securefl.ui.{room}' for room in rooms)}"
    statement += "; from securefl.runs.engines import EngineName, engine"
    statement += "; engine(EngineName.LOCAL, None, None).__enter__()"
    assert not {name.split(".")[0] for name in modules_after(statement)} & {"torchvision", "ray"}


def test_checking_a_scenario_loads_no_solver_accountant_or_optimizer() -> None:
    # Besides torch, each of these costs from a tenth of a second to a second of CPU.
    heavy = {"scipy", "dp_accounting", "opacus", "sklearn", "medmnist", "tenseal", "matplotlib"}
    statement = (
        "import securefl.ui.validate; "
        "from securefl.scenario.scenario import parse_scenario; "
        "from securefl.scenario.summary import summary; "
        "summary(parse_scenario(''))"
    )
    assert not modules_after(statement) & heavy


def test_medmnist_imports_beside_a_torchvision_that_does_not() -> None:
    assert "medmnist" in modules_after("import medmnist")


def cpu_seconds(*command: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "NO_COLOR": "1"}
    subprocess.run(command, capture_output=True, check=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_is_quick() -> None:
    # The best of five, next to the library that prints it: .24 against .18 s on a quiet machine,
    # twice that on a busy one. NumPy alone would be another .1 s.
    library = (sys.executable, "-c", "import typer, typer.rich_utils")
    times = [(cpu_seconds(SECUREFL, "--help"), cpu_seconds(*library)) for _ in range(5)]
    ours, theirs = (min(of_one) for of_one in zip(*times, strict=True))
    assert ours < 1.6 * theirs


def test_public_names_are_few_and_all_there() -> None:
    assert len(securefl.__all__) <= 16
    assert all(getattr(securefl, name) is not None for name in securefl.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Manager'"):
        _ = securefl.Manager


def test_reading_runs_and_their_claims_for_a_page_loads_no_torch() -> None:
    statement = "import securefl.ui.report, securefl.audit.lint, securefl.scenario.claim_words"
    assert not modules_after(statement) & {"torch", "opacus"}
