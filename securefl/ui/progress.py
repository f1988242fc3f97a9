"""How a grid shows itself while it runs: a live line, plain lines, JSON lines, or nothing."""

import json
import time
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from securefl.runs.pool import Event, Finished, Started
from securefl.studies.grid import Tally
from securefl.ui.styles import Style

_QUIET = 15.0  # seconds after which plain output says that it still lives


class GridDisplay(Protocol):
    """Shows events of a grid, and the tally after each."""

    def show(self, title: str, tally: Tally, event: Event) -> None:
        """An event of the cell called title; title is empty where nothing happened."""

    def stop(self) -> None:
        """Nothing more will happen."""


def make_progress(style: Style, total: int) -> GridDisplay:
    """The display of a grid of so many cells."""
    if style is Style.RICH:
        return RichGrid(total)
    return {Style.PLAIN: PlainGrid, Style.JSON: JsonGrid, Style.NONE: SilentGrid}[style]()


def counts(tally: Tally) -> str:
    """The tally in words."""
    parts = [
        f"{tally.done} done",
        f"{len(tally.running)} running",
        f"{tally.failed} failed",
        f"{tally.left} left",
    ]
    if tally.out_of_budget:
        parts.insert(1, f"{tally.out_of_budget} out of budget")
    return ", ".join(parts) + (
        "" if tally.seconds_left is None else f", about {duration(tally.seconds_left)} to go"
    )


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"


class SilentGrid(GridDisplay):
    """Shows nothing."""

    def show(self, title: str, tally: Tally, event: Event) -> None:
        """Nothing."""

    def stop(self) -> None:
        """Nothing."""


class PlainGrid(SilentGrid):
    """A line for every cell that ends, and one now and then while none does."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def show(self, title: str, tally: Tally, event: Event) -> None:
        """A finished cell, what went wrong with it, and how the grid stands."""
        if isinstance(event, Finished):
            reason = f": {event.reason}" if event.state != "done" else ""
            self._print(f"{event.state}: {title} ({event.seconds:.1f} s){reason}; {counts(tally)}")
        elif time.monotonic() - self._last > _QUIET:
            self._print(
                f"still running: {counts(tally)}; rounds played: {', '.join(map(str, tally.running.values()))}"
            )

    def _print(self, text: str) -> None:
        self._last = time.monotonic()
        print(text, flush=True)


class JsonGrid(PlainGrid):
    """One JSON object a line."""

    def show(self, title: str, tally: Tally, event: Event) -> None:
        """Cells that start and end, and a heartbeat now and then."""
        if isinstance(event, Finished):
            self._put(
                tally,
                "finished",
                title,
                state=event.state,
                reason=event.reason,
                seconds=event.seconds,
            )
        elif isinstance(event, Started):
            self._put(tally, "started", title)
        elif time.monotonic() - self._last > _QUIET:
            self._put(tally, "heartbeat", title)

    def _put(self, tally: Tally, event: str, title: str, **facts: object) -> None:
        state = {
            name: getattr(tally, name)
            for name in ("done", "out_of_budget", "failed", "left", "seconds_left")
        }
        about = {"cell": title} if title else {}
        self._print(
            json.dumps({"event": event, **about, **facts, "running": dict(tally.running), **state})
        )


class RichGrid(SilentGrid):
    """A live bar; what went wrong stands above it."""

    def __init__(self, total: int) -> None:
        self._console = Console()
        self._bar = Progress(
            BarColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
        self._task = self._bar.add_task("starting", total=total)
        self._bar.start()

    def show(self, title: str, tally: Tally, event: Event) -> None:
        """Move the bar."""
        if isinstance(event, Finished) and event.state != "done":
            text = f"{event.state}: {title} ({event.seconds:.1f} s): {event.reason}"
            self._console.print(text, style="yellow", markup=False, highlight=False)
        ended = tally.done + tally.failed + tally.out_of_budget
        self._bar.update(self._task, completed=ended, description=counts(tally))

    def stop(self) -> None:
        """Take the bar away."""
        self._bar.stop()
