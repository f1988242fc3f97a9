"""How many clients a rule chooses for a sum, and how many may be away.

Public numbers only: n clients invited, c that may work together with the server, f that may lie.
"""

from typing import NamedTuple

import numpy as np

from securefl.scenario.facts import Facts


class Numbers(NamedTuple):
    """What a channel that chooses clients needs, and does.

    Attributes:
        chosen: clients in the sum, if none is away.
        least: the fewest whose sum the clients open.
        away: how many may be away for a whole round.
    """

    chosen: int
    least: int
    away: int


def numbers_of(facts: Facts) -> Numbers:
    """Returns these numbers of a scenario with channel.sketch, whose terms fit.

    Raises:
        ValueError: the rule cannot choose among so many.
    """
    n, selection = facts.cohort_size, facts.selection
    if selection is None:
        raise ValueError("this channel chooses no clients")
    f = selection.liars
    least = least_chosen(facts)
    chosen = chosen_of(facts, n)
    answering = needed_clients(corrupt=facts.channel_options["corrupt"], liars=f)
    away = n - max(answering, selection.fewest(f))
    while away > 0 and not _chooses(facts, n - away, least):
        away -= 1
    return Numbers(chosen, least, max(0, away))


def _chooses(facts: Facts, clients: int, least: int) -> bool:
    """Whether the rule chooses so many of some clients."""
    try:
        return chosen_of(facts, clients) >= least
    except ValueError:  # its parameters ask for more clients
        return False


def least_chosen(facts: Facts) -> int:
    """Returns the fewest chosen clients with whose sum a client helps.

    The server could choose any of them: it is held to as many as a sum without a rule would have,
    or to all but two for each liar, one of whom may be an honest client.
    """
    least = facts.channel.least_chosen
    return facts.min_cohort if least is None else least(facts.terms, facts.invited)


def needed_clients(*, corrupt: int, liars: int) -> int:
    """Returns the fewest clients of a round, if nobody is away.

    Distances are polynomials of degree 2 c; those of n holders correct f wrong ones from
    n = 2 c + 2 f + 1 on.
    """
    return 2 * corrupt + 2 * liars + 1


def chosen_of(facts: Facts, clients: int) -> int:
    """Returns how many of some clients the rule chooses. Raises ValueError: they are too few."""
    selection = facts.selection
    if selection is None:
        return clients
    # Points on a line, no two of them equally far from all others.
    points = np.arange(clients, dtype=np.float64) ** 1.5
    squared = np.square(points[:, None] - points[None, :])
    return int(np.count_nonzero(selection.choose(squared, selection.liars)))
