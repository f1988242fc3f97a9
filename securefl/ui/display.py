"""What the command line shows while it works, in four forms; nothing else prints."""

import json
from collections.abc import Iterable
from typing import Any, Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from securefl.runs.table import COLUMNS, Row, cells, plain
from securefl.ui.styles import Style, usual_style


class Display(Protocol):
    """Progress, tables and single lines."""

    def download(self, file: str, done: int, total: int | None) -> None:
        """So many bytes of a file have come; total where the server says it."""

    def start(self, label: str, rounds: int) -> None:
        """A run of so many rounds begins."""

    def round(self, record: Any) -> None:
        """A round is over; record is a RoundRecord."""

    def stop(self) -> None:
        """The run is over."""

    def table(self, title: str, rows: Iterable[Row]) -> None:
        """Results, one row a run."""

    def line(self, text: str, **facts: Any) -> None:
        """One sentence, and the same as facts."""


def make_display(style: Style | None) -> Display:
    """The display asked for; rich on a terminal and plain elsewhere by default."""
    made: dict[Style, type[Display]] = {
        Style.RICH: RichDisplay,
        Style.PLAIN: PlainDisplay,
        Style.JSON: JsonDisplay,
        Style.NONE: SilentDisplay,
    }
    return made[usual_style(style)]()


class SilentDisplay(Display):
    """Shows nothing."""

    def download(self, file: str, done: int, total: int | None) -> None:
        """Nothing."""

    def start(self, label: str, rounds: int) -> None:
        """Nothing."""

    def round(self, record: Any) -> None:
        """Nothing."""

    def stop(self) -> None:
        """Nothing."""

    def table(self, title: str, rows: Iterable[Row]) -> None:
        """Nothing."""

    def line(self, text: str, **facts: Any) -> None:
        """Nothing."""


class PlainDisplay(SilentDisplay):
    """Lines without colour: every tenth of a run, every abandoned round, tables as text."""

    def __init__(self) -> None:
        self._label, self._rounds, self._shown = "", 1, -1
        self._stage = -1.0

    def download(self, file: str, done: int, total: int | None) -> None:
        """A line every tenth, or every 10 MB where the size is not known."""
        if (stage := done // (max(total, 10) // 10 if total else 10**7)) != self._stage:
            self._stage = stage
            told = f"{done / 1e6:.1f} MB" + (f" of {total / 1e6:.1f} MB" if total else "")
            print(f"downloading {file}: {told}", flush=True)

    def start(self, label: str, rounds: int) -> None:
        """Remember what runs."""
        self._label, self._rounds, self._shown = label, rounds, -1

    def round(self, record: Any) -> None:
        """A line now and then; always for an abandoned round or an absent client."""
        if record.abandoned:
            print(f"{self._label}: round {record.round} abandoned: {record.reason}", flush=True)
        for client, reason in record.absent.items():
            print(
                f"{self._label}: round {record.round}, client {client} absent: {reason}", flush=True
            )
        tenth = 10 * (record.round + 1) // self._rounds
        if tenth > self._shown and record.accuracy is not None:
            self._shown = tenth
            print(
                f"{self._label}: round {record.round + 1}/{self._rounds}, accuracy {record.accuracy:.3f}",
                flush=True,
            )

    def table(self, title: str, rows: Iterable[Row]) -> None:
        """An aligned table."""
        print(f"\n{title}\n\n{plain(rows)}\n", flush=True)

    def line(self, text: str, **facts: Any) -> None:
        """The sentence."""
        print(text, flush=True)


class JsonDisplay(SilentDisplay):
    """One JSON object a line."""

    def __init__(self) -> None:
        self._label = ""

    def download(self, file: str, done: int, total: int | None) -> None:
        """The bytes so far."""
        self._put("download", file=file, bytes=done, total=total)

    def start(self, label: str, rounds: int) -> None:
        """Announce the run."""
        self._label = label
        self._put("start", label=label, rounds=rounds)

    def round(self, record: Any) -> None:
        """The round in short."""
        self._put(
            "round",
            label=self._label,
            round=record.round,
            abandoned=record.abandoned,
            reason=record.reason,
            absent=dict(record.absent),
            accuracy=record.accuracy,
        )

    def table(self, title: str, rows: Iterable[Row]) -> None:
        """One object a row."""
        for row in rows:
            self._put("row", label=row.label, runs=[dict(run) for run in row.runs], note=row.note)

    def line(self, text: str, **facts: Any) -> None:
        """The facts, or the sentence where there are none."""
        self._put("line", **(facts or {"text": text}))

    def _put(self, event: str, **facts: Any) -> None:
        print(json.dumps({"event": event, **facts}), flush=True)


class RichDisplay(SilentDisplay):
    """A live bar and coloured tables."""

    def __init__(self) -> None:
        self._console = Console()
        self._progress: Progress | None = None
        self._run, self._file = ("", 1), ""

    def download(self, file: str, done: int, total: int | None) -> None:
        """A bar a file."""
        if self._progress is None or self._file != file:
            self.stop()
            columns = (TextColumn("downloading {task.description}"), BarColumn(), DownloadColumn())
            self._progress, self._file = Progress(*columns, console=self._console), file
            self._progress.add_task(file, total=total)
            self._progress.start()
        self._progress.update(self._progress.task_ids[0], completed=done)

    def start(self, label: str, rounds: int) -> None:
        """A new bar."""
        self._run = (label, rounds)
        self._start_run()

    def _start_run(self) -> Progress:
        self.stop()
        columns = (
            TextColumn("{task.description:<32}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self._progress = Progress(
            *columns, TextColumn("{task.fields[note]}"), console=self._console
        )
        self._progress.add_task(self._run[0], total=self._run[1], note="")
        self._progress.start()
        return self._progress

    def round(self, record: Any) -> None:
        """Move the bar; tell what went wrong above it."""
        bar = (
            self._start_run() if self._progress is None or self._file else self._progress
        )  # after a download
        if record.abandoned:
            self._console.print(
                f"round {record.round} abandoned: {record.reason}", style="yellow", markup=False
            )
        for client, reason in record.absent.items():
            self._console.print(
                f"round {record.round}, client {client} absent: {reason}",
                style="yellow",
                markup=False,
            )
        note = "" if record.accuracy is None else f"accuracy {record.accuracy:.3f}"
        bar.update(bar.task_ids[0], completed=record.round + 1, note=note)

    def stop(self) -> None:
        """Leave the bar as it is."""
        if self._progress is not None:
            self._progress.stop()
            self._progress, self._file = None, ""

    def table(self, title: str, rows: Iterable[Row]) -> None:
        """A table with rules."""
        table = Table(title=title, title_justify="left")
        for name in COLUMNS:
            table.add_column(name)
        for row in rows:
            if row.runs:
                table.add_row(*cells(row))
            else:
                self._console.print(f"{row.label}: {row.note}", style="yellow", markup=False)
        self._console.print(table)

    def line(self, text: str, **facts: Any) -> None:
        """The sentence."""
        self._console.print(text, markup=False, highlight=False)
