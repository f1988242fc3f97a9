"""What one protected unit, an example or a client, can do to the sum of a round."""

from typing import NamedTuple

from securefl.errors import ScenarioError
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
    raise ScenarioError("not available yet")
