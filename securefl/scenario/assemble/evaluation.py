"""Evaluation at the sites: a second sum, of counts, that travels next to the updates.

Its rounds have the numbers of models: round r judges the model that round r trains on, and the
round after the last one judges the last model.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from securefl import vector
from securefl.channels.protocol import ChannelClient, Plan, View
from securefl.data.task import Examples, FederatedData
from securefl.errors import ScenarioError
from securefl.federation.client import Client
from securefl.learning.counts import BINS, NOISY_BINS, Counts, CountsLayout
from securefl.learning.tally import OnMetrics, Tally, unkept
from securefl.privacy.accounting.calibration import calibrate_noise
from securefl.privacy.events import PrivacyEvent, SampledGaussian
from securefl.privacy.ledger import Ledger
from securefl.privacy.terms import Terms
from securefl.rng import Keystream, seeded_keystream, system_keystream
from securefl.scenario import catalog
from securefl.scenario.assemble.public import PublicParts
from securefl.scenario.scenario import Scenario
from securefl.scenario.tables import Evaluate

_MOST_RECORDS = 2.0**31  # of a count


def check_choice(scenario: Scenario) -> None:
    """Refuses to keep the best of models that nobody judges. Raises ScenarioError."""
    if scenario.keeps_best and scenario.leave == "never":
        raise ScenarioError(
            "evaluate.keep = 'best' needs figures of the models, which evaluate.leave lets out of "
            "the sites: set it to 'sums' or 'noisy', or remove keep"
        )


def judged_models(scenario: Scenario) -> tuple[int, ...]:
    """Returns the numbers of the models that sites judge, ascending; the last is the final one.

    Test records judge the final model, once. Validation records judge it and those before.
    """
    if scenario.leave == "never":
        return ()
    last = scenario.rounds
    if scenario.judging == "test":
        return (last,)
    every = (scenario.evaluate or Evaluate()).every or 1
    return (*range(every, last, every), last)


def evaluated_rounds(scenario: Scenario) -> Callable[[int], bool]:
    """Returns round -> whether the model is evaluated after it; after the last one it always is."""
    every = 1 if scenario.evaluate is None else scenario.evaluate.every or 1
    last = scenario.rounds
    return lambda round: (round + 1) % every == 0 or round + 1 == last


def counts_layout(scenario: Scenario) -> CountsLayout:
    """Returns where the counts of a scenario's task lie in their vector."""
    bins = NOISY_BINS if scenario.leave == "noisy" else BINS
    return CountsLayout.of(scenario.facts.task, bins=bins)


def counts_plan(public: PublicParts) -> Plan:
    """Returns the constants of the counts' own session: all sites, and no weights."""
    plan = public.plan
    return replace(
        plan,
        session=hashlib.sha256(b"securefl counts 1" + plan.session).digest()[:16],
        d=counts_layout(public.scenario).length,
        cohort=len(plan.clients),
        rounds=plan.rounds + 1,
        weights=dict.fromkeys(plan.clients, 1),
        max_weight=1,
        noise=None,
        selection=None,
    )


def counts_options(public: PublicParts) -> Mapping[str, Any]:
    """Returns the channel's options under which whole numbers travel as they are."""
    scenario = public.scenario
    options = scenario.facts.channel_options
    return catalog.APART[scenario.channel.kind].integers(counts_plan(public), options)


def summed(view: View) -> Counts:
    """Returns the sum of all sites' counts (length,) behind a view of the counts' channel.

    A masked view has their mean in float32: the sum is exact below 2^23 records. What a site that
    lies can add is held to numbers that figures can be computed with.
    """
    total: Tensor = view.weights @ view.rows.double()
    held = torch.nan_to_num(torch.round(total), nan=0.0).clamp(-_MOST_RECORDS, _MOST_RECORDS)
    return held.numpy().astype(np.int64)


def counts_cost(scenario: Scenario) -> PrivacyEvent | None:
    """Returns what one evaluation costs a site; None without noise.

    Raises:
        ScenarioError: no noise meets the price.
    """
    if scenario.evaluate is None or scenario.leave != "noisy":
        return None
    epsilon, delta = scenario.evaluate.price
    try:
        noise = calibrate_noise(epsilon, 1.0, len(judged_models(scenario)), delta)
    except ValueError as reason:
        raise ScenarioError(f"evaluate.epsilon: {reason}") from None
    return SampledGaussian(sample_rate=1.0, noise_multiplier=noise, steps=1)


@dataclass(frozen=True)
class CountingParts:
    """Everything that the client that counts at one site is joined from.

    Attributes:
        public: what every party has.
        client: its id.
        tally: counts on this site's records that judge.
        ledger: of these records, opened; None where sums leave without noise.
    """

    public: PublicParts
    client: int
    tally: Tally
    ledger: Ledger | None

    @property
    def plan(self) -> Plan:
        """The constants of the counts' session."""
        return counts_plan(self.public)

    @property
    def options(self) -> Mapping[str, Any]:
        """The options of its channel."""
        return counts_options(self.public)

    def joined(self, channel: ChannelClient) -> Client:
        """Returns the client, once its side of the channel is there."""
        return Client(
            self.client,
            trainer=self.tally,
            channel=channel,
            weight=1,
            reader=self.public.reader(vector.layout(self.public.model)),
            run=self.public.run,
            ledger=self.ledger,
            repeatable=_is_seeded(self.public.scenario),
        )


def counting_parts(
    public: PublicParts,
    client: int,
    own: Examples,
    *,
    ledger: Ledger | None,
    on_metrics: OnMetrics = unkept,
) -> CountingParts:
    """Makes the parts of the client that counts at one site.

    Args:
        public: what every party has.
        client: its id.
        own: its records that judge.
        ledger: `open_figures_ledger` of these records.
        on_metrics: gets the site's own exact figures, which stay there.

    Raises:
        DataError: the labels do not have the task's form.
        ScenarioError: no noise meets the price.
    """
    scenario = public.scenario
    tally = Tally(
        public.model,
        scenario.facts.task,
        own,
        layout=counts_layout(scenario),
        cost=counts_cost(scenario),
        stream_for=partial(_noise, scenario, client),
        on_metrics=on_metrics,
    )
    return CountingParts(public, client, tally, ledger)


def _is_seeded(scenario: Scenario) -> bool:
    """Whether noise on counts comes from the seed.

    Training without noise is repeatable, too, and says nothing about this noise.
    """
    return scenario.privacy is not None and scenario.privacy.noise == "seeded"


def _noise(scenario: Scenario, client: int, round: int) -> Keystream:
    if not _is_seeded(scenario):
        return system_keystream()
    return seeded_keystream(scenario.seed, "counts", client, round)


def open_figures_ledger(scenario: Scenario, path: Path) -> Ledger | None:
    """Opens the ledger of the figures of one run at a site; None where they leave without noise.

    Each run has one of its own: its price bounds the figures of one federation.

    Args:
        scenario: of the run.
        path: of the file; one that exists is read and continued.

    Raises:
        LedgerError: it is damaged or was kept under other terms.
    """
    if scenario.evaluate is None or scenario.leave != "noisy":
        return None
    epsilon, delta = scenario.evaluate.price
    terms = Terms("example", "add_remove", delta, epsilon)
    return Ledger(path, terms._replace(noise="seeded") if _is_seeded(scenario) else terms)


def judging_shares(data: FederatedData) -> tuple[Examples, ...]:
    """Returns each site's share of the records that judge, for a rehearsal.

    Sites that have records of their own keep them. Where the records are common, site i of n gets
    the records i, i + n, i + 2 n and so on. All shares together are the central records.
    """
    own = [site.test for site in data.sites if site.test is not None]
    if len(own) == len(data.sites) and sum(map(len, own)) == len(data.test):
        return tuple(own)
    sites = len(data.sites)
    return tuple(
        Examples(data.test.features[site::sites], data.test.labels[site::sites])
        for site in range(sites)
    )
