"""Fixed features are computed once for every record, and remembered by its content.

They are as private as the record itself. So they stay in the memory of this process, and are in no
file: neither in a run folder nor in a cache that outlives the run.
"""

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from securefl.data.task import Task
from securefl.learning.models.scattering.features import Recipe, features_of

MAX_BYTES = 2**29  # of all rows that are remembered; the oldest are forgotten first
RECORDS_AT_A_TIME = 256  # bounds the memory of their pixels as numbers
KEY_BYTES = 16


class RowsByContent:
    """Rows of features under the hashes of the records that they were computed from.

    Args:
        max_bytes: of all rows together.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._rows: dict[bytes, Tensor] = {}  # the oldest comes first

    def __len__(self) -> int:
        return len(self._rows)

    def of(self, recipe: Recipe, task: Task, records: Tensor) -> Tensor:
        """Returns (n, width) features of records (n, channels, ...), computed where they are new.

        Args:
            recipe: what is computed.
            task: scales the pixels of the records.
            records: as a site holds them.
        """
        keys = list(_keys(recipe, records))
        known = [self._rows.get(key) for key in keys]
        new = torch.tensor([place for place, row in enumerate(known) if row is None]).long()
        # Records that occur twice are computed twice: the time tells nothing about them.
        computed = [
            recipe.rows(task.inputs(records[part]))
            for part in torch.split(new, RECORDS_AT_A_TIME)
            if len(part)
        ]
        fresh = iter(torch.cat(computed) if computed else ())
        rows = [next(fresh) if row is None else row for row in known]
        for key, row in zip(keys, rows, strict=True):
            self._keep(key, row)
        return torch.stack(rows)

    def _keep(self, key: bytes, row: Tensor) -> None:
        """Keeps a copy of a row, which is not a part of a larger tensor, and forgets old ones."""
        size = row.numel() * row.element_size()
        if key in self._rows or size > self._max_bytes:
            return
        self._rows[key] = row.clone()
        self._bytes += size
        while self._bytes > self._max_bytes:
            forgotten = self._rows.pop(next(iter(self._rows)))
            self._bytes -= forgotten.numel() * forgotten.element_size()


_ROWS = RowsByContent(MAX_BYTES)


def prepared(model: nn.Module, task: Task, records: Tensor) -> Tensor:
    """Returns records as the part of a model reads them that trains; most models read all.

    Args:
        model: of the task. One that begins with fixed features gets rows of these.
        task: of the records.
        records: (n, ...), as a site holds them.
    """
    features = features_of(model)
    if features is None or records.ndim == 2 or not len(records):
        return records
    return _ROWS.of(features.recipe, task, records)


def _keys(recipe: Recipe, records: Tensor) -> Iterator[bytes]:
    """Yields the key of each record: its recipe, shape, type and bytes."""
    start = hashlib.blake2b(
        f"{recipe} {tuple(records.shape[1:])} {records.dtype}".encode(), digest_size=KEY_BYTES
    )
    for record in records.cpu().contiguous().numpy():
        key = start.copy()
        key.update(record)
        yield key.digest()
