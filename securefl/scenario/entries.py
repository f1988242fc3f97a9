"""Entries of the catalog: callables, and the facts that other code asks about.

Code outside the catalog compares no names. A question such as "does this rule use weights?" is a
field of an entry here, and the author of a new name answers it there.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from securefl.learning.algorithms.averaging import FedAvg
from securefl.learning.algorithms.protocol import Algorithm
from securefl.learning.descent import Steps
from securefl.learning.plan import DpPlan, LocalTraining
from securefl.learning.protocol import StepResult, Trainer
from securefl.learning.stacked.stack import MakeStacked
from securefl.scenario.settable import settable

Parameters = Mapping[str, Any]


class Entry(Protocol):
    """A name that a scenario chooses, with hyper-parameters."""

    @property
    def functions(self) -> tuple[Callable[..., Any], ...]:
        """The callables behind the name; the first one's docstring describes it."""

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """The hyper-parameters that a scenario may set."""


@dataclass(frozen=True)
class _Single:
    """An entry of one callable.

    Attributes:
        function: the callable.
        provided: its keyword parameters that the run provides, or that no TOML can hold.
    """

    function: Callable[..., Any]
    provided: tuple[str, ...] = ()

    @property
    def functions(self) -> tuple[Callable[..., Any], ...]:
        """The callable."""
        return (self.function,)

    @cached_property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """The hyper-parameters that a scenario may set."""
        return settable(self.function, provided=self.provided)


@dataclass(frozen=True)
class ModelEntry(_Single):
    """A model: task and hyper-parameters -> the module with its initial weights.

    Attributes:
        foreign: whether somebody else wrote it. It is then built under a seeded generator of
            torch's instead of being given one, and everything about it is checked.
        grids: task, scales -> the values of `pooling` that fit its images, where the model takes
            one and "auto" may stand for it; None for all others.
    """

    function: Callable[..., nn.Module]
    foreign: bool = False
    grids: Callable[..., tuple[int, ...]] | None = None


@dataclass(frozen=True)
class RuleEntry(_Single):
    """An aggregation rule.

    Attributes:
        minimum_rows: f -> rows it needs; None where one row is always enough.
        weighted: whether it uses the clients' weights.
        linear: whether it is a weighted mean, so that one row's part of the estimate is known.
        weigh: the weights that it gives to rows itself; None where it gives none.
        choose: the same weights (n,) from squared distances (n, n) between the rows, both numpy
            arrays of float64; None where the rule goes by more than distances.
        around: the same rule for a node that has a row of its own; None where there is none. A rule
            that is the same as `function` exists for such nodes only.
        momentum: that nodes add to their models with it, where a scenario names no other.
        all_to_all: whether what is proven of it needs a graph in which all hear all.
    """

    function: Callable[..., Tensor]
    minimum_rows: Callable[[int], int] | None = None
    weighted: bool = False
    linear: bool = False
    weigh: Callable[..., Tensor] | None = None
    choose: Callable[..., NDArray[np.float64]] | None = None
    around: Callable[..., Tensor] | None = None
    momentum: float = 0.0
    all_to_all: bool = False

    @property
    def for_peers_only(self) -> bool:
        """Whether it takes a row of one's own."""
        return self.function is self.around


@dataclass(frozen=True)
class PrefilterEntry(_Single):
    """A change to all rows before a rule gets them.

    Attributes:
        minimum_rows: f -> rows it needs; None where one row is always enough.
    """

    minimum_rows: Callable[[int], int] | None = None


@dataclass(frozen=True)
class OptimizerEntry(_Single):
    """An optimizer of local steps; its hyper-parameters are keys of the table [training].

    Attributes:
        usual_lr: a learning rate to begin with, where the default of [training] does not suit it.
    """

    function: Callable[..., Steps]
    usual_lr: float | None = None


@dataclass(frozen=True)
class AlgorithmEntry(_Single):
    """An algorithm for unlike clients; its hyper-parameters are keys of the table [training].

    Attributes:
        function: what it adds to local steps.
        adds: whether that is anything.
        make: public constants, and those hyper-parameters that it takes -> both halves.
        corrects: whether clients correct their steps by a state that they keep.
        stepwise: whether it counts local steps, which then are those of SGD without momentum.
        equal: whether it averages with equal weights.
        personal: a model, and patterns of names -> (d,), the coordinates that stay at the site;
            None where all travel.
        pulled: whether each site trains a model of its own next to the global one.
        steps: the server's steps that it is defined with; None for all.
        adds_estimate: whether that step must add the estimate as it is.
        anchored: whether it holds on to an earlier version's model, by its Fisher information.
    """

    function: Callable[..., Steps]
    adds: bool = False
    make: Callable[..., Algorithm] = FedAvg
    corrects: bool = False
    stepwise: bool = False
    equal: bool = False
    personal: Callable[[nn.Module, tuple[str, ...] | None], Tensor] | None = None
    pulled: bool = False
    steps: tuple[Callable[..., StepResult], ...] | None = None
    adds_estimate: bool = False
    anchored: bool = False

    @property
    def averages(self) -> bool:
        """Whether clients send their changes, and nothing else, for the server's step."""
        return self.make is FedAvg

    @property
    def has_own_models(self) -> bool:
        """Whether each site ends with a model of its own."""
        return self.pulled or self.personal is not None


@dataclass(frozen=True)
class ScheduleEntry(_Single):
    """A schedule of the learning rate; its hyper-parameters are keys of the table [training]."""

    function: Callable[..., float]


@dataclass(frozen=True)
class StepEntry(_Single):
    """A step of the server.

    Attributes:
        adds_estimate: its hyper-parameters -> whether it adds the rule's estimate as it is.
    """

    function: Callable[..., StepResult]
    adds_estimate: Callable[[Parameters], bool] = lambda parameters: False


class Sees(Enum):
    """The rows that an attack on rows is computed from."""

    OWN = "the honest rows of the corrupt clients"
    KNOWN = "every honest row that the adversary knows"


@dataclass(frozen=True)
class AttackEntry:
    """An attack by corrupt clients: on rows that they send, records or gradients.

    Attributes:
        rows: honest rows -> the rows that corrupt clients send.
        records: features and labels -> those that a corrupt client trains on.
        gradients: a gradient, and how far the weights moved -> the gradient that is used.
        goal: test features and labels -> features that show success, and the class it wants.
        sees: the rows that `rows` is given.
        needs: parameters that the run provides: f, n, classes, part, generator, rule, weigh, krum.
        several: whether it makes sense only from two known rows on.
        omniscient: whether it needs the rows of honest clients.
        against: the rule that it is made to defeat; "" for any.
    """

    rows: Callable[..., Tensor] | None = None
    records: Callable[..., tuple[Tensor, Tensor]] | None = None
    gradients: Callable[..., Tensor] | None = None
    goal: Callable[..., tuple[Tensor, int]] | None = None
    sees: Sees = Sees.OWN
    needs: tuple[str, ...] = ()
    several: bool = False
    omniscient: bool = False
    against: str = ""

    @property
    def functions(self) -> tuple[Callable[..., Any], ...]:
        """The functions that are set; the first one's docstring describes the attack."""
        functions = (self.records, self.rows, self.gradients)
        return tuple(function for function in functions if function is not None)

    @property
    def needs_classes(self) -> bool:
        """Whether it goes by the classes of records, which a regression does not have."""
        return "classes" in self.needs or self.goal is not None

    @cached_property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """The hyper-parameters that a scenario may set."""
        return settable(*self.functions, provided=self.needs)


@dataclass(frozen=True)
class TrainerEntry:
    """A way of local training.

    Attributes:
        make: everything that trainers are made from -> client -> its trainer.
        practice: how it treats the records, in the words of the table [practice].
        plan: records and keys of [training] -> the public constants of a DP mechanism, without
            noise; None where there is none.
        server: the server's half, where clients take no steps of their own; None where they do.
        bends: whether an adversary can change the gradients of its own clients.
        check: refuses a model that cannot be trained so, with a ScenarioError.
        stacked: makes the training of several clients at once; None where there is none.
    """

    make: Callable[[LocalTraining], dict[int, Trainer]]
    practice: Mapping[str, str]
    plan: Callable[[int, Parameters], DpPlan] | None = None
    server: Callable[..., Algorithm] | None = None
    bends: bool = False
    check: Callable[[nn.Module], None] = lambda model: None
    stacked: MakeStacked | None = None

    @property
    def private(self) -> bool:
        """Whether there is noise that a finite epsilon can rest on."""
        return self.plan is not None

    @property
    def one_sum(self) -> bool:
        """Whether a client's update is one sum over its records, and the server takes the step."""
        return self.server is not None
