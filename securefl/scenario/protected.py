"""What one protected unit, an example or a client, can do to the sum of a round."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from securefl.errors import ScenarioError
from securefl.scenario.declaration import Declaration


class InSum(NamedTuple):
    """The part of one protected unit in the sum of weight / max_weight x update.

    Attributes:
        sensitivity: the L2 distance that one unit can move the sum, > 0.
        length: the largest L2 norm of one client's weighted update, > 0.
        sample_rate: probability of a unit to be in a round's sum, by coins that its client tosses.
    """

    sensitivity: float
    length: float
    sample_rate: float


class Weighed(Protocol):
    """The facts of a scenario that say how much each client counts."""

    @property
    def public_weights(self) -> Mapping[int, int] | None:
        """Client -> its weight; None where clients report theirs."""

    @property
    def max_weight(self) -> int:
        """The largest weight that a client may carry."""

    @property
    def site_records(self) -> tuple[int, ...]:
        """The public numbers of training records. Raises ScenarioError without."""


def in_sum(declared: Declaration, facts: Weighed) -> InSum:
    """Returns the part of one protected unit, from declared constants alone."""
    if declared.privacy is not None and declared.privacy.unit == "client":
        return _of_a_client(declared, facts)
    return _of_an_example(declared, facts)


def _of_an_example(declared: Declaration, facts: Weighed) -> InSum:
    """Returns the part of one record in a sum of clipped-gradient sums.

    The update of client k is its sum of gradients, each of norm C at most, over q N_k. One record
    moves the term of its client by weight_k / max_weight x C / (q N_k). The update itself is
    projected to the norm C / q.
    """
    training = declared.training
    rate = training.sample_rate or 1.0
    weights = facts.public_weights
    if weights is None:
        raise ScenarioError("noise of a whole sum needs public weights")
    shares = {client: weight / facts.max_weight for client, weight in weights.items()}
    of_records = (share / facts.site_records[client] for client, share in shares.items())
    longest = training.clip / rate
    return InSum(
        sensitivity=max(of_records) * longest,
        length=max(shares.values()) * longest,
        sample_rate=rate,
    )


def _of_a_client(declared: Declaration, facts: Weighed) -> InSum:
    raise ScenarioError("not available yet")
