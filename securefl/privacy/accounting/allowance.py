"""How often an event may be released within a budget."""

import math
from collections import Counter

from securefl.privacy.accounting.epsilon import fits
from securefl.privacy.events import PrivacyEvent

# The search ends here: no client makes as many releases.
MAX_COUNT = 2**31


def largest_count(
    event: PrivacyEvent,
    other_events: Counter[PrivacyEvent],
    *,
    delta: float,
    budget: float,
    most: int = MAX_COUNT,
) -> int:
    """Returns the largest number of releases of `event` that fits the budget, next to the others.

    Doubling finds a count that is too large, and bisection the largest one that fits.

    Args:
        event: the event to count.
        other_events: every other event that was released -> how often.
        delta: in (0, 1).
        budget: an epsilon; inf is answered with `most` at once, NaN allows nothing.
        most: no larger count is of interest. One sum of losses then answers for a budget that lasts
            so long, where the exact count takes dozens.
    """
    if math.isinf(budget):
        return most

    def is_within(count: int) -> bool:
        return fits(other_events | Counter({event: count}), delta=delta, budget=budget)

    if most < MAX_COUNT and is_within(most):
        return most
    if not is_within(1):
        return 0
    low = 1
    high = 2
    while high < MAX_COUNT and is_within(high):
        low = high
        high *= 2
    while high - low > 1:
        middle = (low + high) // 2
        if is_within(middle):
            low = middle
        else:
            high = middle
    return low
