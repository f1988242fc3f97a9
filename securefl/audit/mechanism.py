"""Verdicts on DP-SGD itself, by the client that owns the code and looks at its own replay from inside."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from securefl.audit.bounds import EACH
from securefl.audit.checks import Checked
from securefl.audit.evidence import Evidence
from securefl.audit.noise_checks import fresh_checks, size_checks
from securefl.audit.step_checks import batch_checks, book_checks, clip_checks
from securefl.audit.verdicts import BATCHES, BOOKS, CLIP, FRESH, SIZE, Line, Stand
from securefl.privacy.events import SampledGaussian

_COARSEST = (
    0.01  # of the noise: what rounding of the weights may add before it blurs what is measured
)


class Inside(NamedTuple):
    """What the client that owns the code sees of its replay.

    Attributes:
        evidence: of the client's own steps.
        others: client -> evidence of its steps, for those whose noise is compared.
        alone: whether no other client is in the federation.
        moved: a round each: the update (d,) that was seen to leave.
        clip: agreed bound on the norm of each example's gradient.
    """

    evidence: Evidence
    others: Mapping[int, Evidence]
    alone: bool
    moved: Sequence[Tensor]
    clip: float


def mechanism_lines(seen: Inside, spent: Mapping[SampledGaussian, int]) -> list[Line]:
    """Returns one line for each of `verdicts.MECHANISM`, against the events that were booked and how often.

    Guarantees:
        - A line of right code is "violated" with probability 1 - `EACH` at most.
        - A line "holds" only where all its checks were made, none failed, and every interval that it
          names leaves out a fault of 10 % (of another clipping: half of it).
    """
    if len(spent) != 1 or not any(one.steps for one in seen.evidence.rounds):
        return unseen("the ledger holds several kinds of events, or no step was seen")
    ((event, count),) = spent.items()
    scale = event.noise_multiplier * seen.clip
    lines = [
        _line(BATCHES, batch_checks(seen.evidence, rate=event.sample_rate, confidence=EACH)),
        _line(BOOKS, book_checks(seen.evidence, steps=event.steps * count, moved=seen.moved)),
    ]
    if not 0 < scale < math.inf or seen.evidence.coarse > _COARSEST * scale:
        blurred = "the noise is too small beside the rounding of the weights"
        return [*(Line(name, Stand.UNTOLD, blurred) for name in (SIZE, FRESH, CLIP)), *lines]
    return [*_noise_lines(seen, scale), *lines]


def _noise_lines(seen: Inside, scale: float) -> list[Line]:
    return [
        _line(SIZE, size_checks(seen.evidence, scale=scale, confidence=EACH)),
        _line(FRESH, fresh_checks(seen.evidence, seen.others, scale=scale, alone=seen.alone)),
        _line(CLIP, clip_checks(seen.evidence, scale=scale, confidence=EACH)),
    ]


def unseen(why: str) -> list[Line]:
    """Returns the one line where the steps cannot be seen, or cannot be held against the claim."""
    return [Line("DP-SGD from inside", Stand.UNTOLD, why)]


def _line(name: str, checked: Checked) -> Line:
    """Violated where a check fails; it holds where none does and nothing was left open."""
    allowed = (1 - EACH) / max(1, len(checked.checks))
    failed = sorted(
        (check for check in checked.checks if check.chance < allowed),
        key=lambda check: check.chance,
    )
    if failed:
        reasons = [f"{check.what} (by chance: {check.chance:.1g})" for check in failed[:3]]
        return Line(name, Stand.VIOLATED, "; ".join([checked.figure, *reasons]))
    if checked.open:
        return Line(name, Stand.UNTOLD, "; ".join(checked.open))
    return Line(name, Stand.HOLDS, checked.figure)
