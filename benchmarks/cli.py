"""The console entry point: the commands of securefl, and those of the benchmarks."""

import os


def main() -> None:
    """Run the command line and exit with its code."""
    for library in ("OMP", "OPENBLAS", "MKL"):  # one thread a process; read when numpy and torch are first imported
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    from securefl.cli import app, guarded

    guarded(app)
