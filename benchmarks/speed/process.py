"""Measurements in processes of their own: each prints one line of JSON."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from securefl.runs.threads import environment_of_one_thread

_STDERR_SHOWN = 2000  # characters


@dataclass(frozen=True)
class Answer:
    """The line of JSON that a measurement printed."""

    values: Mapping[str, object]

    def number(self, name: str) -> float:
        """Returns a number; raises TypeError for anything else."""
        value = self.values[name]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{name} must be a number, got {value!r}")
        return float(value)

    def text(self, name: str) -> str:
        """Returns a text or a whole number as text."""
        return str(self.values[name])


def run(command: Sequence[str]) -> Answer:
    """Runs a measurement with one thread per library.

    Raises:
        SystemExit: the command failed; with the end of its error output.
    """
    environment = environment_of_one_thread()
    done = subprocess.run(  # noqa: S603
        command, capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-_STDERR_SHOWN:]}")
    return Answer(json.loads(done.stdout.splitlines()[-1]))


def options(**values: int | str) -> tuple[str, ...]:
    """Returns values as command line options."""
    return tuple(word for name, value in values.items() for word in (f"--{name}", str(value)))
