"""Steps of the work that takes time, in the words of every display.

A step is a value: it holds the JSON object, the line of plain output and the position of a live
bar. Displays therefore know nothing about rounds, downloads and cells, and all say the same.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from securefl.federation.record import BARRED, RoundRecord

MEGABYTE = 1_000_000
STEPS_TO_PRINT = 10  # plain output prints each tenth of a run or of a download


@dataclass(frozen=True)
class Step:
    """One step of a work.

    Attributes:
        label: the name of the work; a live display draws one bar for each label.
        event: the kind of the JSON object.
        facts: the rest of the JSON object.
        text: the line of plain output; "" where there is nothing to print.
        stage: plain output prints `text` only when the stage changes; None prints it each time.
        done: units of work that are done.
        total: units of work in all; None while nobody knows.
        note: words behind a live bar.
        alarms: sentences about trouble, which are printed at once.
        idle: nothing ended; shown only when a display has been silent for long.
    """

    label: str
    event: str
    facts: Mapping[str, Any]
    text: str
    done: int
    total: int | None
    note: str
    stage: int | None = None
    alarms: tuple[str, ...] = ()
    idle: bool = False


class Place(NamedTuple):
    """How far a round is.

    Attributes:
        round: that is played, from 0; None while it is not known.
        client: that trains.
        clients: of the federation.
        step: the local steps that it has taken.
        steps: its local steps in the round.
    """

    round: int | None
    client: int
    clients: int
    step: int
    steps: int


def round_step(label: str, record: RoundRecord, rounds: int) -> Step:
    """A round of a run is over; round numbers of people start at 1, those of records at 0."""
    number = record.round + 1
    alarms = list(_alarms(f"{label}: round {number}", record))
    if record.abandoned:
        alarms.insert(0, f"{label}: round {number} abandoned: {record.reason}")
    position = f"{number}/{rounds}"
    quality = _quality(record)
    facts = {
        "label": label,
        "round": record.round,
        "abandoned": record.abandoned,
        "reason": record.reason,
        "absent": dict(record.absent),
        "accuracy": record.accuracy,
        "evaluated": record.evaluated,
    }
    if record.rmse is not None:
        facts["rmse"] = record.rmse
    if record.named:
        facts["named"] = dict(record.named)
    if record.paired:
        facts["paired"] = [list(pair) for pair in record.paired]
    return Step(
        label,
        "round",
        facts,
        # A round without a number was not evaluated: plain output waits for one that was.
        text=f"{label}: round {position}{quality}" if quality else "",
        stage=STEPS_TO_PRINT * (record.round + 1) // rounds,
        done=record.round + 1,
        total=rounds,
        note=f"{position}{quality}" if record.evaluated else f"{position}, not evaluated",
        alarms=tuple(alarms),
    )


def _alarms(place: str, record: RoundRecord) -> Iterator[str]:
    """Yields who was absent and who was found lying; who was so before is no news."""
    for client, why in record.absent.items():
        if not why.startswith(BARRED):
            yield f"{place}, client {client} absent: {why}"
    for client, why in record.named.items():
        yield f"{place}, client {client} was found lying: {why}"
    for one, other in record.paired:
        yield f"{place}, client {one} or client {other} lied"


def _quality(record: RoundRecord) -> str:
    """The quality of the model after the round, in words; empty where it was not measured."""
    if record.rmse is not None:
        return f", RMSE {record.rmse:.4g}"
    return "" if record.accuracy is None else f", accuracy {record.accuracy:.3f}"


def local_step(label: str, place: "Place", rounds: int) -> Step:
    """A client is within a round that takes long; clients of people start at 1, ids at 0.

    Plain and JSON output show it after a long silence only.
    """
    done = place.round or 0
    within = (
        f"client {place.client + 1} of {place.clients}, local step {place.step} of {place.steps}"
    )
    after = "" if place.round is None else f"{done}/{rounds} rounds, "
    return Step(
        label,
        "step",
        {"label": label, **place._asdict()},
        text=f"{label}: {after}{within}",
        done=done,
        total=rounds,
        note=f"{after}{within}",
        idle=True,
    )


def run_step(label: str, run: str, done: int, total: int) -> Step:
    """One run of several is over.

    It shows no accuracy: several runs differ in what they try, and a run under attack would look
    like a failure of the whole.
    """
    text = f"{done} of {total} runs"
    return Step(
        label,
        "run",
        {"label": label, "run": run, "done": done, "total": total},
        text=f"{label}: {text}",
        stage=STEPS_TO_PRINT * done // total,
        done=done,
        total=total,
        note=f"{text}: {run}",
    )


def download_step(file: str, done: int, total: int | None) -> Step:
    """`done` bytes of a file have arrived; `total` is known where the server says it."""
    size = f"{done / MEGABYTE:.1f} MB"
    if total is not None:
        size += f" of {total / MEGABYTE:.1f} MB"
    return Step(
        f"downloading {file}",
        "download",
        {"file": file, "bytes": done, "total": total},
        text=f"downloading {file}: {size}",
        stage=done // _bytes_a_line(total),
        done=done,
        total=total,
        note=size,
    )


def files_step(done: int, total: int) -> Step:
    """So many steps of reading somebody's files are done; a file is two steps.

    Plain and JSON output show it after a long silence only.
    """
    share = f"{done} of {total} steps"
    return Step(
        "reading DICOM files",
        "files",
        {"done": done, "total": total},
        text=f"reading DICOM files: {share}",
        done=done,
        total=total,
        note=share,
        idle=True,
    )


def _bytes_a_line(total: int | None) -> int:
    """A tenth of the file, or 10 MB where its size is not known."""
    if not total:
        return STEPS_TO_PRINT * MEGABYTE
    return max(total // STEPS_TO_PRINT, 1)
