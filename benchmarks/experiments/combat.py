"""How much of the site ComBat takes out of features, and what is left of the label.

Run:  python -m benchmarks.experiments.combat --write docs/results

Features are deciles and sharpness of PneumoniaMNIST images, dealt to three sites with simulated
scanners, and columns of the four hospitals of Heart Disease. ComBat is fitted to training records
by masked sums. A linear classifier then learns the site, and another one the label, from training
records; both are judged on test records.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.experiments.table import (
    NO_GOAL,
    Page,
    Row,
    Setup,
    csv_text,
    main,
    markdown,
    plus_minus,
)
from securefl.channels.masking.build import MASKED, MASKED_APART
from securefl.channels.protocol import Plan
from securefl.data import heart, medmnist, medmnist_info
from securefl.data.harmonise.combat import adjusted, combat_parts, site_effect
from securefl.data.harmonise.moments import Moments, exact_moments, noised_moments
from securefl.data.harmonise.sums import Pooled
from securefl.data.scanners import Scanner, scanned
from securefl.data.task import Examples
from securefl.federation.sums import play_fit, sums_plan
from securefl.learning.site_effect import intensity_features, sharpness_features
from securefl.privacy.accounting.gaussian import exact_epsilon
from securefl.rng import seeded_keystream

SEEDS = 5
SITE_GOAL = 0.65
LOSS_GOAL = 0.02
SCANNERS = (Scanner(), Scanner(gain=0.6, gamma=1.6), Scanner(gain=1.3, gamma=0.6))
BLURRED = (Scanner(), Scanner(gain=0.6, gamma=1.6), Scanner(gain=1.3, gamma=0.6, blur=1.0))
# Shares of the records with pneumonia that each site gets, and of the others.
EVEN = ((1 / 3, 1 / 3, 1 / 3), (1 / 3, 1 / 3, 1 / 3))
UNEVEN = ((0.15, 0.35, 0.5), (0.5, 0.35, 0.15))
# Declared: logarithms of energies of bytes lie between these.
SHARPNESS = (0.0, 11.0)
HEART_COLUMNS = (0, 1, 3, 4)  # age, resting pressure, heart rate, ST depression
NOISE = 4.0
Array = NDArray[np.float64]


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


class Table(NamedTuple):
    """Features (n, p) in [-1, 1], labels (n,) and sites (n,) of some records."""

    features: Array
    labels: NDArray[np.int64]
    sites: NDArray[np.int64]

    def of(self, site: int) -> Array:
        """Returns the features of one site."""
        return self.features[self.sites == site]


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


def play(job: tuple[Case, int]) -> Result:
    """Returns the figures of one case and seed."""
    case, seed = job
    train, test = _hospitals(seed) if not case.scanners else _images(case, seed)
    if case.columns:
        train, test = (
            table._replace(features=table.features[:, case.columns]) for table in (train, test)
        )
    after_train, after_test = harmonised(train, test, noise=case.noise, seed=seed)
    return Result(
        case.name,
        seed,
        auc(train.features, train.sites, test.features, test.sites),
        auc(after_train, train.sites, after_test, test.sites),
        auc(train.features, train.labels, test.features, test.labels),
        auc(after_train, train.labels, after_test, test.labels),
    )


def harmonised(train: Table, test: Table, *, noise: float, seed: int) -> tuple[Array, Array]:
    """Returns the features of both tables after a ComBat that training records are fitted to."""
    p = train.features.shape[1]
    sites = range(int(train.sites.max()) + 1)
    parts = combat_parts(p, 0, claim=noise > 0)
    moments = {site: _moments(train.of(site), noise, seed, site) for site in sites}
    updates = Plan(
        session=b"combat benchmark",
        d=1,
        clients=tuple(sites),
        cohort=len(sites),
        rounds=1,
        min_cohort=3,
        weights=None,
        max_weight=1,
        stream_for=lambda purpose, client, round: seeded_keystream(seed, purpose, client, round),
    )
    plan = sums_plan(updates, parts)
    sides = MASKED.sides(plan, **MASKED_APART.integers(plan, dict(MASKED.options)))
    pooled = play_fit(sides, parts, moments, start=Pooled.start(p, 0))
    after = train.features.copy(), test.features.copy()
    for site in sites:
        effect = site_effect(moments[site], pooled, empirical_bayes=True, claim=noise > 0)
        for table, features in zip((train, test), after, strict=True):
            own = table.of(site)
            features[table.sites == site] = adjusted(own, np.zeros((len(own), 0)), pooled, effect)
    return after


def _moments(features: Array, noise: float, seed: int, site: int) -> Moments:
    none = np.zeros((len(features), 0))
    if not noise:
        return exact_moments(features, none)
    stream = seeded_keystream(seed, "combat", site)
    # In a deployment this is a declared number; the sites here have as many by construction.
    records = len(features)
    return noised_moments(features, none, records=records, noise_multiplier=noise, stream=stream)


def auc(train: Array, answers: NDArray[np.int64], test: Array, truth: NDArray[np.int64]) -> float:
    """Returns the AUC of a linear classifier; with several classes the mean, one against rest."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    probabilities = model.fit(train, answers).predict_proba(test)
    if probabilities.shape[1] == 2:
        return float(roc_auc_score(truth, probabilities[:, 1]))
    return float(roc_auc_score(truth, probabilities, multi_class="ovr"))


def _images(case: Case, seed: int) -> tuple[Table, Table]:
    """Returns training and test records of three sites with scanners of their own."""
    source = medmnist_info.source("pneumoniamnist")
    data = medmnist.load_medmnist(source, partition="pooled", test_on="test")
    train = _dealt(data.sites[0].train, case, seed, "train")
    return train, _dealt(data.test, case, seed, "test")


def _dealt(examples: Examples, case: Case, seed: int, split: str) -> Table:
    """Returns the features of records that are dealt to sites and scanned there."""
    draws = seeded_keystream(seed, f"combat {split}").uniform(len(examples))
    labels = examples.labels.flatten().numpy()
    ends = np.cumsum(np.array(case.deal)[1 - labels], axis=1)[:, :-1]  # pneumonia is class 1
    sites = (draws[:, None] > ends).sum(axis=1)
    features = np.empty((len(examples), 0))
    for site, scanner in enumerate(case.scanners):
        here = sites == site
        own = Examples(examples.features[torch.from_numpy(here)], torch.from_numpy(labels[here]))
        found = _features(scanned(own, scanner))
        if not features.size:
            features = np.empty((len(examples), found.shape[1]))
        features[here] = found
    return Table(features, labels, sites)


def _features(examples: Examples) -> Array:
    """Returns (n, 13): deciles and sharpness, scaled to [-1, 1] by declared ranges."""
    low, high = SHARPNESS
    deciles = intensity_features(examples.features).numpy() / 127.5 - 1
    energies = (sharpness_features(examples.features).numpy() - low) / (high - low) * 2 - 1
    return np.concatenate([deciles, energies], axis=1).clip(-1, 1)


def _hospitals(seed: int) -> tuple[Table, Table]:
    """Returns four columns of the hospitals, whose patients differ as well."""
    data = heart.load_heart(partition="natural", split_seed=seed)
    tests = [site.test for site in data.sites if site.test is not None]
    return _joined([site.train for site in data.sites]), _joined(tests)


def _joined(parts: Sequence[Examples]) -> Table:
    return Table(
        np.concatenate([part.features[:, HEART_COLUMNS].double().numpy() for part in parts]),
        np.concatenate([part.labels.numpy() for part in parts]),
        np.repeat(range(len(parts)), [len(part) for part in parts]),
    )


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


def page(results: Sequence[Result]) -> str:
    """Returns the page of results."""
    lines = [
        "# ComBat on features",
        "",
        (__doc__ or "").split("\n\n", 2)[2].strip(),
        "",
        f"Mean and standard error over {SEEDS} seeds, which deal the records; made by "
        "`python -m benchmarks.experiments.combat --write docs/results`.",
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


def measure(setup: Setup) -> Page:
    """Measures all cases over all seeds."""
    jobs = [(case, seed) for case in CASES for seed in range(SEEDS)]
    results = list(setup.workers.map(play, jobs))
    text = page(results)
    files: Mapping[str, str] = {
        "combat.md": text,
        "combat.csv": csv_text(Result._fields, results, digits=4),
    }
    return Page(text, files)


if __name__ == "__main__":
    sys.exit(main(measure, about=__doc__))
