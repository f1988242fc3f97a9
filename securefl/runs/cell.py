"""The folder of one scenario's run."""

import secrets
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from securefl.errors import RunFolderError
from securefl.files import append_line, read_json, read_lines, write_json, write_lines

if TYPE_CHECKING:  # torch: seconds that who only reads a folder need not wait
    from securefl.federation.record import RoundRecord
    from securefl.federation.values import Played, State


class Cell:
    """The folder of one scenario's run.

    Guarantees:
        - The checkpoint carries the record of its own round, so that a crash between the two files loses nothing.
        - No key, raw update or training record is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledgers = folder / "ledgers"
        self._status, self._rounds = folder / "status.json", folder / "rounds.jsonl"
        self._transcript, self.checkpoint = (
            folder / "transcript.jsonl",
            folder / "model.safetensors",
        )
        self._metrics, self._timings = folder / "metrics.json", folder / "timings.json"

    @property
    def hash(self) -> str:
        """The cell's name."""
        return self.folder.name

    def status(self) -> dict[str, Any]:
        """State, run name, round in progress, reason; state "new" before the first start. Raises RunFolderError."""
        status = read_json(self._status) if self._status.exists() else {"state": "new"}
        if "state" not in status:
            raise RunFolderError(f"{self._status} is damaged: it names no state")
        return status

    def metrics(self) -> dict[str, Any] | None:
        """The final metrics; None until there are some."""
        return read_json(self._metrics) if self._metrics.exists() else None

    def timings(self) -> dict[str, Any]:
        """`starts`, how often the cell was begun, and `stages`: name -> wall and CPU seconds, over all starts."""
        return read_json(self._timings) if self._timings.exists() else {"starts": 0, "stages": {}}

    def note_timings(self, timings: Mapping[str, Any]) -> None:
        """Keep what the cell has cost so far."""
        write_json(self._timings, timings)

    def rounds(self) -> list[dict[str, Any]]:
        """The records of the rounds, in order."""
        return read_lines(self._rounds)

    def open(self) -> str:
        """Make the folder if need be; the run's name, new or as it was."""
        self.folder.mkdir(parents=True, exist_ok=True)
        status = self.status()
        if "run" not in status:
            status = {"state": "new", "run": secrets.token_hex(8)}
            write_json(self._status, status)
        return str(status["run"])

    def last_good(self, start: "State") -> "State":
        """The state to go on from; files that ran ahead of or fell behind the checkpoint are put right.

        Raises:
            RunFolderError: the checkpoint or a record is damaged.
        """
        from securefl.runs.checkpoint import load_checkpoint

        if not self.checkpoint.exists():
            if self.rounds() or self.status().get("round", 0) > 0:
                raise RunFolderError(
                    f"the checkpoint {self.checkpoint} is gone, yet rounds were played; put a copy back"
                )
            write_lines(self._transcript, [])
            return start
        checkpoint = load_checkpoint(self.checkpoint)
        if checkpoint.state.weights.shape != start.weights.shape:
            raise RunFolderError(f"the checkpoint {self.checkpoint} belongs to another model")
        done = [record for record in self.rounds() if record["round"] < checkpoint.state.round]
        if len(done) < checkpoint.state.round:
            done.append(dict(checkpoint.record))
        if [record["round"] for record in done] != list(range(checkpoint.state.round)):
            raise RunFolderError(f"{self._rounds} is damaged: rounds are missing")
        write_lines(self._rounds, done)
        seen = read_lines(self._transcript)
        write_lines(
            self._transcript, [entry for entry in seen if entry["round"] < checkpoint.state.round]
        )
        return replace(checkpoint.state, name=start.name)  # a name belongs to its session

    def begin_round(self, round: int) -> None:
        """Note that a round is under way, before anything of it can leave a client."""
        write_json(self._status, {"state": "running", "run": self.status()["run"], "round": round})

    def finish_round(self, played: "Played") -> None:
        """Keep a round: what was seen, the new state with the record, then the record's own line."""
        for seen in played.observed:
            entry = {
                "party": seen.party,
                "kind": seen.kind,
                "about": seen.about,
                "shape": seen.shape,
                "bytes": seen.size,
            }
            append_line(self._transcript, {"round": played.record.round, **entry})
        self.keep(played.state, played.record)

    def keep(self, state: "State", record: "RoundRecord") -> None:
        """Write the checkpoint, then the record's line."""
        from securefl.runs.checkpoint import Checkpoint, save_checkpoint

        save_checkpoint(self.checkpoint, Checkpoint(state, asdict(record)))
        append_line(self._rounds, asdict(record))

    def finish(
        self, state: str, *, metrics: Mapping[str, Any] | None = None, reason: str = ""
    ) -> None:
        """End the cell as "done", "out of budget" or "failed"; the metrics first, so that "done" implies them."""
        if metrics is not None:
            write_json(self._metrics, metrics)
        status = {"state": state, "run": self.status()["run"], "reason": reason}
        write_json(self._status, status if state != "failed" else self.status() | status)
