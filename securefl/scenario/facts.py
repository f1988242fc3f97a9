"""What follows from a declaration and the catalog, from public constants only.

Nothing here reads a record: a number that depends on records would tell about them wherever it
shows, in a weight, a bound or a refusal.
"""

import copy
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Self

from torch import Tensor, nn

from securefl import vector
from securefl.channels.kind import Kind
from securefl.channels.protocol import Selection
from securefl.errors import ScenarioError
from securefl.learning.adapt import Adaptation
from securefl.learning.algorithms.protocol import Algorithm, Terms
from securefl.learning.plan import DpPlan, SumPlan, steps_a_round
from securefl.scenario import catalog
from securefl.scenario.declaration import Declaration
from securefl.scenario.entries import TrainerEntry
from securefl.scenario.making.algorithm import algorithm_of, schedule_of
from securefl.scenario.making.model import sketch_of
from securefl.scenario.making.selection import selection_of
from securefl.scenario.sites import in_force
from securefl.scenario.sums import Sums


class Facts(Sums):
    """The meaning of a declaration.

    Attributes are settled at once; they need nothing but names that the catalog has. Properties
    are settled when they are first read, after the keys that they rest on were checked.

    Args:
        declared: the tables of the scenario; every name in them is in the catalog.

    Attributes:
        cohort_size: clients whose updates make a round.
        invited: clients invited to a round, more than that where it selects more than it takes.
        trainer: the way of local training.
        optimizer: of its steps.
        algorithm: what is added to them where clients are unlike.
        schedule: of their learning rate.
        channel: the kind of the channel.
        channel_options: the options in force that only some channels take.
        topology: in which the federation is not one server with its clients; else None.
        buffer: updates that make a step where a server waits for no cohort; else None.
        rows: rows that the rule gets from a whole cohort.
        min_cohort: fewest updates that make a round.
    """

    def __init__(self, declared: Declaration) -> None:
        super().__init__(declared)
        channel = declared.channel
        # Where clients toss coins, nobody may know who is in a round: all are invited.
        cohort = None if declared.tosses_coins else declared.cohort
        self.cohort_size = self.clients if cohort is None else cohort.size
        self.invited = self.clients if cohort is None else cohort.invited

        training = declared.training
        self.trainer: TrainerEntry = catalog.TRAINERS[training.kind]
        self.optimizer = catalog.OPTIMIZERS[training.optimizer or catalog.DEFAULT_OPTIMIZER]
        self.algorithm = catalog.ALGORITHMS[training.algorithm or catalog.DEFAULT_ALGORITHM]
        self.schedule = catalog.SCHEDULES[training.schedule or catalog.DEFAULT_SCHEDULE]

        self.channel: Kind = catalog.CHANNELS[channel.kind]
        options = in_force(channel, self.channel.options)
        # An option without a default is there only where the table sets it.
        self.channel_options = {key: value for key, value in options.items() if value is not None}
        topology = declared.topology
        self.topology = None if topology is None else catalog.TOPOLOGIES[topology.kind]
        self.buffer = None
        if topology is not None and self.topology is not None:
            self.buffer = self.topology.buffer(topology)
        if self.buffer is not None:
            self.cohort_size = self.invited = self.buffer
        self.rows = self.channel.rows(self.cohort_size, **self.channel_options)
        self.min_cohort: int = channel.min_cohort or self.channel.min_cohort(**self.channel_options)

    @property
    def selects(self) -> bool:
        """Whether the channel itself chooses the clients of its sum, by distances."""
        return self.channel_options.get("sketch") is not None

    @cached_property
    def selection(self) -> Selection | None:
        """By which rule it chooses; None where it chooses none.

        Raises:
            ValueError: the rule goes by no distances.
        """
        return selection_of(self.rule, self._declared.simulate) if self.selects else None

    @property
    def trainings(self) -> int:
        """How often one client trains at most in the whole run."""
        topology, rounds = self._declared.topology, self._declared.rounds
        if topology is None or self.topology is None:
            return rounds
        return self.topology.trainings(topology, rounds)

    def numbers_of(self, round: int) -> range:
        """Returns the numbers under which a client pays for its trainings in a round."""
        topology = self._declared.topology
        if topology is None or self.topology is None:
            return range(round, round + 1)
        return self.topology.numbers(topology, round)

    def within(self, clients: Collection[int]) -> Self:
        """Returns the facts of a region: these clients have a channel and a rule of their own."""
        region = copy.copy(self)
        # Of what was settled, these depend on the clients.
        for name in ("public_weights", "max_weight", "terms", "common_noise", "in_sum"):
            vars(region).pop(name, None)
        region.members = tuple(sorted(clients))
        region.cohort_size = region.invited = len(region.members)
        region.rows = region.channel.rows(region.cohort_size, **region.channel_options)
        return region

    # Training.

    @cached_property
    def adaptation(self) -> Adaptation:
        """What the scenario changes in the model that its author built."""
        chosen = self._declared.model
        return Adaptation(chosen.batch_norm, chosen.train, private=self._declared.has_noise)

    @cached_property
    def model(self) -> nn.Module:
        """The model, without its initial weights.

        Raises:
            ValueError: its parameters do not fit the records, or a change to it has no effect.
        """
        return sketch_of(self.architecture, self.task, self.adaptation)

    @cached_property
    def coordinates(self) -> int:
        """Number of coordinates of an update."""
        return self.algorithm_on(self.model).update_size

    def algorithm_on(self, model: nn.Module) -> Algorithm:
        """Returns both halves of the algorithm for a model of this task.

        Raises:
            ValueError: see `algorithm_of`.
        """
        return algorithm_of(self._declared, self._terms_on(model))

    def _terms_on(self, model: nn.Module) -> Terms:
        training = self._declared.training
        schedule = schedule_of(self._declared, trainings=self.trainings)

        def steps(records: int) -> int:
            return steps_a_round(max(1, records), batch=training.batch, epochs=training.epochs)

        public = self.public_records
        total = self.training_records if public is None else sum(public)
        return Terms(
            d=vector.size(model),
            parameters=vector.statistics(model).start,
            steps=dict(enumerate(map(steps, public or ()))) if self._has_public_steps else None,
            usual_steps=steps(-(-total // self.clients)),
            most_steps=steps(total),
            weights=self.public_weights,
            lr=lambda round: training.lr * schedule(round),
            personal=self.personal_on(model),
            clip=self.channel_options.get("clip"),
        )

    @property
    def _has_public_steps(self) -> bool:
        """Whether the clients take exactly the local steps that follow from public numbers.

        Without noise they go through the records that they have. Declared numbers may differ from
        those, and after `share` only the expected ones are known.
        """
        if self.trainer.private:
            return True
        privacy = self._declared.privacy
        is_declared = privacy is not None and privacy.records is not None
        is_exact = not is_declared and self._declared.data.share is None
        return is_exact and self.published_records is not None

    def personal_on(self, model: nn.Module) -> Tensor | None:
        """Returns (d,), the coordinates of a model that stay at the site; None where all travel.

        Raises:
            ValueError: there are none, or nothing else is left.
        """
        chosen = self.algorithm.personal
        return None if chosen is None else chosen(model, self._declared.training.personal)

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
        words: dict[str, str | list[str]] = {**self.trainer.practice, "layers": sorted(layers)}
        if self._declared.training.sample_rate is not None:
            words["sampling"] = "poisson"
        return words

    def plan_without_noise(self, client: int) -> DpPlan:
        """Returns the public constants of a client's DP mechanism, without noise.

        Raises:
            ScenarioError: training has no noise, or the number of records is not public.
        """
        training = self._declared.training
        if self.trainer.plan is None:
            raise ScenarioError(f"training.kind = {training.kind!r} has no noise")
        return self.trainer.plan(self.site_records[client], training.model_dump())

    def plan_with_noise(self, client: int, noise_multiplier: float) -> DpPlan:
        """Returns the public constants of a client's DP mechanism; see `plan_without_noise`."""
        plan = self.plan_without_noise(client).with_noise(noise_multiplier)
        if self.has_common_noise and noise_multiplier and isinstance(plan, SumPlan):
            return replace(plan, release=self.release(noise_multiplier))
        return plan
