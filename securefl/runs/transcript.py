"""The transcript of a cell: which party saw what in which round, without the values."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from securefl.errors import RunFolderError
from securefl.files import append_lines, read_lines, write_lines

if TYPE_CHECKING:  # torch takes seconds to import, which a mere look at a folder need not wait for
    from securefl.channels.protocol import Header


@dataclass(frozen=True)
class Transcript:
    """The lines of one file.

    Args:
        path: of the file; there may be none yet.
    """

    path: Path

    def note(self, round: int, observed: "Sequence[Header]") -> None:
        """Adds what parties observed in a round, or after it."""
        lines = (
            {
                "round": round,
                "party": observation.party,
                "kind": observation.kind,
                "about": observation.about,
                "shape": observation.shape,
                "bytes": observation.size,
            }
            for observation in observed
        )
        append_lines(self.path, lines)

    def cut(self, round: int) -> None:
        """Leaves what was observed before `round`. Raises RunFolderError: the file is damaged."""
        lines = read_lines(self.path)
        if not all(isinstance(line.get("round"), int) for line in lines):
            raise RunFolderError(f"{self.path} is damaged: a line has no round")
        write_lines(self.path, [line for line in lines if line["round"] < round])
