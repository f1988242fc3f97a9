"""The folder of one scenario's run."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from securefl.errors import RunFolderError
from securefl.federation.record import RoundRecord
from securefl.files import append_line, read_json, read_lines, write_json, write_lines
from securefl.privacy.events import FIT_ROUND
from securefl.runs.metrics import RunMetrics, checked_metrics
from securefl.runs.timings import Timings
from securefl.runs.transcript import Transcript

if TYPE_CHECKING:  # torch takes seconds to import, which a mere look at a folder need not wait for
    from torch import Size

    from securefl.channels.protocol import Header
    from securefl.federation.values import Played, State


class CellState(StrEnum):
    """How far a cell has come, in the words of status.json."""

    NEW = "new"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    OUT_OF_BUDGET = "out of budget"

    @property
    def ended(self) -> bool:
        """Whether the cell has metrics and is not run again."""
        return self in (CellState.DONE, CellState.OUT_OF_BUDGET)


@dataclass(frozen=True)
class Status:
    """What status.json says of a cell.

    Args:
        state: how far the cell has come.
        run: name of the run, which its ledgers repeat; empty before the cell is opened.
        round: the round in progress, or the one that failed; None elsewhere.
        reason: why the cell ended as it did, empty for "done"; None before it ended.
    """

    state: CellState = CellState.NEW
    run: str = ""
    round: int | None = None
    reason: str | None = None

    @classmethod
    def from_json(cls, values: Mapping[str, object]) -> Self:
        """Raises ValueError where a value is of another kind, or the state is none of ours."""
        state = values.get("state")
        run = values.get("run", "")
        round = values.get("round")
        reason = values.get("reason")
        if not isinstance(state, str) or state not in list(CellState):
            raise ValueError("it names no state")
        if not isinstance(run, str) or not isinstance(round, int | None):
            raise ValueError(f"its run is {run!r}, its round {round!r}")
        if not isinstance(reason, str | None):
            raise ValueError(f"its reason is {reason!r}")
        return cls(CellState(state), run, round, reason)

    def to_json(self) -> dict[str, object]:
        """Returns the values that are set, in the order of the file."""
        return {key: value for key, value in asdict(self).items() if value is not None}


class Cell:
    """The folder of one scenario's run.

    Guarantees:
        - The checkpoint carries the record of its own round: a crash between the two files loses
          nothing.
        - No key or training record is written. A raw update is, where a server waits for no cohort:
          those on their way lie in the checkpoint until the run ends.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    # A study looks at thousands of cells, and of most at one file: paths are made when asked for.

    @property
    def ledgers(self) -> Path:
        """The folder of the clients' ledgers."""
        return self.folder / "ledgers"

    @property
    def keeps(self) -> Path:
        """The folder of what clients keep from round to round, one folder a client."""
        return self.folder / "clients"

    @property
    def checkpoint(self) -> Path:
        """The model, with the server's state while the run goes on."""
        return self.folder / "model.safetensors"

    @property
    def best(self) -> Path:
        """The best model so far, where a run ends with it; see `runs.best`."""
        return self.folder / "best.safetensors"

    @property
    def _status(self) -> Path:
        return self.folder / "status.json"

    @property
    def _rounds(self) -> Path:
        return self.folder / "rounds.jsonl"

    @property
    def _transcript(self) -> Transcript:
        return Transcript(self.folder / "transcript.jsonl")

    @property
    def _metrics(self) -> Path:
        return self.folder / "metrics.json"

    @property
    def _timings(self) -> Path:
        return self.folder / "timings.json"

    @property
    def hash(self) -> str:
        """The cell's name."""
        return self.folder.name

    def status(self) -> Status:
        """Returns how far the cell has come; state "new" before the first start.

        Raises:
            RunFolderError: the file is damaged.
        """
        if not self._status.exists():
            return Status()
        try:
            return Status.from_json(read_json(self._status))
        except ValueError as damage:
            raise RunFolderError(f"{self._status} is damaged: {damage}") from None

    def metrics(self) -> RunMetrics | None:
        """Returns the final metrics, None before there are some. Raises RunFolderError."""
        if not self._metrics.exists():
            return None
        try:
            return checked_metrics(read_json(self._metrics))
        except ValueError as damage:
            raise RunFolderError(f"{self._metrics} is damaged: {damage}") from None

    def timings(self) -> Timings:
        """Returns what the cell has cost so far. Raises RunFolderError."""
        if not self._timings.exists():
            return Timings(0, {})
        try:
            return Timings.from_json(read_json(self._timings))
        except ValueError:
            raise RunFolderError(f"{self._timings} is damaged: it holds no timings") from None

    def note_timings(self, timings: Timings) -> None:
        """Keeps what the cell has cost so far."""
        write_json(self._timings, timings.to_json())

    def rounds(self) -> list[RoundRecord]:
        """Returns the records of the rounds, in order. Raises RunFolderError."""
        try:
            return [RoundRecord.from_json(line) for line in read_lines(self._rounds)]
        except ValueError as damage:
            raise RunFolderError(f"{self._rounds} is damaged: {damage}") from None

    def round_lines(self) -> Sequence[Mapping[str, Any]]:
        """Returns the records as they lie on the disk, for checks that look at damaged folders."""
        return read_lines(self._rounds)

    def transcript_lines(self, *, most: int | None = None) -> Sequence[Mapping[str, Any]]:
        """Returns the transcript's first lines as they lie on the disk. Raises RunFolderError."""
        return read_lines(self._transcript.path, most=most)

    def open(self) -> str:
        """Makes the folder if need be, and returns the run's name, new or as it was."""
        self.folder.mkdir(parents=True, exist_ok=True)
        status = self.status()
        if not status.run:
            status = Status(run=secrets.token_hex(8))
            write_json(self._status, status.to_json())
        return status.run

    def last_good(self, start: "State", shapes: "Mapping[str, Size]") -> "State":
        """Returns the state to go on from.

        A crash may leave rounds.jsonl and the transcript ahead of the checkpoint or behind it; both
        are brought to the checkpoint's round first.

        Args:
            start: the state before the first round.
            shapes: the model's parameters, in the order of the vector.

        Raises:
            RunFolderError: the checkpoint or a record is damaged.
        """
        from securefl.runs.checkpoint import load_checkpoint

        if not self.checkpoint.exists():
            if self.rounds() or (self.status().round or 0) > 0:
                raise RunFolderError(
                    f"the checkpoint {self.checkpoint} is gone, yet rounds were played; "
                    "put a copy back"
                )
            self._transcript.cut(FIT_ROUND + 1)
            return start
        checkpoint = load_checkpoint(self.checkpoint)
        if not checkpoint.fits(start.weights, shapes):
            raise RunFolderError(f"the checkpoint {self.checkpoint} belongs to another model")
        self._cut(checkpoint.state.round, checkpoint.record)
        # A name belongs to the session that made it, and this is another session.
        return replace(checkpoint.state, name=start.name)

    def _cut(self, round: int, last: Mapping[str, object]) -> None:
        """Brings rounds.jsonl and the transcript to `round`; `last` is the checkpoint's record."""
        # The lines go back as they were read: a record may hold keys of a later version.
        records = zip(self.rounds(), read_lines(self._rounds), strict=True)
        lines = [line for record, line in records if record.round < round]
        if len(lines) < round:
            lines.append(dict(last))
        if [line["round"] for line in lines] != list(range(round)):
            raise RunFolderError(f"{self._rounds} is damaged: rounds are missing")
        write_lines(self._rounds, lines)
        self._transcript.cut(round)

    def begin_round(self, round: int) -> None:
        """Notes that a round is under way, before anything can leave a client."""
        status = Status(CellState.RUNNING, self.status().run, round)
        write_json(self._status, status.to_json())

    def finish_round(self, played: "Played", shapes: "Mapping[str, Size]") -> None:
        """Keeps a round: what parties observed, then `keep`."""
        self.note_seen(played.record.round, played.observed)
        self.keep(played.state, played.record, shapes)

    def note_seen(self, round: int, observed: "Sequence[Header]") -> None:
        """Writes what parties observed in a round, or after it, into the transcript."""
        self._transcript.note(round, observed)

    def note_fit(self, observed: "Sequence[Header]") -> None:
        """Writes what parties observed in the fit that precedes the rounds, in place of any line.

        A fit that a crash cut short is noted once, with the one that ends.
        """
        self._transcript.cut(FIT_ROUND)
        self._transcript.note(FIT_ROUND, observed)

    def keep(self, state: "State", record: RoundRecord, shapes: "Mapping[str, Size]") -> None:
        """Writes the checkpoint, then the record's line; `shapes` are the model's parameters."""
        from securefl.runs.checkpoint import Checkpoint, save_checkpoint

        # The checkpoint holds the record as well, so a crash before the next line loses nothing.
        save_checkpoint(self.checkpoint, Checkpoint(state, record.to_json()), shapes)
        append_line(self._rounds, record.to_json())

    def keep_model(self, state: "State", shapes: "Mapping[str, Size]") -> None:
        """Takes the server's state out of the checkpoint of a run that has ended.

        The model alone remains, which `load_state_dict` takes as it is; where the run ends with the
        best model so far, it is that one.
        """
        from securefl.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

        if state.step_state or self.best.exists():
            model = replace(state, step_state={})
            record = load_checkpoint(self.checkpoint).record
            save_checkpoint(self.checkpoint, Checkpoint(model, record), shapes)

    def finish(
        self, state: CellState, *, metrics: RunMetrics | None = None, reason: str = ""
    ) -> None:
        """Ends the cell."""
        if metrics is not None:
            # Before the status: a crash in between leaves a cell that runs again, not one that is
            # done without numbers.
            write_json(self._metrics, metrics)
        status = self.status()
        # A failed cell still says in which round; resuming it must not take the checkpoint's
        # absence for a fresh start.
        round = status.round if state is CellState.FAILED else None
        write_json(self._status, Status(state, status.run, round, reason).to_json())

    def fail(self, reason: str) -> None:
        """Ends the cell as failed, also before its folder exists; a cell that ended stays so."""
        self.open()
        if not self.status().state.ended:
            self.finish(CellState.FAILED, reason=reason)
