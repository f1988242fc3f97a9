"""The package `attacks` as its users import it."""

import subprocess
import sys


def test_importing_attacks_loads_no_solver_and_no_statistics() -> None:
    # They take a second, which `ls attacks` and every scenario would wait.
    program = "import attacks, sys; print({'scipy.stats', 'scipy.optimize'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
