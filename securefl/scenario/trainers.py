"""Name -> way of local training: a part of the catalog."""

from collections.abc import Mapping

from torch import nn

from securefl.learning import plan, sgd
from securefl.learning.algorithms.descent import GradientDescent
from securefl.learning.plan import LocalTraining
from securefl.learning.protocol import Trainer
from securefl.learning.stacked.dp_sgd import StackedDpSgd
from securefl.learning.stacked.sgd import StackedSgd
from securefl.scenario.entries import TrainerEntry


def _dp_sgd_trainers(local: LocalTraining) -> dict[int, Trainer]:
    """Makes trainers of DP-SGD; Opacus takes a second to import, which no check needs."""
    from securefl.learning.dp_sgd import dp_sgd_trainers

    return dp_sgd_trainers(local)


def _clipped_gradient_trainers(local: LocalTraining) -> dict[int, Trainer]:
    from securefl.learning.clipped_gradient import clipped_gradient_trainers  # as above

    return clipped_gradient_trainers(local)


def _check_dp_sgd_model(model: nn.Module) -> None:
    from securefl.learning.dp_models import check_model  # as above

    check_model(model)


TRAINERS: Mapping[str, TrainerEntry] = {
    "sgd": TrainerEntry(sgd.sgd_trainers, practice=sgd.PRACTICE, bends=True, stacked=StackedSgd),
    "dp_sgd": TrainerEntry(
        _dp_sgd_trainers,
        practice=plan.PRACTICE,
        plan=plan.dp_plan,
        check=_check_dp_sgd_model,
        stacked=StackedDpSgd,
    ),
    "clipped_gradient": TrainerEntry(
        _clipped_gradient_trainers,
        practice=plan.PRACTICE_OF_SUMS,
        plan=plan.sum_plan,
        server=GradientDescent,
        check=_check_dp_sgd_model,
    ),
}
