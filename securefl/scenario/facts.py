"""What follows from a declaration and the catalog, from public constants only; each fact is worked out once."""

import json
from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import nn

from securefl.channels.protocol import Kind
from securefl.data.partition import Skew
from securefl.data.task import Task
from securefl.errors import ScenarioError
from securefl.learning.plan import DpPlan
from securefl.scenario import catalog
from securefl.scenario.declaration import Declaration
from securefl.scenario.entries import TrainerEntry

DEFAULT_SKEW = Skew(alpha=0.5, classes=2, minimum=1)


class Facts:
    """What a declaration means. A fact may be asked for once the names and keys that it rests on were checked.

    Args:
        declared: the tables of the scenario.
    """

    def __init__(self, declared: Declaration) -> None:
        self._declared = declared
        self._data = catalog.DATA[declared.data.name]

    # Sites and their records.

    @cached_property
    def data_options(self) -> dict[str, Any]:
        """The keys in force that only some data sets take, defaults filled in."""
        given = {key: getattr(self._declared.data, key) for key in self._data.options}
        return {
            key: self._data.options[key] if value is None else value for key, value in given.items()
        }

    @cached_property
    def task(self) -> Task:
        """What the records are and what is predicted, before any is read."""
        size = self.data_options.get("size")
        return self._data.task() if size is None else self._data.task(size)

    @cached_property
    def partition(self) -> str:
        """How the records are dealt; the data set's own way by default."""
        return self._declared.data.partition or self._data.usual

    @cached_property
    def site_count(self) -> int:
        """Number of sites before `only` keeps one."""
        own = self._data.partitions
        if self.partition == "pooled":
            return 1
        if self.partition in own:
            return len(own[self.partition])
        return self._declared.data.clients or catalog.DEFAULT_CLIENTS

    @cached_property
    def clients(self) -> int:
        """Number of clients."""
        held_out = self._declared.data.held_out is not None and self.partition != "pooled"
        return 1 if self._declared.data.only is not None else self.site_count - held_out

    @cached_property
    def cohort_size(self) -> int:
        """Clients invited to a round."""
        return self.clients if self._declared.cohort is None else self._declared.cohort.size

    def place(self, site: int) -> int:
        """Where a site, numbered as the data set does, stands among those that are not held out."""
        held_out = self._declared.data.held_out
        return site - (held_out is not None and held_out < site)

    @cached_property
    def training_records(self) -> int:
        """Training records of all sites; fewer where some of them judge."""
        training = self._data.training(self._declared.data.test_on)
        return sum(next(iter(training.values())))

    @cached_property
    def published_records(self) -> tuple[int, ...] | None:
        """Training sizes of the published split, after `held_out`, `only` and `most`; None where drawn.

        After `share` they are what is expected, which is public: the share, rounded, at least 1.
        """
        sizes, most, share = (
            self._dealt_records(),
            self._declared.data.most,
            self._declared.data.share,
        )
        if sizes is not None and share is not None:
            sizes = tuple(max(1, round(share * size)) for size in sizes)
        return sizes if sizes is None or most is None else tuple(min(size, most) for size in sizes)

    @cached_property
    def site_records(self) -> tuple[int, ...]:
        """Public number of training records of each client: declared, or the published split's.

        Raises:
            ScenarioError: neither is there.
        """
        privacy = self._declared.privacy
        if privacy is not None and privacy.records is not None:
            return privacy.records
        if self.published_records is None:
            raise ScenarioError(
                f"partition {self.partition!r} has no published sizes: declare privacy.records, "
                "or, without a DP claim, set weights = 'equal' or 'reported'"
            )
        return self.published_records

    def _dealt_records(self) -> tuple[int, ...] | None:
        entry, how, held_out = self._data, self.partition, self._declared.data.held_out
        training, records = entry.training(self._declared.data.test_on), self.training_records
        if how == "pooled":
            return (records - (0 if held_out is None else training[entry.usual][held_out]),)
        if how in training:
            sizes = training[how]
        elif (known := catalog.DEALS[how].sizes) is not None:
            sizes = known(records, self.site_count)
        else:
            return None
        if self._declared.data.only is not None:
            return (sizes[self._declared.data.only],)
        return tuple(size for site, size in enumerate(sizes) if site != held_out)

    # The model.

    @cached_property
    def coordinates(self) -> int:
        """How many an update has."""
        return sum(
            parameter.numel() for parameter in self._model.parameters() if parameter.requires_grad
        )

    @cached_property
    def buffers(self) -> tuple[str, ...]:
        """Names of what the model keeps outside its parameters, such as running statistics."""
        return tuple(name for name, _ in self._model.named_buffers())

    @cached_property
    def practice(self) -> dict[str, Any]:
        """How training treats the records: sampling, normaliser, batches, statistics, and layers with weights."""
        holding = [
            layer
            for layer in self._model.modules()
            if [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
        ]
        layers = sorted({type(layer).__name__ for layer in holding})
        return {**self.trainer.practice, "layers": layers}

    @cached_property
    def _model(self) -> nn.Module:
        """The model, built without memory for its weights."""
        model = self._declared.model
        return _model_of(catalog.MODELS[model.name], self.task, json.dumps(model.parameters))

    # Training.

    @cached_property
    def trainer(self) -> TrainerEntry:
        """The way of local training."""
        return catalog.TRAINERS[self._declared.training.kind]

    def plan_without_noise(self, client: int) -> DpPlan:
        """The public constants of one client's DP mechanism, before noise is chosen.

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

    @cached_property
    def channel(self) -> Kind:
        """The kind of the channel."""
        return catalog.CHANNELS[self._declared.channel.kind]

    @cached_property
    def channel_options(self) -> dict[str, Any]:
        """The options in force of the channel's kind, defaults filled in."""
        defaults = self.channel.options
        given = {key: getattr(self._declared.channel, key) for key in defaults}
        return {key: defaults[key] if value is None else value for key, value in given.items()}

    @cached_property
    def min_cohort(self) -> int:
        """Fewest updates that make a round: declared, or the channel's default."""
        if self._declared.channel.min_cohort is not None:
            return self._declared.channel.min_cohort
        return self.channel.min_cohort(**self.channel_options)

    def client_weight(self, client: int, real_records: int | None) -> int:
        """The weight a client states: its real count only where weights are reported, a public number elsewhere."""
        if real_records is not None:
            return real_records
        return 1 if self._declared.weights == "equal" else self.site_records[client]

    @cached_property
    def public_weights(self) -> dict[int, int] | None:
        """The weights the server goes by, whatever clients state; None where they are reported."""
        if self._declared.weights == "reported":
            return None
        return {client: self.client_weight(client, None) for client in range(self.clients)}

    @cached_property
    def max_weight(self) -> int:
        """The largest weight a client may carry: of the public ones, or declared, or all records of the data set."""
        if self.public_weights is not None:
            return max(self.public_weights.values())
        return self._declared.channel.max_weight or self._data.records


@lru_cache(maxsize=64)  # the cells of a study share few models
def _model_of(build: Callable[..., nn.Module], task: Task, parameters: str) -> nn.Module:
    """Builds a model without memory for its weights; parameters are JSON, which can be a key."""
    with torch.device("meta"):
        return build(task, generator=None, **json.loads(parameters))
