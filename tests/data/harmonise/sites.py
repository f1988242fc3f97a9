"""Records of unlike sites, for tests of fitted steps."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from securefl.data.harmonise.combat import adjusted, combat_parts, site_effect
from securefl.data.harmonise.moments import Moments, exact_moments
from securefl.data.harmonise.sums import Part, Pooled

Array = NDArray[np.float64]


class Records(NamedTuple):
    """One site's features (n, p) and covariates (n, q)."""

    features: Array
    covariates: Array


def unlike_sites(sizes: tuple[int, ...], *, p: int, q: int, seed: int = 0) -> list[Records]:
    """Returns sites with locations, scales and numbers of records of their own."""
    draw = np.random.default_rng(seed)
    slopes = draw.normal(size=(q, p))
    sites = []
    for size in sizes:
        # Whole float32 numbers: neuroCombat reads covariates in that precision.
        covariates = draw.normal(size=(size, q)).astype(np.float32).astype(np.float64)
        noise = draw.normal(size=(size, p)) * draw.uniform(0.5, 2.0, size=p)
        features = 3 + draw.normal(size=p) + covariates @ slopes + noise
        sites.append(Records(features, covariates))
    return sites


def fitted(parts: tuple[Part, ...], sites: list[Moments], *, p: int, q: int) -> Pooled:
    """Returns what follows from sums that nothing hides."""
    pooled = Pooled.start(p, q)
    for part in parts:
        total = np.sum([part.of(site, pooled) for site in sites], axis=0)
        assert total.shape == (part.length,)
        pooled = part.learn(total, pooled)
    return pooled


def combat(sites: list[Records], *, empirical_bayes: bool = True) -> list[Array]:
    """Returns each site's features after a ComBat without a claim."""
    p, q = sites[0].features.shape[1], sites[0].covariates.shape[1]
    moments = [exact_moments(*site) for site in sites]
    pooled = fitted(combat_parts(p, q, claim=False), moments, p=p, q=q)
    return [
        adjusted(
            *site,
            pooled,
            site_effect(own, pooled, empirical_bayes=empirical_bayes, claim=False),
        )
        for site, own in zip(sites, moments, strict=True)
    ]


def reference(sites: list[Records], *, empirical_bayes: bool = True) -> list[Array]:
    """Returns the same features by neuroCombat 0.2.12, which has all records in one place."""
    import pandas as pd
    from neuroCombat import neuroCombat

    table = {"site": np.repeat(range(len(sites)), [len(site.features) for site in sites])}
    covariates = np.concatenate([site.covariates for site in sites])
    names = [f"z{column}" for column in range(covariates.shape[1])]
    table |= {name: covariates[:, column] for column, name in enumerate(names)}
    result = neuroCombat(
        dat=np.concatenate([site.features for site in sites]).T,
        covars=pd.DataFrame(table),
        batch_col="site",
        continuous_cols=names,
        eb=empirical_bayes,
    )
    ends = np.cumsum([len(site.features) for site in sites])[:-1]
    return np.split(result["data"].T, ends)
