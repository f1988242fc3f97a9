"""The cases of ComBat on features, and the page of their results."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.experiments.table import NO_GOAL, Row, markdown, plus_minus
from securefl.data.scanners import Scanner
from securefl.privacy.accounting.gaussian import exact_epsilon

SEEDS = 5
SITE_GOAL = 0.65
LOSS_GOAL = 0.02
SCANNERS = (Scanner(), Scanner(gain=0.6, gamma=1.6), Scanner(gain=1.3, gamma=0.6))
BLURRED = (Scanner(), Scanner(gain=0.6, gamma=1.6), Scanner(gain=1.3, gamma=0.6, blur=1.0))
# Shares of the records with pneumonia that each site gets, and of the others.
EVEN = ((1 / 3, 1 / 3, 1 / 3), (1 / 3, 1 / 3, 1 / 3))
UNEVEN = ((0.15, 0.35, 0.5), (0.5, 0.35, 0.15))
NOISE = 4.0


class Case(NamedTuple):
    """One comparison.

    Attributes:
        name: as the tables call it.
        scanners: of the three sites; empty for the hospitals of Heart Disease.
        deal: class -> share of its records at each site.
        noise: of the fit; 0 for none.
        has_goal: whether the goals are for it.
        columns: features that are used; empty for all.
    """

    name: str
    scanners: tuple[Scanner, ...]
    deal: tuple[tuple[float, ...], ...] = EVEN
    noise: float = 0.0
    has_goal: bool = False
    columns: tuple[int, ...] = ()


CASES = (
    Case("three scanners", SCANNERS, has_goal=True),
    Case("three scanners, one blurs", BLURRED),
    Case(f"three scanners, noise multiplier {NOISE:g}", SCANNERS, noise=NOISE),
    Case(
        f"three deciles only, noise multiplier {NOISE:g}",
        SCANNERS,
        noise=NOISE,
        columns=(2, 5, 8),
    ),
    Case("three scanners, patients differ", SCANNERS, UNEVEN),
    Case("four hospitals (Heart Disease)", ()),
)


class Result(NamedTuple):
    """Held-out AUCs of one case and seed, before and after ComBat."""

    case: str
    seed: int
    site_before: float
    site_after: float
    label_before: float
    label_after: float

    @property
    def loss(self) -> float:
        """How much lower the AUC of the label is after ComBat."""
        return self.label_before - self.label_after


def goals(results: Sequence[Result]) -> Iterator[Row]:
    """Yields the figures with a goal."""
    for case in CASES:
        own = [result for result in results if result.case == case.name]
        site = [result.site_after for result in own]
        loss = [result.loss for result in own]
        goal = case.has_goal
        yield Row(
            f"{case.name}: AUC of the site after ComBat",
            f"< {SITE_GOAL:g}" if goal else NO_GOAL,
            plus_minus(site, digits=3),
            met=float(np.mean(site)) < SITE_GOAL,
        )
        yield Row(
            f"{case.name}: lost AUC of the label",
            f"<= {LOSS_GOAL:g}" if goal else NO_GOAL,
            plus_minus(loss, digits=3),
            met=float(np.mean(loss)) <= LOSS_GOAL,
        )


def page(results: Sequence[Result], about: str) -> str:
    """Returns the page of results; `about` says what was done."""
    lines = [
        "# ComBat on features",
        "",
        about,
        "",
        f"Mean and standard error over {SEEDS} seeds, which deal the same records again; made by "
        "`python -m benchmarks.experiments.combat --write docs/results`. The standard error lacks "
        "that of a finite sample of test records.",
        "",
        *markdown(
            ("case", "AUC of the site", "after ComBat", "AUC of the label", "after ComBat"),
            (_cells(case, results) for case in CASES),
        ),
        "",
        *markdown(
            ("figure", "goal", "measured", "verdict"),
            ((row.what, row.goal, row.measured, row.verdict) for row in goals(results)),
        ),
        "",
        "A linear classifier that finds no site shows that means agree. Features of other kinds, "
        "or a classifier that is not linear, may still tell sites apart.",
        "Where patients differ between sites, ComBat takes that part of the label out with the "
        "site.",
        f"Under a claim, a noise multiplier of {NOISE:g} costs epsilon "
        f"{exact_epsilon(1 / NOISE, 1e-5):.2f} at delta 1e-5 for one fit. The noise grows with the "
        "root of the number of features, and what it leaves of the scanners adds up over features "
        "that go together.",
        "",
    ]
    return "\n".join(lines)


def _cells(case: Case, results: Sequence[Result]) -> tuple[str, ...]:
    own = [result for result in results if result.case == case.name]
    columns = zip(*(result[2:] for result in own), strict=True)
    return (case.name, *(plus_minus(column, digits=3) for column in columns))
