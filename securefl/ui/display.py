"""What the command line shows while it works and when it is done: one display, four styles.

display = make_display(style)
display.start("heart", unit="rounds", total=20)
try:
run(scenario, on_round=lambda record: display.progress(round_step("heart", record, 20)))
finally:
display.finished()
display.line("run folder runs/heart", folder="runs/heart")
"""

import json
import time
from collections.abc import Iterable
from typing import Any, Protocol

from securefl.runs.table import Row, plain
from securefl.ui.progress import Step
from securefl.ui.styles import Style, usual_style

SECONDS_OF_SILENCE = 15.0  # then a step that says only "still running" is shown


class Display(Protocol):
    """Shows the progress of runs and grids, tables and single sentences."""

    def start(self, label: str, *, unit: str, total: int) -> None:
        """Announces a work of `total` units, such as rounds or cells."""

    def progress(self, step: Step) -> None:
        """Shows a step of the work."""

    def finished(self) -> None:
        """Ends the progress; called also when the work failed."""

    def table(self, title: str, rows: Iterable[Row]) -> None:
        """Shows results, one row a setting."""

    def line(self, text: str, **facts: Any) -> None:
        """Shows a sentence to people, and `facts` (or the sentence, without facts) to programs."""

    def remark(self, text: str) -> None:
        """Shows a sentence to people only."""


def make_display(style: Style | None) -> Display:
    """Returns the display of a style; without one, rich on a terminal and plain elsewhere."""
    chosen = usual_style(style)
    if chosen is Style.RICH:
        # rich takes a tenth of a second to import, and only a terminal needs it.
        from securefl.ui.live import RichDisplay

        return RichDisplay()
    displays = {Style.PLAIN: PlainDisplay, Style.JSON: JsonDisplay, Style.NONE: SilentDisplay}
    return displays[chosen]()


class SilentDisplay(Display):
    """Shows nothing; the other styles override what they show."""

    def start(self, label: str, *, unit: str, total: int) -> None:
        """Shows nothing."""

    def progress(self, step: Step) -> None:
        """Shows nothing."""

    def finished(self) -> None:
        """Shows nothing."""

    def table(self, title: str, rows: Iterable[Row]) -> None:
        """Shows nothing."""

    def line(self, text: str, **facts: Any) -> None:
        """Shows nothing."""

    def remark(self, text: str) -> None:
        """Shows nothing."""


class PlainDisplay(SilentDisplay):
    """Lines without colour, for log files and pipes."""

    def __init__(self) -> None:
        self._stage: tuple[str, int] | None = None
        self._printed_at = time.monotonic()

    def progress(self, step: Step) -> None:
        """Prints alarms at once, and other steps when their stage changes."""
        for alarm in step.alarms:
            self._print(alarm)
        if step.text and self._is_due(step):
            self._print(step.text)

    def table(self, title: str, rows: Iterable[Row]) -> None:
        """Prints an aligned table."""
        self._print(f"\n{title}\n\n{plain(rows)}\n")

    def line(self, text: str, **facts: Any) -> None:
        """Prints the sentence."""
        self._print(text)

    def remark(self, text: str) -> None:
        """Prints the sentence."""
        self._print(text)

    def _is_due(self, step: Step) -> bool:
        if step.idle:
            return time.monotonic() - self._printed_at > SECONDS_OF_SILENCE
        if step.stage is None:
            return True
        stage = (step.label, step.stage)
        is_new = stage != self._stage
        self._stage = stage
        return is_new

    def _print(self, text: str) -> None:
        self._printed_at = time.monotonic()
        # Flushed, or a reader of a pipe would see nothing until the command ends.
        print(text, flush=True)


class JsonDisplay(SilentDisplay):
    """One JSON object a line, for programs."""

    def __init__(self) -> None:
        self._printed_at = time.monotonic()

    def start(self, label: str, *, unit: str, total: int) -> None:
        """Prints the label and the size of the work."""
        self._put("start", label=label, **{unit: total})

    def progress(self, step: Step) -> None:
        """Prints the facts of a step; of an idle one only after a long silence."""
        silence = time.monotonic() - self._printed_at
        if not step.idle or silence > SECONDS_OF_SILENCE:
            self._put(step.event, **step.facts)

    def table(self, title: str, rows: Iterable[Row]) -> None:
        """Prints one object a row."""
        for row in rows:
            self._put("row", label=row.label, runs=[dict(run) for run in row.runs], note=row.note)

    def line(self, text: str, **facts: Any) -> None:
        """Prints the facts; a fact called "event" names the object."""
        event = facts.pop("event", "line")
        self._put(event, **(facts or {"text": text}))

    def _put(self, event: str, **facts: Any) -> None:
        self._printed_at = time.monotonic()
        print(json.dumps({"event": event, **facts}), flush=True)
