"""The console entry point."""

import os

from securefl.ui.cli import app
from securefl.ui.guard import guarded

MATH_LIBRARIES = ("OMP", "OPENBLAS", "MKL")


def main() -> None:
    """Runs the command line and exits with its code."""
    # One thread a process: several workers with several threads each only wait for one another.
    # The libraries read these when numpy and torch are first imported, so they are set here.
    for library in MATH_LIBRARIES:
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    guarded(app)


if __name__ == "__main__":
    main()
