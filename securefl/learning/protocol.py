"""The interfaces and values of local training, the server's step and a model's quality."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from securefl.privacy.events import PrivacyEvent

# a parameter's gradient, the parameter minus its global value -> the gradient to use
Bend = Callable[[Tensor, Tensor], Tensor]


class Trained(NamedTuple):
    """The result of local training.

    Attributes:
        delta: (d,), local weights minus global weights.
        spent: the privacy event that it cost; None without a DP mechanism.
    """

    delta: Tensor
    spent: PrivacyEvent | None


class Trainer(Protocol):
    """Local training of one client."""

    @property
    def cost(self) -> PrivacyEvent | None:
        """The event that one call of `fit` costs; None without a DP mechanism."""

    def fit(self, weights: Tensor, *, round: int) -> Trained:
        """Returns the change that local training makes to weights (d,), and its cost."""


@runtime_checkable
class EarlyTrainer(Trainer, Protocol):
    """A trainer that can work while this process does something else."""

    def begin(self, weights: Tensor, *, round: int) -> None:
        """Starts what the next call of `fit`, with the same arguments, returns."""


class StepResult(NamedTuple):
    """The server's new weights (d,) and the new state of its step."""

    weights: Tensor
    state: Mapping[str, Tensor]


# weights (d,), estimate (d,), state -> new weights, new state
ServerStep = Callable[[Tensor, Tensor, Mapping[str, Tensor]], StepResult]


@dataclass(frozen=True)
class Metrics:
    """Quality of a model on test records; None means "not measured".

    Classes have the first four metrics, real targets the last three.

    Attributes:
        records: number of test records that judge.
        accuracy: share of right answers.
        balanced_accuracy: mean over classes of the share of right answers.
        auc: mean over classes of the area under the ROC curve.
        majority: accuracy of the constant answer "the largest class".
        mae: mean absolute error in the units of the targets; of several targets, the mean of
            theirs. So are the next two.
        rmse: root of the mean squared error, in the same units.
        r2: share of a target's variance that the model explains; 0 is the best constant answer.
        worst: where the others are means over several models: the worst one's accuracy, or RMSE.
        consensus: how far these models are from their mean, the root of the mean squared distance.
        coarse: test records that judge nothing, as their labels are coarse; None without such ones.
    """

    records: int
    accuracy: float | None
    balanced_accuracy: float | None
    auc: float | None
    majority: float | None
    mae: float | None = None
    rmse: float | None = None
    r2: float | None = None
    worst: float | None = None
    consensus: float | None = None
    coarse: int | None = None
