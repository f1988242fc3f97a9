"""The updates of a round as one table of float32, in memory or in a file without a name.

table = RowTable((0, 1, 2), d=5)
table.put(2, coordinates)
rows = table.rows()  # (1, 5), without a copy of the table
"""

import mmap
import os
import tempfile
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from securefl import vector
from securefl.errors import RunFailed

IN_MEMORY_BYTES = 2**31  # of a table; a larger one lies in a file
_FLOAT_BYTES = 4


class RowTable:
    """One row for each client of a cohort, filled as updates come.

    Guarantees:
        - Each number of an update is held once. `rows` copies nothing if every client has a row,
          and moves rows within the table otherwise.
        - A file lies in the system's temporary folder (TMPDIR) without a name: it is gone when the
          table is, or when the process ends, in whatever way.

    Args:
        clients: of the cohort, ascending.
        d: coordinates of an update.
        in_memory: bytes; a larger table lies in a file, which the system reads in parts.

    Raises:
        RunFailed: the temporary folder has no room for the file.
    """

    def __init__(self, clients: Sequence[int], *, d: int, in_memory: int = IN_MEMORY_BYTES) -> None:
        self._places = {client: place for place, client in enumerate(clients)}
        self._filled: set[int] = set()
        shape = (len(clients), d)
        size = _FLOAT_BYTES * len(clients) * d
        # Memory that nobody has written to is not taken yet: absent clients cost nothing.
        self._table = torch.empty(shape) if size <= in_memory else _in_file(size).view(shape)

    @property
    def clients(self) -> tuple[int, ...]:
        """The clients that have a row, ascending."""
        return tuple(client for client in self._places if client in self._filled)

    def __contains__(self, client: int) -> bool:
        return client in self._filled

    def __len__(self) -> int:
        return len(self._filled)

    def put(self, client: int, coordinates: memoryview) -> Tensor:
        """Writes the 4 d bytes of an update as the row of a client, and returns that row."""
        row = self._table[self._places[client]]
        vector.read_into(row, coordinates)
        self._filled.add(client)
        return row

    def rows(self) -> Tensor:
        """Returns (m, d), the rows of `clients`; ends the use of the table."""
        for target, client in enumerate(self.clients):
            place = self._places[client]
            # Ascending, so that no row is written over before it has moved.
            if place != target:
                self._table[target].copy_(self._table[place])
        return self._table[: len(self)]


def _in_file(size: int) -> Tensor:
    """Returns (size / 4,) numbers that lie in a temporary file. Raises RunFailed: no room."""
    try:
        with tempfile.TemporaryFile() as file:
            # Reserved now: a disk that is full later would kill the process without a word.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            mapped = mmap.mmap(file.fileno(), size)
    except OSError as reason:
        raise RunFailed(
            f"the updates of a round take {size / 2**30:.1f} GiB, for which the temporary folder "
            f"{tempfile.gettempdir()} has no room ({reason.strerror}): set TMPDIR to a folder on a "
            "larger disk, or invite fewer clients by cohort.size"
        ) from None
    return torch.from_numpy(np.frombuffer(mapped, dtype=np.float32))
