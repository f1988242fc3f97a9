"""Measurements in processes of their own: each prints one line of JSON."""

import json
import statistics
import subprocess
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from securefl.runs.threads import environment_of_one_thread

_STDERR_SHOWN = 2000  # characters
Side = TypeVar("Side", bound=Hashable)


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


def medians_in_turns(
    commands: Mapping[Side, Sequence[str]], *, of: Sequence[str], repeats: int
) -> dict[tuple[Side, str], float]:
    """Returns (side, name of a number) -> its median; the sides take turns.

    Args:
        commands: side -> the command that measures it.
        of: names of numbers that every command prints.
        repeats: turns, >= 1.
    """
    answers: dict[Side, list[Answer]] = {side: [] for side in commands}
    for _ in range(repeats):
        for side, command in commands.items():
            answers[side].append(run(command))
    return {
        (side, name): statistics.median(answer.number(name) for answer in measured)
        for side, measured in answers.items()
        for name in of
    }


def options(**values: int | str) -> tuple[str, ...]:
    """Returns values as command line options."""
    return tuple(word for name, value in values.items() for word in (f"--{name}", str(value)))
