"""What cells take, estimated from those that have ended."""

from collections import Counter
from collections.abc import Mapping


class Costs:
    """Wall seconds and bytes of ended cells, by row.

    A row without an ended cell is taken for an average one.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._cells: Counter[str] = Counter()
        self._bytes: list[int] = []

    def note(self, row: str, seconds: float) -> None:
        """Adds the wall time of a cell of the row."""
        self._seconds[row] = self._seconds.get(row, 0.0) + seconds
        self._cells[row] += 1

    def note_size(self, size: int) -> None:
        """Adds the bytes on disk of a cell."""
        self._bytes.append(size)

    def seconds(self, remaining: Mapping[str, int], jobs: int) -> float | None:
        """Returns the wall seconds that more cells will take; None while unknown.

        Args:
            remaining: row -> number of cells.
            jobs: processes at once.
        """
        if not self._cells:
            return None
        means = {row: self._mean(row) for row, count in remaining.items() if count}
        if not means:
            return 0.0
        # However many processes there are, the study ends no sooner than its longest cell.
        total = sum(remaining[row] * seconds for row, seconds in means.items())
        return max(total / jobs, *means.values())

    def _mean(self, row: str) -> float:
        """Seconds a cell of the row, or of all rows where it has none yet."""
        if row in self._cells:
            return self._seconds[row] / self._cells[row]
        return sum(self._seconds.values()) / self._cells.total()

    def size(self, cells: int) -> float | None:
        """Returns the bytes that more cells will take; None while unknown."""
        return cells * sum(self._bytes) / len(self._bytes) if self._bytes else None
