"""The records of one split, gathered series by series."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from securefl.data.own.records import Split
from securefl.data.own.rows import GrowingArray
from securefl.data.task import Examples, Task

Image = NDArray[np.uint8]


class Part:
    """The records of one split, which grow by those of a series.

    Args:
        task: gives the shape of a record.
    """

    def __init__(self, task: Task) -> None:
        self._image = task.image
        self._rows = GrowingArray(np.uint8, task.features)
        self._labels: list[int] = []
        self._sites: list[int] = []
        self._groups: list[bytes] = []

    def extend(self, images: Sequence[Image], code: int, site: int, group: bytes) -> None:
        """Appends the records of one series."""
        for image in images:
            self._rows.extend(image.reshape(1, -1))
            self._labels.append(code)
            self._sites.append(site)
            self._groups.append(group)

    def split(self) -> Split:
        """Returns the records; no more can come."""
        features = self._rows.tensor().reshape(-1, *self._image)
        examples = Examples(features, torch.tensor(self._labels, dtype=torch.int64))
        return Split(examples, torch.tensor(self._sites, dtype=torch.int64), tuple(self._groups))
