"""Whether an opened sum has as much noise as its shares were counted for."""

import math

import torch
from scipy.stats import chi2
from torch import Tensor

from securefl.audit.bounds import LINE_CONFIDENCE
from securefl.audit.canaries import Canaries
from securefl.audit.inquiry import Inquiry
from securefl.audit.knowledge import Knowledge, Sight
from securefl.audit.lines import Line, Verdict
from securefl.audit.measure import CanaryRun
from securefl.audit.repertoire import SUM_NOISE
from securefl.audit.weights import client_weights, weights_in_sum
from securefl.privacy.events import DiscreteGaussianSum

# "Holds" leaves out noise that is smaller by this share.
FAULT = 0.1


def sum_noise_lines(inquiry: Inquiry, run: CanaryRun, knowledge: Knowledge) -> list[Line]:
    """Returns the line on the size of the noise that the clients add in shares.

    The owner of the code knows every update of its replay, so that what is left of a sum at the
    canaries that stayed out is noise alone. There is more of it than was booked where more clients
    took part than were counted.
    """
    spent = inquiry.spent(run.played)
    events = [event for event in spent if isinstance(event, DiscreteGaussianSum)]
    if len(spent) != 1 or not events:
        return [undecided("the ledger holds several kinds of events, or none of a sum")]
    rests = [_rest(sight, run.canaries, inquiry) for sight in knowledge.moves]
    known = [rest for rest in rests if rest is not None]
    if not known:
        return [undecided("this adversary sees no sum, in which it knows every update")]
    return [noise_line(torch.cat(known), events[0].sigma)]


def noise_line(rest: Tensor, sigma: float) -> Line:
    """Returns the line on noise (n,) that should have a deviation of sigma or more."""
    degrees = len(rest)
    statistic = float((rest.double() / sigma).square().sum())
    figure = f"{math.sqrt(statistic / degrees):.3g} times what is booked, over {degrees} numbers"
    if chi2.cdf(statistic, degrees) < 1 - LINE_CONFIDENCE:
        return Line(SUM_NOISE, Verdict.VIOLATED, f"the noise of a sum is {figure}")
    if chi2.sf(statistic / (1 - FAULT) ** 2, degrees) < 1 - LINE_CONFIDENCE:
        return Line(SUM_NOISE, Verdict.HOLDS, figure)
    return undecided(f"{figure}; a fault of {FAULT:.0%} would not show")


def _rest(sight: Sight, canaries: Canaries, inquiry: Inquiry) -> Tensor | None:
    """Returns the noise of a sum at the canaries that are out, as large as in the opened sum."""
    if sight.moved is None or sight.counts is None or not canaries.known:
        return None
    out = ~canaries.inside
    rest = sight.moved[canaries.coordinates[out]].double()
    for client, count in sight.counts.items():
        rest -= count * canaries.known[client][sight.round][out]
    # A coalition that took its own updates away also divided by the weight of the target.
    return rest * (_weight_in_sum(inquiry) / sight.counts[inquiry.target])


def _weight_in_sum(inquiry: Inquiry) -> float:
    """Returns how much the target's update counts in an opened sum."""
    facts = inquiry.scenario.facts
    weights = client_weights(facts, {inquiry.target: 0}, reported=False)
    return weights_in_sum(weights, facts.max_weight)[inquiry.target]


def undecided(why: str) -> Line:
    """Returns the line where the noise cannot be seen, or not be told from less."""
    return Line(SUM_NOISE, Verdict.UNDECIDED, why)
