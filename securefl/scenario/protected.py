"""What one protected unit, an example or a client, can do to the sum of a round."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from securefl.errors import ScenarioError
from securefl.learning.algorithms.client_level import unit_length
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
    """The facts of a scenario that say how many clients there are, and how much each counts."""

    @property
    def clients(self) -> int:
        """Number of clients."""

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
    """Returns the part of a client, whose update is clipped as a whole.

    Where everybody knows who is in a round, the neighbour of a client is any other client: the two
    updates may point opposite ways. A client that tosses a coin has a neighbour that sends zeros.
    """
    training = declared.training
    is_adaptive = training.clip_quantile is not None
    # An adaptive clip divides updates by itself before they leave.
    length = unit_length(adaptive=is_adaptive) * (1.0 if is_adaptive else training.clip)
    rate = sample_rate(declared, facts)
    # The heaviest client has all of the sum's unit.
    if declared.tosses_coins:
        return InSum(length / rate, length / rate, rate)
    return InSum(2 * length, length, rate)


def sample_rate(declared: Declaration, facts: Weighed) -> float:
    """Returns the probability of a client to be in a round, by a coin of its own; 1 without."""
    if declared.cohort is None or not declared.tosses_coins:
        return 1.0
    return declared.cohort.size / facts.clients


def protected_words(declared: Declaration) -> str:
    """Returns what a claim protects and which data sets are neighbours, in words."""
    if not declared.protects_clients:
        return "one training example"
    if declared.tosses_coins:
        return "one client, there or absent from all rounds"
    return "one client, with its own records or any others in their place"
