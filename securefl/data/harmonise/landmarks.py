"""Landmarks for Nyul's step, drafted from public images."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from securefl.data.harmonise.images import BLOCK_VALUES, quantiles

DECILES = tuple(float(percentile) for percentile in range(0, 101, 10))
# Apart by so much at least where two percentiles agree in all images: landmarks must rise.
LEAST_STEP = 0.1


def draft_landmarks(images: Tensor, percentiles: Sequence[float] = DECILES) -> tuple[float, ...]:
    """Returns the mean over images of each percentile, to one decimal, in stored units.

    These numbers come from the images. Where the images are not public, they are a release about
    them that no ledger counts.

    Args:
        images: (n, channels, side, ...), n of at least 1.
        percentiles: rising, from 0 to 100.

    Source: Nyul, Udupa and Zhang, IEEE TMI 2000, section II, without its first step: the stored
    range itself is the standard scale.
    """
    ranks = np.asarray(percentiles, dtype=np.float64) / 100
    total = np.zeros(len(ranks))
    step = max(1, BLOCK_VALUES // images[:1].numel())
    for start in range(0, len(images), step):
        rows = images[start : start + step].flatten(1).double().numpy()
        total += quantiles(np.sort(rows, axis=1), ranks).sum(axis=0)
    landmarks = [round(float(mean), 1) for mean in total / len(images)]
    for index in range(1, len(landmarks)):
        landmarks[index] = max(landmarks[index], round(landmarks[index - 1] + LEAST_STEP, 1))
    return tuple(landmarks)
