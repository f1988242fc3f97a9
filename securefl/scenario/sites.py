"""The sites of a scenario and the public numbers of their records."""

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from securefl.data.partition import Skew
from securefl.data.task import Task
from securefl.errors import ScenarioError
from securefl.scenario import catalog
from securefl.scenario.automatic import evidence_of, leaves_something, settled
from securefl.scenario.choices import Choices
from securefl.scenario.chosen import Chosen
from securefl.scenario.declaration import Declaration
from securefl.scenario.entries import ModelEntry
from securefl.scenario.own_data import own_entry

DEFAULT_SKEW = Skew(alpha=0.5, classes=2, minimum=1)


class Sites(Choices):
    """What follows from the table [data], from public constants only.

    Attributes:
        data_set: the entry of the data set.
        partition: how the records are dealt; the data set's own way by default.
        site_count: number of sites before `only` keeps one.
        clients: number of clients.
        data_options: the keys in force that only some data sets take.
        training_records: training records of all sites; fewer where some of them judge.
    """

    def __init__(self, declared: Declaration) -> None:
        super().__init__(declared)
        data = declared.data
        published = catalog.DATA.get(data.name)
        if published is None:
            published = own_entry(data, declared.home, claim=declared.claims_dp)
        self.data_set = published
        self._training = self.data_set.training(data.test_on)
        self.training_records = sum(next(iter(self._training.values())))
        self.data_options = in_force(data, self.data_set.options)
        self.partition = data.partition or self.data_set.usual
        # A name means the data set's own partition first: it comes with sizes that are published.
        own_sites = self.data_set.partitions.get(self.partition)
        if self.partition == "pooled":
            self.site_count = 1
        elif own_sites is not None:
            self.site_count = len(own_sites)
        else:
            self.site_count = data.clients or catalog.DEFAULT_CLIENTS
        if data.only is not None:
            self.clients = 1
        elif data.held_out is not None and self.partition != "pooled":
            self.clients = self.site_count - 1
        else:
            self.clients = self.site_count

    @cached_property
    def task(self) -> Task:
        """The shape of the records and the number of classes, before any record is read."""
        size = self.data_options.get("size")
        return self.data_set.task() if size is None else self.data_set.task(size)

    @cached_property
    def evidence(self) -> float:
        """Training records of all clients that are public, times epsilon; infinite without one."""
        privacy, records = self._declared.privacy, self.public_records
        total = self.training_records if records is None else sum(records)
        return evidence_of(total, math.inf if privacy is None else privacy.epsilon)

    @cached_property
    def architecture(self) -> Chosen[ModelEntry]:
        """The model that the scenario names, or that public numbers choose; not built."""
        model = self._declared.model
        if self.named_model is None or leaves_something(model):
            return settled(model, self.named_model, self.task, self.evidence)
        return Chosen(model.name, self.named_model, model.parameters)

    def place(self, site: int) -> int:
        """Returns the place of a site of the data set among those that train."""
        held_out = self._declared.data.held_out
        return site - (held_out is not None and held_out < site)

    @cached_property
    def published_records(self) -> tuple[int, ...] | None:
        """Training sizes of the published split, as `share` and `most` leave them.

        A site that is held out is not among them. None where sizes are drawn. After `share` they
        are expected sizes: the share of the published one, rounded, at least 1. The real sizes
        follow from the records.
        """
        sizes = self._dealt_records()
        if sizes is None:
            return None
        most, share = self._declared.data.most, self._declared.data.share
        # In this order the records are reduced: most applies to the records that share leaves.
        if share is not None:
            sizes = tuple(max(1, round(share * size)) for size in sizes)
        if most is not None:
            sizes = tuple(min(size, most) for size in sizes)
        return sizes

    @cached_property
    def public_records(self) -> tuple[int, ...] | None:
        """Training records of each client: declared, published, or None."""
        privacy = self._declared.privacy
        if privacy is not None and privacy.records is not None:
            return privacy.records
        return self.published_records

    @cached_property
    def site_records(self) -> tuple[int, ...]:
        """The public numbers of training records. Raises ScenarioError without."""
        if self.public_records is None:
            raise ScenarioError(
                f"partition {self.partition!r} has no published sizes: declare privacy.records, "
                "or, without a DP claim, set weights = 'equal' or 'reported'"
            )
        return self.public_records

    def _dealt_records(self) -> tuple[int, ...] | None:
        """Returns the training sizes of the clients as they are dealt; None where not public."""
        if not self.data_set.published:
            return None
        held_out, only = self._declared.data.held_out, self._declared.data.only
        if self.partition == "pooled":
            # A site held out takes its records with it, those of the data set's own split.
            lost = 0 if held_out is None else self._training[self.data_set.usual][held_out]
            return (self.training_records - lost,)
        sizes = self._training.get(self.partition)
        if sizes is None:
            sizes_of = catalog.DEALS[self.partition].sizes
            if sizes_of is None:
                return None
            sizes = sizes_of(self.training_records, self.site_count)
        if only is not None:
            return (sizes[only],)
        return tuple(size for site, size in enumerate(sizes) if site != held_out)


def in_force(table: object, defaults: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the values of a table for some keys, with their defaults filled in."""
    given = {key: getattr(table, key) for key in defaults}
    return {key: defaults[key] if value is None else value for key, value in given.items()}
