"""The fitted step of `data.harmonise`: paid for, fitted over the channel, and applied.

data = harmonised(public, data, ledgers=books, files=files)    # before anything trains

Under a claim a site draws noise once, for the moments of its clipped records. Everything else is
computed from these, its own location and scale, too.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from securefl.channels.protocol import Header, Observation
from securefl.data.harmonise.combat import (
    NO_EFFECT,
    SiteEffect,
    adjusted,
    check_site,
    combat_parts,
    site_effect,
)
from securefl.data.harmonise.moments import Array, Moments, exact_moments, noised_moments
from securefl.data.harmonise.standardise import standardise_parts, standardised
from securefl.data.harmonise.sums import Part, Pooled
from securefl.data.task import Examples, FederatedData, Site, concatenate
from securefl.errors import DataError, RunFailed, RunFolderError
from securefl.federation.sums import play_fit, sums_plan
from securefl.privacy.events import FIT_ROUND, ReleaseId
from securefl.privacy.ledger import Ledger
from securefl.scenario import catalog
from securefl.scenario.assemble.fit_files import FitFiles
from securefl.scenario.assemble.public import PublicParts
from securefl.scenario.assemble.trainers import stream_for
from securefl.scenario.harmonise_table import Combat, FittedStep


class _Table(NamedTuple):
    """The columns of some records that a step looks at, in units of its bound."""

    features: Array
    covariates: Array


class _Step:
    """A fitted step for the records of one scenario.

    Args:
        step: as declared.
        features: columns of a record.
        claim: whether DP is claimed.
    """

    def __init__(self, step: FittedStep, *, features: int, claim: bool) -> None:
        self.step = step
        self.claim = claim
        self.columns = list(step.columns_of(features))
        self.regressors = list(step.regressors)
        self.bound = 1.0 if step.bound is None else step.bound
        self.p, self.q = len(self.columns), len(self.regressors)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The sums that the step is fitted by."""
        if isinstance(self.step, Combat):
            return combat_parts(self.p, self.q, claim=self.claim, columns=self.columns)
        return standardise_parts(self.p, claim=self.claim, columns=self.columns)

    def table(self, examples: Examples) -> _Table:
        """Returns the columns of some records, float64."""
        values = examples.features.numpy().astype(np.float64) / self.bound
        # Rows after rows: the order of a sum, and so its last bits, follow from the layout.
        features = np.ascontiguousarray(values[:, self.columns])
        return _Table(features, np.ascontiguousarray(values[:, self.regressors]))

    def effect(self, moments: Moments, pooled: Pooled) -> SiteEffect:
        """Returns what is a site's own; nothing in a standardisation."""
        if not isinstance(self.step, Combat):
            return NO_EFFECT
        return site_effect(moments, pooled, empirical_bayes=self.step.shrinks, claim=self.claim)

    def applied(self, examples: Examples, pooled: Pooled, effect: SiteEffect) -> Examples:
        """Returns the records after the step; other columns stay as they are."""
        table = self.table(examples)
        if isinstance(self.step, Combat):
            values = adjusted(*table, pooled, effect) * self.bound
        else:
            values = standardised(table.features, pooled)
        features = examples.features.clone()
        features[:, self.columns] = torch.from_numpy(values).to(features.dtype)
        return Examples(features, examples.labels)


def check_own_tests(step: FittedStep | None, data: FederatedData) -> None:
    """Refuses test records that belong to no site, where each site has a map of its own.

    Raises:
        DataError: they do.
    """
    if not isinstance(step, Combat) or step.new_sites is not None:
        return
    own = [site.test for site in data.sites if site.test is not None]
    if len(own) < len(data.sites) or sum(map(len, own)) != len(data.test):
        raise DataError(
            "data.harmonise: combat needs test records of each site's own, and these are common to "
            "all; use standardise, or records whose sites hold back a share (data.test_share)"
        )


def harmonised(
    public: PublicParts,
    data: FederatedData,
    *,
    ledgers: Mapping[int, Ledger],
    files: FitFiles | None,
) -> FederatedData:
    """Returns the records after the fitted step; the same records where there is none.

    Args:
        public: of the federation.
        data: of all sites, after record-local steps.
        ledgers: client -> its ledger, opened; empty where nothing is claimed.
        files: where the fit is kept, and read from if it is there; None for memory alone.

    Raises:
        BudgetExceeded: a site cannot pay for it.
        DataError: nothing can be fitted to these records, where no claim forbids to say so.
        RunFailed: a site is missing in a sum.
        RunFolderError: what was kept is damaged or gone.
    """
    declared = public.scenario.data.fit
    if declared is None:
        return data
    check_own_tests(declared, data)
    claim = public.scenario.claims_dp
    step = _Step(declared, features=data.task.features, claim=claim)
    pooled = None if files is None else files.pooled(p=step.p, q=step.q)
    if claim:
        moments = {
            client: _paid_moments(
                public, step, client, site, ledgers[client], files, fitted=pooled is not None
            )
            for client, site in enumerate(data.sites)
        }
    else:
        moments = {client: _exact(step, site) for client, site in enumerate(data.sites)}
    if pooled is None:
        log = _Headers()
        pooled = _play(public, step, moments, log)
        if files is not None:
            files.keep(pooled, log.headers)
    return _applied(step, data, moments, pooled)


def fitted_here(declared: FittedStep, data: FederatedData) -> FederatedData:
    """Returns records after a fit without noise and without a channel, for their owner to look at.

    Args:
        declared: the step.
        data: of all sites, after record-local steps.

    Raises:
        DataError: nothing can be fitted to these records.
    """
    step = _Step(declared, features=data.task.features, claim=False)
    moments = {client: _exact(step, site) for client, site in enumerate(data.sites)}
    pooled = Pooled.start(step.p, step.q)
    for part in step.parts:
        total = np.sum([part.of(own, pooled) for own in moments.values()], axis=0)
        pooled = part.learn(total, pooled)
    return _applied(step, data, moments, pooled)


def _exact(step: _Step, site: Site) -> Moments:
    """Returns the exact moments of a site, without a claim. Raises DataError."""
    table = step.table(site.train)
    if isinstance(step.step, Combat):
        check_site(*table, name=site.name, columns=step.columns)
    return exact_moments(*table)


def _paid_moments(
    public: PublicParts,
    step: _Step,
    client: int,
    site: Site,
    ledger: Ledger,
    files: FitFiles | None,
    *,
    fitted: bool,
) -> Moments:
    """Returns the noised moments of a site, drawn once and paid for once.

    They are on the disk before anything of them leaves. A crash before that leaves a payment and
    no release, so that the next attempt draws them for the same payment.

    Raises:
        BudgetExceeded: the fit does not fit the budget.
        RunFailed: the ledger cannot be written.
        RunFolderError: they were released and are gone.
    """
    scenario, cost = public.scenario, step.step.cost
    if cost is None:
        raise RunFailed("data.harmonise: a fit under a DP claim needs noise")
    release = ReleaseId(public.run, client, FIT_ROUND, attempt=0)
    try:
        ledger.reserve(cost, release_id=release)
    except OSError as reason:
        raise RunFailed(
            f"data.harmonise: the ledger of client {client} cannot be written: {reason.strerror}"
        ) from None
    kept = None if files is None else files.moments(client, p=step.p, q=step.q)
    if kept is not None:
        _settle(ledger, release)  # a crash may have come between both
        return kept
    released = fitted or release in ledger.settled
    if released and not scenario.repeatable:
        raise RunFolderError(
            f"data.harmonise: the noised moments of client {client} were released and are gone; "
            "under fresh noise they are not released again: start again under another --out"
        )
    table = step.table(site.train)
    moments = noised_moments(
        *table,
        records=scenario.site_records[client],
        noise_multiplier=cost.noise_multiplier,
        stream=stream_for(scenario)("harmonise", client, 0),
    )
    if files is not None:
        files.keep_moments(client, moments)
    _settle(ledger, release)
    return moments


def _settle(ledger: Ledger, release: ReleaseId) -> None:
    """Notes a fit as released; if the disk refuses, it stays reserved, which costs the same."""
    with suppress(OSError):
        ledger.settle(release)


def _play(
    public: PublicParts, step: _Step, moments: Mapping[int, Moments], log: "_Headers"
) -> Pooled:
    """Fits over the scenario's channel, in a session of its own."""
    kind = public.scenario.channel.kind
    plan = sums_plan(public.plan, step.parts)
    options = catalog.APART[kind].long_integers(plan, public.facts.channel_options)
    sides = catalog.CHANNELS[kind].sides(plan, **options)
    return play_fit(sides, step.parts, moments, start=Pooled.start(step.p, step.q), observer=log)


class _Headers:
    """Keeps what parties see in a fit, without the values."""

    def __init__(self) -> None:
        self.headers: list[Header] = []

    def observe(self, observation: Observation) -> None:
        self.headers.append(observation.header)


def _applied(
    step: _Step, data: FederatedData, moments: Mapping[int, Moments], pooled: Pooled
) -> FederatedData:
    """Returns all records after the step, those of each site by its own location and scale."""
    sites = []
    for client, site in enumerate(data.sites):
        effect = step.effect(moments[client], pooled)
        test = None if site.test is None else step.applied(site.test, pooled, effect)
        sites.append(Site(site.name, step.applied(site.train, pooled, effect), test))
    return replace(data, sites=tuple(sites), test=_common(step, data, sites, pooled))


def _common(step: _Step, data: FederatedData, sites: Sequence[Site], pooled: Pooled) -> Examples:
    """Returns all test records after the step.

    They are those of the sites; or those of a site that is held out; or common to all, where the
    step is the same for every site.
    """
    own = [site.test for site in sites if site.test is not None]
    if len(own) == len(sites) and sum(map(len, own)) == len(data.test):
        return concatenate(own)
    effect = NO_EFFECT
    if isinstance(step.step, Combat) and step.step.new_sites == "fit":
        # The records that judge are the new site's, so that they are fitted as its own.
        table = step.table(data.test)
        check_site(*table, name="that is held out", columns=step.columns)
        effect = step.effect(exact_moments(*table), pooled)
    return step.applied(data.test, pooled, effect)
