"""The files of a fit that precedes the rounds, so that a resumed run never fits again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from securefl.channels.protocol import Header
from securefl.data.harmonise.moments import Moments
from securefl.data.harmonise.sums import Pooled
from securefl.errors import RunFolderError
from securefl.files import read_json, write_json

_AGAIN = "start again under another --out"


@dataclass(frozen=True)
class FitFiles:
    """Where a run keeps its fit.

    Args:
        file: holds what all sites know after the fit.
        clients: folder of what clients keep, one folder a client. A site's noised moments lie
            there, from which its location and scale follow; without a claim nothing does.
        note_seen: takes what parties saw in the fit.
    """

    file: Path
    clients: Path
    note_seen: Callable[[Sequence[Header]], None]

    def pooled(self, *, p: int, q: int) -> Pooled | None:
        """Returns the fit of p features on q covariates; None before there is one.

        Raises:
            RunFolderError: the file is damaged.
        """
        if not self.file.exists():
            return None
        try:
            return Pooled.from_json(read_json(self.file), p=p, q=q)
        except (ValueError, TypeError):
            raise RunFolderError(f"{self.file} is damaged; {_AGAIN}") from None

    def keep(self, pooled: Pooled, seen: Sequence[Header]) -> None:
        """Writes the fit, once what was seen of it is noted."""
        self.note_seen(seen)
        write_json(self.file, pooled.to_json())

    def moments(self, client: int, *, p: int, q: int) -> Moments | None:
        """Returns the noised moments of a client; None before they were drawn.

        Raises:
            RunFolderError: the file is damaged.
        """
        file = self._moments(client)
        if not file.exists():
            return None
        try:
            return Moments.from_json(read_json(file), p=p, q=q)
        except (ValueError, TypeError):
            raise RunFolderError(f"{file} is damaged; {_AGAIN}") from None

    def keep_moments(self, client: int, moments: Moments) -> None:
        """Writes the noised moments of a client, before anything of them leaves."""
        file = self._moments(client)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, moments.to_json())

    def _moments(self, client: int) -> Path:
        return self.clients / str(client) / "moments.json"
