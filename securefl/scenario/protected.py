"""What one protected unit, an example or a client, can do to the sum of a round."""

from typing import NamedTuple

from securefl.errors import ScenarioError
from securefl.learning.algorithms.client_level import unit_length
from securefl.scenario.declaration import Declaration
from securefl.scenario.facts import Facts


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


def in_sum(declared: Declaration, facts: Facts) -> InSum:
    """Returns the part of one protected unit, from declared constants alone."""
    if declared.privacy is not None and declared.privacy.unit == "client":
        return _of_a_client(declared, facts)
    return _of_an_example(declared, facts)


def _of_an_example(declared: Declaration, facts: Facts) -> InSum:
    raise ScenarioError("not available yet")


def _of_a_client(declared: Declaration, facts: Facts) -> InSum:
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


def sample_rate(declared: Declaration, facts: Facts) -> float:
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
