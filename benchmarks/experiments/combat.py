"""How much of the site ComBat takes out of features, and what is left of the label.

Run:  python -m benchmarks.experiments.combat --write docs/results

Features are deciles and sharpness of PneumoniaMNIST images, dealt to three sites with simulated
scanners, and columns of the four hospitals of Heart Disease. ComBat is fitted to training records
by masked sums. A linear classifier then learns the site, and another one the label, from training
records; both are judged on test records.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.experiments.combat_page import CASES, SEEDS, Case, Result, page
from benchmarks.experiments.table import (
    Page,
    Setup,
    csv_text,
    main,
)
from securefl.channels.masking.build import MASKED, MASKED_APART
from securefl.channels.protocol import Plan
from securefl.data import heart, medmnist, medmnist_info
from securefl.data.harmonise.combat import adjusted, combat_parts, site_effect
from securefl.data.harmonise.moments import Moments, exact_moments, noised_moments
from securefl.data.harmonise.sums import Pooled
from securefl.data.scanners import scanned
from securefl.data.task import Examples
from securefl.federation.sums import play_fit, sums_plan
from securefl.learning.site_effect import intensity_features, sharpness_features
from securefl.rng import seeded_keystream

# Declared: logarithms of energies of bytes lie between these.
SHARPNESS = (0.0, 11.0)
HEART_COLUMNS = (0, 1, 3, 4)  # age, resting pressure, heart rate, ST depression
Array = NDArray[np.float64]


class Table(NamedTuple):
    """Features (n, p) in [-1, 1], labels (n,) and sites (n,) of some records."""

    features: Array
    labels: NDArray[np.int64]
    sites: NDArray[np.int64]

    def of(self, site: int) -> Array:
        """Returns the features of one site."""
        own: Array = self.features[self.sites == site]
        return own


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
    sides = MASKED.sides(plan, **MASKED_APART.long_integers(plan, dict(MASKED.options)))
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


def measure(setup: Setup) -> Page:
    """Measures all cases over all seeds."""
    jobs = [(case, seed) for case in CASES for seed in range(SEEDS)]
    results = list(setup.workers.map(play, jobs))
    text = page(results, (__doc__ or "").split("\n\n", 2)[2].strip())
    files: Mapping[str, str] = {
        "combat.md": text,
        "combat.csv": csv_text(Result._fields, results, digits=12),
    }
    return Page(text, files)


if __name__ == "__main__":
    sys.exit(main(measure, about=__doc__))
