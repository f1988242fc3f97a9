"""The sums over all sites from which a fit follows, one after another.

pooled = Pooled()
for part in parts:                                         # of one fit
    total = sum(part.of(moments, pooled) for moments in sites)     # the channel adds
    pooled = part.learn(total, pooled)
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from securefl.data.harmonise.moments import Array, Moments

# Under a claim, noise can make a variance small or negative. No feature in [-1, 1] is held to have
# a standard deviation below a tenth.
VARIANCE_FLOOR = 1e-2


@dataclass(frozen=True)
class Pooled:
    """What all parties know of the records of all sites together.

    Attributes:
        slopes: (q, p), of the features on the covariates, the same at each site.
        mean: (p,), the grand mean of the features less their slopes.
        variance: (p,), around the sites' means for ComBat, around the grand mean for standardising.
        records: in all.
    """

    slopes: Array
    mean: Array
    variance: Array
    records: float = 0.0

    @classmethod
    def start(cls, p: int, q: int) -> Self:
        """Returns what is known before the first sum: nothing, as zeros."""
        return cls(np.zeros((q, p)), np.zeros(p), np.zeros(p))

    def to_json(self) -> dict[str, Any]:
        """Returns the numbers for a file, from which they come back bit for bit."""
        return {
            "slopes": self.slopes.tolist(),
            "mean": self.mean.tolist(),
            "variance": self.variance.tolist(),
            "records": self.records,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any], *, p: int, q: int) -> Self:
        """Raises ValueError unless these are the numbers of p features and q covariates."""
        if set(values) != {"slopes", "mean", "variance", "records"}:
            raise ValueError("it has other keys than a fit")
        slopes = np.array(values["slopes"], dtype=np.float64).reshape(q, p)
        mean, variance = (
            np.array(values[key], dtype=np.float64).reshape(p) for key in ("mean", "variance")
        )
        records = values["records"]
        if not isinstance(records, float) or not (variance > 0).all():
            raise ValueError("a variance or the number of records is none")
        if not all(np.isfinite(part).all() for part in (slopes, mean, variance)):
            raise ValueError("a number is not finite")
        return cls(slopes, mean, variance, records)


@dataclass(frozen=True)
class Part:
    """One sum over all sites.

    Attributes:
        name: of its statistics, in a message.
        length: coordinates.
        of: a site's moments and what is known -> its summand (length,).
        learn: the total (length,) and what is known -> what is known after it.
    """

    name: str
    length: int
    of: Callable[[Moments, Pooled], Array]
    learn: Callable[[Array, Pooled], Pooled]
