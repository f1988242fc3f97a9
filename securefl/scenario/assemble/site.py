"""The parts of a federation that one site makes, from its own records and no others."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securefl import vector
from securefl.channels.protocol import ChannelClient, Plan
from securefl.data.task import Examples
from securefl.federation.client import Client
from securefl.learning.protocol import Trainer
from securefl.privacy.ledger import Ledger
from securefl.privacy.remember import Remember, fresh
from securefl.scenario.assemble.assemble import client_of
from securefl.scenario.assemble.ledgers import open_ledger
from securefl.scenario.assemble.public import PublicParts
from securefl.scenario.assemble.trainers import local_training, make_trainers


@dataclass(frozen=True)
class SiteParts:
    """Everything that one site's client is joined from.

    Attributes:
        public: what every party has.
        client: its id.
        trainer: its local training.
        ledger: opened; None where nothing is claimed.
        records: its record count where weights are reported; None everywhere else.
    """

    public: PublicParts
    client: int
    trainer: Trainer
    ledger: Ledger | None
    records: int | None

    @property
    def plan(self) -> Plan:
        """The constants of the updates' session."""
        return self.public.plan

    @property
    def options(self) -> Mapping[str, Any]:
        """The options of its channel."""
        return self.public.scenario.facts.channel_options

    def joined(self, channel: ChannelClient) -> Client:
        """Returns the site's client, once its side of the channel is there."""
        return client_of(
            self.public,
            self.client,
            trainer=self.trainer,
            channel=channel,
            reader=self.public.reader(vector.layout(self.public.model)),
            ledger=self.ledger,
            records=self.records,
        )


def site_parts(
    public: PublicParts,
    client: int,
    own: Examples,
    *,
    ledger: Path | Ledger | None,
    remember: Remember = fresh,
) -> SiteParts:
    """Makes one site's parts.

    Args:
        public: what every party has.
        client: its id.
        own: its training records.
        ledger: its ledger, which may be that of a data set; or the file of one, which is read and
            continued if it exists. None where nothing is claimed.
        remember: caches calibrated noise.

    Raises:
        LedgerError: the ledger is damaged or was kept under other terms.
        ScenarioError: no noise meets the claim.
    """
    scenario = public.scenario
    # The ledger comes first: noise is calibrated on top of what was spent.
    book = open_ledger(scenario, ledger) if isinstance(ledger, Path) else ledger
    if book is not None:
        book.begin()
    books = {} if book is None else {client: book}
    task = scenario.facts.task
    local = local_training(
        scenario,
        task,
        {client: own},
        public.model,
        books,
        remember,
        common_noise=public.common_noise,
    )
    records = len(own) if scenario.weights == "reported" else None
    return SiteParts(public, client, make_trainers(scenario, local)[client], book, records)
