"""scikit-learn's 8 x 8 handwritten digits: 1,797 records, no download.

Alpaydin and Kaynak, UCI Optical Recognition of Handwritten Digits 1998, CC BY 4.0 (the test part,
as shipped by scikit-learn).
"""

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from securefl.data.task import Examples, FederatedData, Site, Task
from securefl.errors import DataError
from securefl.rng import seeded_keystream

RECORDS = 1797
# 70 %; the other records are one test set that belongs to no client.
TRAIN_RECORDS = 1257
# Where learning rates are chosen, on the other 314 training records.
TUNING_RECORDS = 943

TASK = Task(features=64, classes=10)

# Pixel values are counts of 0 to 16, by the data set's description.
MAX_PIXEL = 16.0


def load_digits(
    *,
    partition: str,
    split_seed: int,
    test_on: str | None = None,
    fold: int | None = None,
) -> FederatedData:
    """Returns the digits as one site, to be dealt to clients; pixels are scaled to [0, 1].

    Args:
        partition: "pooled", the only one of its own.
        split_seed: decides which records are for training.
        test_on: "validation" trains on three quarters of the training records and judges on the
            others; no test record is touched.
        fold: which quarter judges, 0 to 3; 0 by default.
    """
    pixels, labels = _published()
    features = torch.from_numpy(pixels).float() / MAX_PIXEL
    targets = torch.from_numpy(labels).long()
    order = torch.from_numpy(seeded_keystream(split_seed, "digits split").permutation(RECORDS))
    train = order[:TRAIN_RECORDS]
    test = order[TRAIN_RECORDS:]
    if test_on == "validation":
        # Each fold turns another quarter of the training records to the end.
        turn = (fold or 0) * (TRAIN_RECORDS - TUNING_RECORDS)
        turned = train.roll(-turn)
        train = turned[:TUNING_RECORDS]
        test = turned[TUNING_RECORDS:]
    site = Site(partition, Examples(features[train], targets[train]), None)
    return FederatedData(TASK, (site,), Examples(features[test], targets[test]))


@lru_cache(maxsize=1)
def _published() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Returns pixels (1797, 64) and labels, read once a process."""
    # Read as a file, since importing scikit-learn takes over a second.
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise DataError("the digits come with scikit-learn, which is not installed")
    file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    table = np.loadtxt(file, delimiter=",")
    pixels = table[:, :-1]
    labels = table[:, -1].astype(np.int64)
    return pixels, labels
