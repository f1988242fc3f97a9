"""How many clients a rule chooses for a sum, and how many may be away.

Public numbers only: n clients invited, c that may work together with the server, f that may lie.
"""

from typing import NamedTuple

import numpy as np

from securefl.scenario.facts import Facts


class Numbers(NamedTuple):
    """What a channel that chooses clients needs, and does.

    Attributes:
        clients: of a round, if none is away: those invited that did not miss the set-up.
        chosen: clients in the sum then.
        least: the fewest whose sum the clients open.
        away: how many honest ones may be away for a whole round, while all f liars are there to
            stop it.
    """

    clients: int
    chosen: int
    least: int
    away: int


def numbers_of(facts: Facts) -> Numbers:
    """Returns these numbers of a scenario with channel.sketch, whose terms fit.

    Raises:
        ValueError: the rule cannot choose among so many.
    """
    n, selection = attending(facts), facts.selection
    if selection is None:
        raise ValueError("this channel chooses no clients")
    f = selection.liars
    chosen = chosen_of(facts, n, liars=f)
    # A threshold of clients must answer without the liars.
    answering = facts.terms.fewest(n) + f
    needed = needed_clients(corrupt=facts.channel_options["corrupt"], liars=f)
    away = n - max(answering, needed)
    while away > 0 and not goes_on(facts, n - away, liars=f):
        away -= 1
    return Numbers(n, chosen, least_chosen(facts), max(0, away))


def attending(facts: Facts) -> int:
    """Returns how many clients a round invites: those that miss the set-up are in none."""
    return min(facts.cohort_size, len(facts.members) - len(facts.missing))


def goes_on(facts: Facts, clients: int, *, liars: int) -> bool:
    """Whether enough of some clients are chosen, whatever the liars among them do.

    They may be silent, or each may dispute with an honest client, so that neither is chosen.
    """
    return _suffice(facts, clients - liars, liars=liars) and _suffice(
        facts, clients - 2 * liars, liars=0
    )


def _suffice(facts: Facts, clients: int, *, liars: int) -> bool:
    """Whether the rule chooses enough of some clients, of which some may still lie."""
    if facts.selection is None or clients < facts.selection.fewest(liars):
        return False
    try:
        return chosen_of(facts, clients, liars=liars) >= least_chosen(facts)
    except ValueError:  # its parameters ask for more clients
        return False


def least_chosen(facts: Facts) -> int:
    """Returns the fewest chosen clients with whose sum a client helps.

    The server could choose any of them.
    """
    least = facts.channel.least_chosen
    return facts.min_cohort if least is None else least(facts.terms)


def needed_clients(*, corrupt: int, liars: int) -> int:
    """Returns the fewest clients of a round, if nobody is away.

    Distances are polynomials of degree 2 c; those of n holders correct f wrong ones from
    n = 2 c + 2 f + 1 on.
    """
    return 2 * corrupt + 2 * liars + 1


def chosen_of(facts: Facts, clients: int, *, liars: int) -> int:
    """Returns how many of some clients the rule chooses. Raises ValueError: they are too few."""
    selection = facts.selection
    if selection is None:
        return clients
    # Points on a line, no two of them equally far from all others.
    points = np.arange(clients, dtype=np.float64) ** 1.5
    squared = np.square(points[:, None] - points[None, :])
    return int(np.count_nonzero(selection.choose(squared, liars)))
