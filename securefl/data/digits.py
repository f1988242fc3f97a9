"""scikit-learn's 8 x 8 handwritten digits: 1,797 records, no download.

Alpaydin and Kaynak, UCI Optical Recognition of Handwritten Digits 1998, CC BY 4.0 (the test part, as shipped by
scikit-learn).
"""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from securefl.data.task import Examples, FederatedData, Site, Task
from securefl.rng import seeded_keystream

RECORDS = 1797
TRAIN_RECORDS = 1257  # 70 %, the rest is one test set that belongs to no client
TUNING_RECORDS = 943  # training records where the other 314 of the 1257 choose learning rates

TASK = Task(features=64, classes=10)

_TOP = 16.0  # pixel values are counts of 0 to 16, by the data set's description


def load_digits(
    *, partition: str, split_seed: int, test_on: str | None = None, fold: int | None = None
) -> FederatedData:
    """Digits as one site, to be dealt to clients; pixels scaled to [0, 1].

    Args:
        partition: "pooled", the only one of its own.
        split_seed: which records are for training.
        test_on: "validation" trains on three quarters of the training records and judges on the others; no
            test record is touched.
        fold: which quarter judges, 0 to 3; 0 by default.
    """
    pixels, labels = _published()
    features = torch.from_numpy(pixels).float() / _TOP
    targets = torch.from_numpy(labels).long()
    order = torch.from_numpy(seeded_keystream(split_seed, "digits split").permutation(RECORDS))
    train, test = order[:TRAIN_RECORDS], order[TRAIN_RECORDS:]
    if test_on == "validation":
        turned = train.roll(-(fold or 0) * (TRAIN_RECORDS - TUNING_RECORDS))
        train, test = turned[:TUNING_RECORDS], turned[TUNING_RECORDS:]
    site = Site(partition, Examples(features[train], targets[train]), None)
    return FederatedData(TASK, (site,), Examples(features[test], targets[test]))


@lru_cache(maxsize=1)
def _published() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Pixels (1797, 64) and labels, read once a process."""
    from sklearn.datasets import (
        load_digits as load_sklearn_digits,
    )  # two seconds that who checks a scenario can save

    pixels, labels = load_sklearn_digits(return_X_y=True)
    return pixels, labels
