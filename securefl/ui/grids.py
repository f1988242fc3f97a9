"""Steps of a grid of cells, and the words for how far the grid is."""

from securefl.runs.cell import CellState
from securefl.runs.pool import Event, Finished, Started
from securefl.studies.grid import Tally
from securefl.ui.progress import Step


def cell_step(study: str, title: str, tally: Tally, event: Event) -> Step:
    """An event of the cell `title`, and the tally after it; no title where nothing happened."""
    ended = tally.done + tally.failed + tally.out_of_budget
    total = ended + tally.left + len(tally.running)
    words = counts(tally)
    facts = {
        **({"cell": title} if title else {}),
        **_facts_of(event),
        "running": dict(tally.running),
        **{name: getattr(tally, name) for name in ("done", "out_of_budget", "failed", "left")},
        "seconds_left": tally.seconds_left,
    }
    if isinstance(event, Finished):
        outcome = f"{event.state}: {title} ({event.seconds:.1f} s)"
        if event.state is CellState.DONE:
            return Step(study, "finished", facts, f"{outcome}; {words}", ended, total, words)
        alarm = f"{outcome}: {event.reason}"
        return Step(study, "finished", facts, words, ended, total, words, alarms=(alarm,))
    if isinstance(event, Started):
        return Step(study, "started", facts, "", ended, total, words)
    played = ", ".join(map(str, tally.running.values()))
    text = f"still running: {words}; rounds played: {played}"
    return Step(study, "heartbeat", facts, text, ended, total, words, idle=True)


def _facts_of(event: Event) -> dict[str, object]:
    if not isinstance(event, Finished):
        return {}
    return {"state": event.state, "reason": event.reason, "seconds": event.seconds}


def counts(tally: Tally) -> str:
    """The tally in words."""
    parts = [f"{tally.done} done"]
    if tally.out_of_budget:
        parts.append(f"{tally.out_of_budget} out of budget")
    parts.append(f"{len(tally.running)} running")
    parts.append(f"{tally.failed} failed")
    parts.append(f"{tally.left} left")
    if tally.seconds_left is not None:
        parts.append(f"about {duration(tally.seconds_left)} to go")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Seconds in the unit that people would use: "59 s", "12 min", "1 h 30 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    # Rounded to minutes before it is split, or 3,599 s would read "0 h 60 min".
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"
