"""What cells take: the mean over the ended cells of a row, or of all rows where the row has none yet."""

from collections import defaultdict
from collections.abc import Iterable
from statistics import mean


class Costs:
    """Wall seconds and bytes of ended cells, by row."""

    def __init__(self) -> None:
        self._seconds: dict[str, list[float]] = defaultdict(list)
        self._bytes: list[int] = []

    def note(self, row: str, seconds: float) -> None:
        """A cell of the row took so long."""
        self._seconds[row].append(seconds)

    def note_size(self, size: int) -> None:
        """A cell takes so many bytes on disk."""
        self._bytes.append(size)

    def seconds(self, rows: Iterable[str], jobs: int) -> float | None:
        """Wall seconds for one more cell of each of these rows, shared by so many processes; None while unknown."""
        if not self._seconds:
            return None
        usual = mean(value for values in self._seconds.values() for value in values)
        return sum(mean(self._seconds[row]) if row in self._seconds else usual for row in rows) / jobs

    def size(self, cells: int) -> float | None:
        """Bytes for so many more cells; None while unknown."""
        return cells * mean(self._bytes) if self._bytes else None
