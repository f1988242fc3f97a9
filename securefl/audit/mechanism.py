"""Verdicts on DP-SGD itself, by the client that owns the code and looks at its own replay."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from securefl.audit.bounds import LINE_CONFIDENCE
from securefl.audit.checks import Checked
from securefl.audit.evidence import Evidence
from securefl.audit.lines import Line, Verdict
from securefl.audit.noise_checks import fresh_checks, size_checks
from securefl.audit.repertoire import BATCHES, BOOKS, CLIP, FRESH, INSIDE, SIZE
from securefl.audit.step_checks import batch_checks, book_checks, clip_checks
from securefl.privacy.events import PrivacyEvent

# Share of the noise that rounding of the weights may add: more would blur what is measured.
MAX_ROUNDING_SHARE = 0.01
MAX_REASONS = 3  # that a violated line names


class Inside(NamedTuple):
    """Everything that the client that owns the code sees of its replay.

    Attributes:
        evidence: of the client's own steps.
        others: client -> evidence of its steps, for those whose noise is compared.
        alone: whether no other client is in the federation.
        moved: one a round: the update (d,) that was seen to leave.
        clip: agreed bound on the norm of each example's gradient.
    """

    evidence: Evidence
    others: Mapping[int, Evidence]
    alone: bool
    moved: Sequence[Tensor]
    clip: float


def mechanism_lines(seen: Inside, spent: Mapping[PrivacyEvent, int]) -> list[Line]:
    """Returns one line for each of `repertoire.MECHANISM`.

    Args:
        seen: of the replay.
        spent: event -> how often it was booked.

    Guarantees:
        - A line of right code is "violated" with probability 1 - `LINE_CONFIDENCE` at most.
        - A line "holds" only where all its checks were made, none failed, and every interval that
          it names leaves out a fault of 10 % (of another clipping: half of it).
    """
    # Several kinds of events have several noises and rates: no single figure is booked.
    if len(spent) != 1 or not any(round.steps for round in seen.evidence.rounds):
        return unseen("the ledger holds several kinds of events, or no step was seen")
    ((event, count),) = spent.items()
    scale = event.noise_multiplier * seen.clip
    batches = batch_checks(seen.evidence, rate=event.sample_rate, confidence=LINE_CONFIDENCE)
    books = book_checks(seen.evidence, steps=event.steps * count, moved=seen.moved)
    return [*_noise_lines(seen, scale), _line(BATCHES, batches), _line(BOOKS, books)]


def _noise_lines(seen: Inside, scale: float) -> list[Line]:
    """The three lines that are read from the noise; undecided where rounding drowns it."""
    if not 0 < scale < math.inf or seen.evidence.coarse > MAX_ROUNDING_SHARE * scale:
        why = "the noise is too small compared with the rounding of the weights"
        return [Line(name, Verdict.UNDECIDED, why) for name in (SIZE, FRESH, CLIP)]
    evidence, confidence = seen.evidence, LINE_CONFIDENCE
    return [
        _line(SIZE, size_checks(evidence, scale=scale, confidence=confidence)),
        _line(FRESH, fresh_checks(evidence, seen.others, scale=scale, alone=seen.alone)),
        _line(CLIP, clip_checks(evidence, scale=scale, confidence=confidence)),
    ]


def unseen(why: str) -> list[Line]:
    """Returns the one line where the steps cannot be seen, or not be held against the claim."""
    return [Line(INSIDE, Verdict.UNDECIDED, why)]


def _line(name: str, checked: Checked) -> Line:
    """Violated where a check fails; holds where none does and nothing was left open."""
    # The checks of a line share its doubt (Bonferroni).
    allowed = (1 - LINE_CONFIDENCE) / max(1, len(checked.checks))
    failed = [check for check in checked.checks if check.chance < allowed]
    if failed:
        failed.sort(key=lambda check: check.chance)
        reasons = [f"{check.what} (by chance: {check.chance:.1g})" for check in failed]
        why = "; ".join([checked.figure, *reasons[:MAX_REASONS]])
        return Line(name, Verdict.VIOLATED, why)
    if checked.open:
        return Line(name, Verdict.UNDECIDED, "; ".join(checked.open))
    return Line(name, Verdict.HOLDS, checked.figure)
