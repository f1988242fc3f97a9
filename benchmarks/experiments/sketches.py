"""What sketches of updates show, and how well rules choose by them.

Run by `make bench-sketches`. Prints one table as Markdown; with --write it goes to
docs/results/sketches.md. No protocol is played: sketches are computed in the clear.
"""

import sys
from collections.abc import Mapping
from concurrent.futures import Future

from benchmarks.experiments import sketch_choices, sketch_mixes, sketch_questions
from benchmarks.experiments.table import Page, Row, Setup, main, markdown

SOURCES = {
    "membership": sketch_questions.rows,
    "class mixes": sketch_mixes.rows,
    "choices": sketch_choices.rows,
}
_INTRO = """\
Twenty clients on digits, `mlp` with 64 hidden neurons. A sketch of an update has k coordinates,
products with rows of entries 0, +1 and -1. The matrix is drawn anew each round. All figures are
computed in the clear, with the numbers that a server sees under `sketch = k`. Mean ± standard error
over seeds that were fixed beforehand; nothing here has a goal.

- **Membership.** A client that colludes with the server submits a direction: the gradient of a
  record. From the distances the server reads how far each other client's update went that way. It
  asks again in every round. The AUC is that of one client's own records against records of nobody,
  a mean over all clients, which trained five local epochs on 40 records each. Without a colluder
  the server has the distances and the opened sum. Distances do not change when all updates move
  together, and say nothing of a direction, so the row of the sum is what it has.
- **Class mixes.** R2 of the clients' shares of each class, over ten rounds of one local epoch. One
  server knows the mixes of nineteen clients and estimates the twentieth, by a ridge regression on
  the directions of updates, as the distances give them. The other knows no mix; each round four
  colluders submit the usual gradient of a class. Better estimates may exist.
- **Choices.** Ten rounds in which a rule chooses by rows. The same rule chooses from sketches of
  the same rows. For sketches of 16, 64 and 256: how many of the clients chosen by rows it chooses,
  and how many of the four liars it chooses, of twenty clients, a round. Without an attack the four
  are honest.
"""


def measured_rows(name: str) -> list[Row]:
    """Returns the rows of one source."""
    return list(SOURCES[name]())


def page(rows: Mapping[str, list[Row]]) -> str:
    """Returns the page: a table for each source."""
    lines = ["# What sketches show", "", "Made by `make bench-sketches`.", "", _INTRO]
    for name, measured in rows.items():
        cells = [[row.what, row.measured] for row in measured]
        lines += [f"## {name.capitalize()}", "", *markdown(("what", "measured"), cells), ""]
    return "\n".join(lines[:-1]) + "\n"


def measure(setup: Setup) -> Page:
    """Measures all sources, each in a process of its own."""
    waiting: dict[str, Future[list[Row]]] = {
        name: setup.workers.submit(measured_rows, name) for name in SOURCES
    }
    text = page({name: rows.result() for name, rows in waiting.items()})
    return Page(text, {"sketches.md": text})


if __name__ == "__main__":
    sys.exit(main(measure, about=__doc__))
