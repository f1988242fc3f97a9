"""What cells take: the mean over the ended cells of a row, or of all rows where the row has none yet."""

from collections import Counter
from collections.abc import Mapping


class Costs:
    """Wall seconds and bytes of ended cells, by row."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._cells: Counter[str] = Counter()
        self._bytes: list[int] = []

    def note(self, row: str, seconds: float) -> None:
        """A cell of the row took so long."""
        self._seconds[row] = self._seconds.get(row, 0.0) + seconds
        self._cells[row] += 1

    def note_size(self, size: int) -> None:
        """A cell takes so many bytes on disk."""
        self._bytes.append(size)

    def seconds(self, left: Mapping[str, int], jobs: int) -> float | None:
        """Wall seconds for so many more cells of each row in so many processes, one cell at least; None if unknown."""
        if not self._cells:
            return None
        usual = sum(self._seconds.values()) / self._cells.total()
        means = {
            row: self._seconds[row] / self._cells[row] if row in self._cells else usual
            for row, n in left.items()
            if n
        }
        total = sum(left[row] * seconds for row, seconds in means.items())
        return max([total / jobs, *means.values()]) if means else 0.0

    def size(self, cells: int) -> float | None:
        """Bytes for so many more cells; None while unknown."""
        return cells * sum(self._bytes) / len(self._bytes) if self._bytes else None
