"""An opened sum: from words of the ring back to coordinates, within the range of honest ones."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from securefl.channels.masking.agreement import Agreement
from securefl.channels.masking.rotation import Rotation


def decoded(words: NDArray[Any], terms: Agreement, *, round: int) -> NDArray[np.float64]:
    """Returns (d,), the sum of weight / max_weight * update whose words (m,) these are."""
    total = terms.code.decode(words)
    if not terms.rotates:
        return total
    return Rotation(terms.session, round, terms.d).turned_back(total)


def hold(opened: NDArray[np.float64], terms: Agreement, *, weight: int, survivors: int) -> None:
    """Clips each coordinate of an opened sum to the range of honest survivors, in place.

    A corrupt client need not clip, and its words wrap around. The noise of honest clients is within
    the range, but for a chance of 1e-12 a run.

    Args:
        opened: (d,).
        terms: of the session.
        weight: the sum of the survivors' weights.
        survivors: how many they are.
    """
    if terms.noise is None:
        bound = terms.code.clip * weight / terms.max_weight
    else:
        bound = survivors * terms.noise.length + terms.noise.tail * terms.code.step
    np.clip(opened, -bound, bound, out=opened)
