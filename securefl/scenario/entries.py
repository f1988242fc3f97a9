"""What the catalog says of each name: the callable, and the facts that checks and makers ask for."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from torch import Tensor, nn

from securefl.learning.plan import DpPlan, LocalTraining
from securefl.learning.protocol import Trainer


@dataclass(frozen=True)
class RuleEntry:
    """An aggregation rule, how many rows it needs for a given f, whether it uses weights, and those it gives itself."""

    function: Callable[..., Tensor]
    minimum_rows: Callable[[int], int]
    weighted: bool = False
    weigh: Callable[..., Tensor] | None = None


@dataclass(frozen=True)
class PrefilterEntry:
    """What is done to rows before a rule, and how many rows it needs for a given f."""

    function: Callable[..., Any]
    minimum_rows: Callable[[int], int] = lambda f: 1


@dataclass(frozen=True)
class AttackEntry:
    """What corrupt clients do to the rows that they send, to the records that they train on, and to their gradients.

    several: whether it makes sense only from two rows known on; omniscient: only for who sees the rows of the others.
    goal: test features and labels -> the features that show whether it succeeded, and the class it wants for them.
    """

    rows: Callable[..., Tensor] | None = None
    records: Callable[..., tuple[Tensor, Tensor]] | None = None
    gradients: Callable[..., Tensor] | None = None
    several: bool = False
    omniscient: bool = False
    goal: Callable[..., tuple[Tensor, int]] | None = None

    @property
    def functions(self) -> tuple[Callable[..., Any], ...]:
        """Those that there are; the first one's docstring describes the attack."""
        return tuple(
            function
            for function in (self.records, self.rows, self.gradients)
            if function is not None
        )


@dataclass(frozen=True)
class TrainerEntry:
    """A way of local training.

    Attributes:
        make: everything that trainers are made from -> client -> its trainer.
        practice: how it treats the records, in the words of the table [practice].
        plan: makes the public constants of a DP mechanism; None where there is no noise.
        bends: whether an adversary can change the gradients of its own clients.
        check: refuses a model that cannot be trained so, with a ScenarioError.
    """

    make: Callable[[LocalTraining], dict[int, Trainer]]
    practice: Mapping[str, str]
    plan: Callable[..., DpPlan] | None = None
    bends: bool = False
    check: Callable[[nn.Module], None] = lambda model: None

    @property
    def private(self) -> bool:
        """Whether there is noise that a finite epsilon can rest on."""
        return self.plan is not None


@cache  # reading a signature is slow, and a study asks for the same few of every cell
def parameters_of(*functions: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """The hyper-parameters that a scenario may set: keyword-only ones that the run does not provide itself."""
    provided = {"generator", "weights", "start", "rule", "weigh", "krum", "classes", "part"}
    return {
        name: parameter
        for function in functions
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and name not in provided
    }
