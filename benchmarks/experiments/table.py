"""The rows, tables and the command line that all experiments share.

An experiment measures something and returns a Page; `main` reads the command line, prints the page
and writes its files:

    def measure(setup: Setup) -> Page:
        rows = list(setup.workers.map(one_run, range(10)))
        ...

    if __name__ == "__main__":
        sys.exit(main(measure, about=__doc__))
"""

import argparse
import csv
import io
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from securefl.runs.table import mean_and_error, with_error
from securefl.runs.threads import one_thread

NO_GOAL = "none"  # the goal of a figure that is only measured


class Row(NamedTuple):
    """One figure of a page, its goal, and whether the goal is met."""

    what: str
    goal: str
    measured: str
    met: bool

    @property
    def verdict(self) -> str:
        """Says whether the goal is met; empty without a goal."""
        if self.goal == NO_GOAL:
            return ""
        return "met" if self.met else "NOT met"


class Count(NamedTuple):
    """How often something is measured, as an option of the command line."""

    default: int
    help: str


class Setup(NamedTuple):
    """Everything that an experiment gets from the command line."""

    workers: Executor  # processes with one torch thread each
    folder: Path | None  # where results go; None if they are only printed
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Page:
    """The results of an experiment.

    Args:
        text: printed.
        files: path below the folder of --write -> text of the file.
    """

    text: str
    files: Mapping[str, str]


def main(
    measure: Callable[[Setup], Page],
    *,
    about: str | None,
    counts: Mapping[str, Count] | None = None,
    arguments: Sequence[str] | None = None,
) -> int:
    """Runs an experiment from the command line: measures, prints, and writes with --write.

    Args:
        measure: the experiment.
        about: help text, the module's docstring.
        counts: name -> further option.
        arguments: the command line; None for the process's own.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--write", type=Path, help="folder for the results")
    for name, count in (counts or {}).items():
        parser.add_argument(f"--{name}", type=int, default=count.default, help=count.help)
    chosen = parser.parse_args(arguments)
    # One thread each: processes would fight for cores, and float sums would depend on their number.
    one_thread()
    # Spawned, not forked: a forked process inherits torch's threads in an undefined state.
    with ProcessPoolExecutor(
        chosen.jobs,
        mp_context=get_context("spawn"),
        initializer=one_thread,
    ) as workers:
        numbers = {name: getattr(chosen, name) for name in counts or {}}
        page = measure(Setup(workers, chosen.write, numbers))
    sys.stdout.write(page.text)
    if chosen.write is not None:
        for path, text in page.files.items():
            (chosen.write / path).write_text(text, encoding="utf-8")
    return 0


def show(rows: Iterable[Row]) -> None:
    """Prints rows as they are measured, for a module that is run by itself."""
    one_thread()
    for row in rows:
        cells = (row.what, row.goal, row.measured, row.verdict)
        print(" | ".join(cells), flush=True)


def markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Yields the lines of a Markdown table."""
    yield _line(head)
    yield "|" + "---|" * len(head)
    for row in rows:
        yield _line(row)


def _line(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def csv_text(head: Sequence[str], rows: Iterable[Sequence[object]], *, digits: int) -> str:
    """Returns a CSV file: floats to so many digits, None as an empty cell."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    for row in rows:
        writer.writerow(f"{cell:.{digits}g}" if isinstance(cell, float) else cell for cell in row)
    return out.getvalue()


def plus_minus(values: Sequence[float], *, digits: int = 1) -> str:
    """Returns mean ± standard error of two values or more."""
    mean, error = _mean_and_error(values)
    return with_error(mean, error, digits=digits)


def percent(shares: Sequence[float]) -> str:
    """Returns mean ± standard error of two shares or more, in per cent."""
    mean, error = _mean_and_error(shares)
    return f"{with_error(100 * mean, 100 * error, digits=1)} %"


def _mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    mean, error = mean_and_error(values)
    if error is None:
        raise ValueError("a standard error needs two values, got 1")
    return mean, error
