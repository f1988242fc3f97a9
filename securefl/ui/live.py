"""The display of a terminal: a live bar and coloured tables, through rich."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from securefl.runs.table import Row, cells, heads, metrics_shown
from securefl.ui.display import SilentDisplay
from securefl.ui.progress import Step

WIDEST_LABEL = 40  # characters of a row's label before it wraps
PADDING = 3  # characters that rich puts between two columns: a space, a rule, a space


class RichDisplay(SilentDisplay):
    """Draws one live bar at a time; trouble is printed above it and stays."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._bar: Progress | None = None
        self._label = ""

    def start(self, label: str, *, unit: str, total: int) -> None:
        """Draws an empty bar."""
        self._draw(label, total)

    def progress(self, step: Step) -> None:
        """Moves the bar, and prints alarms above it."""
        bar = self._bar
        # A run that first downloads its data has two works, each with a bar of its own.
        if bar is None or step.label != self._label:
            bar = self._draw(step.label, step.total)
        for alarm in step.alarms:
            self._warn(alarm)
        bar.update(bar.task_ids[0], completed=step.done, total=step.total, note=step.note)

    def finished(self) -> None:
        """Leaves the bar as it is; the next step would draw another one."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def table(self, title: str, rows: Iterable[Row]) -> None:
        """Prints a table, in several parts where the terminal is too narrow."""
        rows = list(rows)
        metrics = metrics_shown(rows)
        head = heads(metrics)
        lines = []
        for row in rows:
            if row.runs:
                lines.append(cells(row, metrics))
            else:
                self._warn(f"{row.label}: {row.note}")
        for place, columns in enumerate(parts([head, *lines], self._console.width)):
            table = Table(title="" if place else title, title_justify="left")
            table.add_column("", max_width=WIDEST_LABEL)
            for column in columns:
                # A number that wraps reads like two numbers.
                table.add_column(head[column], no_wrap=True)
            for line in lines:
                table.add_row(line[0], *(line[column] for column in columns))
            self._console.print(table)

    def line(self, text: str, **facts: Any) -> None:
        """Prints the sentence."""
        self.remark(text)

    def remark(self, text: str) -> None:
        """Prints the sentence as it is: brackets are no markup, and tables keep their lines."""
        is_table = "\n|" in text
        self._console.print(text, markup=False, highlight=False, soft_wrap=is_table)

    def _draw(self, label: str, total: int | None) -> Progress:
        self.finished()
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        note = TextColumn("{task.fields[note]}")
        self._bar = Progress(*columns, note, console=self._console)
        self._bar.add_task(label, total=total, note="")
        self._bar.start()
        self._label = label
        return self._bar

    def _warn(self, text: str) -> None:
        self._console.print(text, style="yellow", markup=False, highlight=False)


def parts(lines: Sequence[Sequence[str]], width: int) -> list[list[int]]:
    """Splits the columns after the first into groups that fit a terminal next to the first.

    Args:
        lines: the header and the rows, as text.
        width: characters of the terminal.

    Returns:
        Numbers of columns, in order; each group has one column at least.
    """
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    label = min(widths[0], WIDEST_LABEL)
    groups: list[list[int]] = []
    room = 0
    for column, needed in enumerate(widths[1:], start=1):
        room -= needed + PADDING
        if not groups or room < 0:
            groups.append([])
            # The label, its own padding, and the rules at both edges.
            room = width - label - PADDING - 1 - needed - PADDING
        groups[-1].append(column)
    return groups
