"""The console entry point: the commands of securefl, and those of the benchmarks."""

from securefl.cli import app, guarded


def main() -> None:
    """Run the command line and exit with its code."""
    guarded(app)
