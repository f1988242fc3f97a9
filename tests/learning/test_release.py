"""A release refuses constants outside their ranges."""

import pytest

from securefl.learning.release import Release
from securefl.rng import seeded_keystream


def stream(purpose: str, client: int, round: int) -> object:
    return seeded_keystream(0, purpose, client, round)


@pytest.mark.parametrize(
    ("std", "rate", "sentence"),
    [
        (-1.0, 1.0, "std must be >= 0, got -1.0"),
        (float("nan"), 1.0, "std must be >= 0, got nan"),
        (1.0, 0.0, r"sample_rate must be in \(0, 1\], got 0.0"),
        (1.0, 1.5, r"sample_rate must be in \(0, 1\], got 1.5"),
    ],
)
def test_constants_outside_their_ranges_are_refused(std: float, rate: float, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Release(None, std, rate, stream)  # type: ignore[arg-type]
