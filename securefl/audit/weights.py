"""How much each client's update counts: a coalition needs it to subtract its own from a sum."""

from collections.abc import Mapping

from securefl.scenario.facts import Facts


def client_weights(facts: Facts, sizes: Mapping[int, int], *, reported: bool) -> dict[int, int]:
    """Returns client -> its weight.

    Args:
        facts: of the scenario.
        sizes: client -> training records.
        reported: whether clients report how many records they have; else these are never read.
    """
    return {
        client: facts.client_weight(client, size if reported else None)
        for client, size in sizes.items()
    }


def weights_in_step(weights: Mapping[int, int], facts: Facts) -> dict[int, float] | None:
    """Returns how much each client's update counts in a server step, up to a common factor.

    Args:
        weights: client -> its weight.
        facts: hold pre-filters, rule and step.

    Returns:
        None where a step is no mean of updates, so that none can be subtracted from it.
    """
    # A pre-filter or a rule that is not linear picks or mixes rows by their values.
    # A channel that chooses clients opens their mean, and says whose it is.
    is_mean = facts.rule.entry.linear or facts.selects
    if facts.prefilters or not is_mean:
        return None
    # The server of one sum a round takes a step of gradient descent along it.
    if facts.trainer.one_sum:
        return None
    # Momentum or a learning rate other than 1 makes the step something else than the mean.
    if not facts.step.entry.adds_estimate(facts.step.parameters):
        return None
    return {client: float(weight) for client, weight in weights.items()}


def weights_in_sum(weights: Mapping[int, int], largest: int) -> dict[int, float]:
    """Returns how much each client's update counts in a sum that a channel opens.

    Args:
        weights: client -> its weight.
        largest: weight that any client can have, by which channels divide.
    """
    return {client: weight / largest for client, weight in weights.items()}
