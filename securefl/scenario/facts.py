"""What follows from a declaration and the catalog, from public constants only.

Nothing here reads a record: a number that depends on records would tell about them wherever it
shows, in a weight, a bound or a refusal.
"""

import json
from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import nn

from securefl import vector
from securefl.channels.protocol import Kind, Plan
from securefl.data.partition import Skew
from securefl.data.task import Task
from securefl.errors import ScenarioError
from securefl.learning.adapt import Adaptation, adapted
from securefl.learning.plan import DpPlan
from securefl.learning.weights import digest
from securefl.rng import StreamFor, system_keystream
from securefl.scenario import catalog
from securefl.scenario.choices import Choices
from securefl.scenario.declaration import Declaration
from securefl.scenario.entries import TrainerEntry

DEFAULT_SKEW = Skew(alpha=0.5, classes=2, minimum=1)


class Facts(Choices):
    """The meaning of a declaration.

    Attributes are settled at once; they need nothing but names that the catalog has. Properties
    are settled when they are first read, after the keys that they rest on were checked.

    Args:
        declared: the tables of the scenario; every name in them is in the catalog.

    Attributes:
        data_set: the entry of the data set.
        partition: how the records are dealt; the data set's own way by default.
        site_count: number of sites before `only` keeps one.
        clients: number of clients.
        cohort_size: clients invited to a round.
        data_options: the keys in force that only some data sets take.
        training_records: training records of all sites; fewer where some of them judge.
        trainer: the way of local training.
        optimizer: of its steps.
        schedule: of their learning rate.
        channel: the kind of the channel.
        channel_options: the options in force that only some channels take.
        rows: rows that the rule gets from a whole cohort.
        min_cohort: fewest updates that make a round.
    """

    def __init__(self, declared: Declaration) -> None:
        super().__init__(declared)
        data, channel = declared.data, declared.channel

        self.data_set = catalog.DATA[data.name]
        self._training = self.data_set.training(data.test_on)
        self.training_records = sum(next(iter(self._training.values())))
        self.data_options = _in_force(data, self.data_set.options)
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
        self.cohort_size = self.clients if declared.cohort is None else declared.cohort.size

        training = declared.training
        self.trainer: TrainerEntry = catalog.TRAINERS[training.kind]
        self.optimizer = catalog.OPTIMIZERS[training.optimizer or catalog.DEFAULT_OPTIMIZER]
        self.schedule = catalog.SCHEDULES[training.schedule or catalog.DEFAULT_SCHEDULE]

        self.channel: Kind = catalog.CHANNELS[channel.kind]
        self.channel_options = _in_force(channel, self.channel.options)
        self.rows = self.channel.rows(self.cohort_size)
        self.min_cohort: int = channel.min_cohort or self.channel.min_cohort(**self.channel_options)

    @property
    def reads_files(self) -> bool:
        """Whether the scenario names files of its user's: data, code or weights."""
        return bool(self.code) or self._declared.model.weights is not None

    # Sites and their records.

    @cached_property
    def task(self) -> Task:
        """The shape of the records and the number of classes, before any record is read."""
        size = self.data_options.get("size")
        return self.data_set.task() if size is None else self.data_set.task(size)

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
        """Returns the training sizes of the clients as they are dealt; None where drawn."""
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

    # Training.

    @cached_property
    def adaptation(self) -> Adaptation:
        """What the scenario changes in the model that its author built."""
        chosen = self._declared.model
        return Adaptation(chosen.batch_norm, chosen.train, private=self.trainer.private)

    @cached_property
    def model(self) -> nn.Module:
        """The model, built without memory for its weights.

        Raises:
            ValueError: its parameters do not fit the records, or a change to it has no effect.
        """
        chosen = self.architecture
        parameters = json.dumps(chosen.parameters)
        return _model_of(chosen.entry.function, self.task, parameters, self.adaptation)

    @cached_property
    def weights_digest(self) -> str | None:
        """The SHA-256 of the file of initial weights; None without one. Raises ScenarioError."""
        path = self._declared.model.weights
        return None if path is None else digest(self._declared.home / path)

    @cached_property
    def coordinates(self) -> int:
        """Number of coordinates of an update."""
        return vector.size(self.model)

    @cached_property
    def practice(self) -> Mapping[str, str | list[str]]:
        """How training treats the records, in the words of the table [practice]."""
        layers = set()
        frozen = vector.frozen_modules(self.model)
        for layer in self.model.modules():
            if layer in frozen:
                continue
            numbers = [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
            # Only layers that hold numbers can treat the records in a way of their own.
            if numbers:
                layers.add(type(layer).__name__)
        return {**self.trainer.practice, "layers": sorted(layers)}

    def plan_without_noise(self, client: int) -> DpPlan:
        """Returns the public constants of a client's DP mechanism, without noise.

        Raises:
            ScenarioError: training has no noise, or the number of records is not public.
        """
        training = self._declared.training
        if self.trainer.plan is None:
            raise ScenarioError(f"training.kind = {training.kind!r} has no noise")
        return self.trainer.plan(
            self.site_records[client],
            training.batch,
            training.epochs,
            training.clip,
            noise_multiplier=0.0,
        )

    # The channel.

    def client_weight(self, client: int, real_records: int | None) -> int:
        """Returns the weight that a client states.

        Args:
            client: its id.
            real_records: its record count where weights are reported; None everywhere else, so
                that the weight is a public number.
        """
        if real_records is not None:
            return real_records
        return 1 if self._declared.weights == "equal" else self.site_records[client]

    @cached_property
    def public_weights(self) -> dict[int, int] | None:
        """The weights that the server uses; None where clients report theirs."""
        if self._declared.weights == "reported":
            return None
        return {client: self.client_weight(client, None) for client in range(self.clients)}

    @cached_property
    def max_weight(self) -> int:
        """The largest weight that a client may carry."""
        if self.public_weights is not None:
            return max(self.public_weights.values())
        return self._declared.channel.max_weight or self.data_set.records

    def plan(self, *, session: bytes, d: int, stream_for: StreamFor, config: bytes = b"") -> Plan:
        """Returns the public constants that both sides of the channel are built from."""
        return Plan(
            session=session,
            d=d,
            clients=tuple(range(self.clients)),
            cohort=self.cohort_size,
            rounds=self._declared.rounds,
            min_cohort=self.min_cohort,
            weights=self.public_weights,
            max_weight=self.max_weight,
            stream_for=stream_for,
            config=config,
            missing=frozenset(self._declared.simulate.missing),
        )

    @cached_property
    def terms(self) -> Any:
        """The terms that the clients agree on, except for their identities.

        Raises:
            ValueError: the terms do not fit.
        """
        sketch = self.plan(
            session=b"",
            d=self.coordinates,
            stream_for=lambda purpose, client, round: system_keystream(),
        )
        return self.channel.terms(sketch, **self.channel_options)


def _in_force(table: object, defaults: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the values of a table for some keys, with their defaults filled in."""
    given = {key: getattr(table, key) for key in defaults}
    return {key: defaults[key] if value is None else value for key, value in given.items()}


@lru_cache(maxsize=64)  # the cells of a study share few models
def _model_of(
    build: Callable[..., nn.Module], task: Task, parameters: str, adaptation: Adaptation
) -> nn.Module:
    """Builds a model without memory for its weights.

    Parameters are JSON, since a dict cannot be the key of a cache.
    """
    with torch.device("meta"):
        return adapted(build(task, generator=None, **json.loads(parameters)), adaptation)
