"""How a client releases an update as a whole: what it costs, and the client's own noise."""

from dataclasses import dataclass

from securefl.privacy.events import PrivacyEvent
from securefl.rng import StreamFor


@dataclass(frozen=True)
class Release:
    """The release of one update, in public constants and streams.

    Args:
        cost: the event that it costs; None where nothing pays.
        std: deviation of the noise that the client adds to each coordinate of its update; 0 where
            others add the noise.
        sample_rate: probability that the client takes part in a round, by a secret coin; 1 where
            everybody knows who takes part.
        stream_for: gives the streams of the coin and of the noise.

    Raises:
        ValueError: std is negative, or sample_rate not in (0, 1].
    """

    cost: PrivacyEvent | None
    std: float
    sample_rate: float
    stream_for: StreamFor

    def __post_init__(self) -> None:
        """Refuses values outside their ranges."""
        if not self.std >= 0:
            raise ValueError(f"std must be >= 0, got {self.std}")
        if not 0 < self.sample_rate <= 1:
            raise ValueError(f"sample_rate must be in (0, 1], got {self.sample_rate}")
