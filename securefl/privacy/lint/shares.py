"""Mistakes of noise that clients add in shares: each look returns a sentence, or None.

The gap tau of a sum of shares needs no look: a line with a smaller tau than its shares have is no
event, and its ledger counts as damaged.
"""

from securefl.privacy.events import DiscreteGaussianSum, SampledGaussian
from securefl.privacy.lint.case import Case


def shares_as_gaussian(case: Case) -> str | None:
    """Finds a sum with shares of noise that is booked as a Gaussian."""
    if not case.has_claim or case.place != "distributed":
        return None
    for client in case.ledgers:
        for event in case.booked(client).values():
            if isinstance(event, SampledGaussian):
                return (
                    f"client {client}: noise is added in shares, and its ledger books a Gaussian"
                    f" with noise multiplier {event.noise_multiplier:g}, whose epsilon is too low"
                )
    return None


def shares_for_all_present(case: Case) -> str | None:
    """Finds books that count on more shares than a sum may open with."""
    if not case.has_claim or case.place != "distributed":
        return None
    corrupt = case.claimed_place.corrupt
    for client in case.ledgers:
        for round, event in case.booked(client).items():
            if not isinstance(event, DiscreteGaussianSum):
                continue
            fewest = _fewest(case, round, corrupt)
            if event.shares > fewest - corrupt:
                return (
                    f"client {client}: round {round} books noise multiplier"
                    f" {event.noise_multiplier:.4g} by {event.shares} shares, and its sum may open"
                    f" with {fewest} updates, {corrupt} of them of corrupt clients"
                )
    return None


def _fewest(case: Case, round: int, corrupt: int) -> int:
    """Returns the fewest updates that opened the sum of a round, or that may open it.

    Two groups as large as the threshold share an honest client; see the masked channel. A cohort
    that is divided into blocks has less in each, so that this is a bound.
    """
    invited = case.clients
    # Where clients toss coins of their own, all are invited, and the size is an expectation.
    if not case.tosses_coins:
        invited = (case.scenario.get("cohort") or {}).get("size") or case.clients
    threshold = (invited + corrupt) // 2 + 1
    fewest = max(threshold, int(case.scenario["channel"].get("min_cohort") or 0))
    survivors = [len(record["survivors"]) for record in case.rounds if record["round"] == round]
    # A round without survivors opened no sum.
    return min([fewest, *(number for number in survivors if number > 0)])


def draw_amplified(case: Case) -> str | None:
    """Finds a claim for whole clients that counts on a draw which is no secret of theirs."""
    if not case.has_claim or not case.protects_clients:
        return None
    rate = case.own_rate(0) or 1.0
    for client in case.ledgers:
        for event in case.booked(client).values():
            if event.sample_rate < (1 - 1e-6) * rate:
                return (
                    f"client {client} is accounted at a sampling rate of {event.sample_rate:.4g};"
                    f" by coins that only the clients see, it takes part at a rate of {rate:.4g}"
                )
    return None
