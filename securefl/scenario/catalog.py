"""Name -> callable: the only tables, and the only file here that knows attacks and defenses by name."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

import attacks
import defenses
from securefl.channels.ckks.build import CKKS
from securefl.channels.masking.build import MASKED
from securefl.channels.plain import PLAIN
from securefl.channels.protocol import Kind
from securefl.data.entries import DATA as DATA
from securefl.data.entries import DEALS as DEALS
from securefl.data.entries import DEFAULT_CLIENTS as DEFAULT_CLIENTS
from securefl.data.entries import DataEntry as DataEntry
from securefl.federation.values import Screen
from securefl.learning import plan, sgd, steps
from securefl.learning.models import images, linear
from securefl.learning.plan import LocalTraining
from securefl.learning.protocol import Trainer
from securefl.scenario.entries import (
    AttackEntry,
    PrefilterEntry,
    RuleEntry,
    TrainerEntry,
)

MODELS: Mapping[str, Callable[..., nn.Module]] = {
    "logistic": linear.logistic,
    "mlp": linear.mlp,
    "cnn": images.cnn,
    "resnet18": images.resnet18,
}

RULES: Mapping[str, RuleEntry] = {
    "mean": RuleEntry(defenses.mean, minimum_rows=lambda f: 1, weighted=True),
    "median": RuleEntry(defenses.median, minimum_rows=lambda f: 1),
    "trimmed_mean": RuleEntry(
        defenses.trimmed_mean, minimum_rows=defenses.trimmed_mean_minimum_rows
    ),
    "meamed": RuleEntry(defenses.meamed, minimum_rows=defenses.trimmed_mean_minimum_rows),
    "krum": RuleEntry(defenses.krum, defenses.krum_minimum_rows, weigh=defenses.krum_weights),
    "multi_krum": RuleEntry(
        defenses.multi_krum, defenses.krum_minimum_rows, weigh=defenses.multi_krum_weights
    ),
    "bulyan": RuleEntry(defenses.bulyan, minimum_rows=defenses.bulyan_minimum_rows),
    "geometric_median": RuleEntry(
        defenses.geometric_median, lambda f: 1, weigh=defenses.geometric_median_weights
    ),
    "centered_clipping": RuleEntry(defenses.centered_clipping, minimum_rows=lambda f: 1),
    "mda": RuleEntry(defenses.mda, defenses.mda_minimum_rows, weigh=defenses.mda_weights),
    "dnc": RuleEntry(defenses.dnc, defenses.mda_minimum_rows, weigh=defenses.dnc_weights),
}

PREFILTERS: Mapping[str, PrefilterEntry] = {
    "nearest_neighbor_mixing": PrefilterEntry(
        defenses.nearest_neighbor_mixing, defenses.mda_minimum_rows
    ),
    "adaptive_clipping": PrefilterEntry(defenses.adaptive_clipping, defenses.mda_minimum_rows),
    "clip_norms": PrefilterEntry(defenses.clip_norms),
}

ATTACKS: Mapping[str, AttackEntry] = {
    "sign_flip": AttackEntry(attacks.sign_flip),
    "gaussian": AttackEntry(attacks.gaussian),
    "zero": AttackEntry(attacks.zero),
    "non_finite": AttackEntry(attacks.non_finite),
    "inner_product": AttackEntry(attacks.inner_product),
    "a_little_is_enough": AttackEntry(attacks.a_little_is_enough, several=True),
    "min_max": AttackEntry(attacks.min_max, several=True),
    "min_sum": AttackEntry(attacks.min_sum, several=True),
    "mimic": AttackEntry(attacks.mimic, several=True),
    "fang_krum": AttackEntry(attacks.fang_krum, omniscient=True),
    "fang_trimmed_mean": AttackEntry(attacks.fang_trimmed_mean, several=True),
    "adaptive": AttackEntry(attacks.adaptive, omniscient=True),
    "adaptive_weight": AttackEntry(attacks.adaptive_weight, omniscient=True),
    "label_flip": AttackEntry(records=attacks.label_flip),
    "targeted_label_flip": AttackEntry(records=attacks.targeted_label_flip, goal=attacks.flip_goal),
    "backdoor": AttackEntry(records=attacks.backdoor, goal=attacks.backdoor_goal),
    "distributed_backdoor": AttackEntry(
        records=attacks.distributed_backdoor, goal=attacks.backdoor_goal
    ),
    "model_replacement": AttackEntry(attacks.boosted, attacks.backdoor, goal=attacks.backdoor_goal),
    "constrain_and_scale": AttackEntry(
        attacks.boosted, attacks.backdoor, attacks.anchored, goal=attacks.backdoor_goal
    ),
}


def _dp_sgd_trainers(local: LocalTraining) -> dict[int, Trainer]:
    from securefl.learning.dp_sgd import dp_sgd_trainers  # Opacus takes a second to import

    return dp_sgd_trainers(local)


def _check_dp_sgd_model(model: nn.Module) -> None:
    from securefl.learning.dp_sgd import check_model  # as above

    check_model(model)


TRAINERS: Mapping[str, TrainerEntry] = {
    "sgd": TrainerEntry(sgd.sgd_trainers, practice=sgd.PRACTICE, bends=True),
    "dp_sgd": TrainerEntry(
        _dp_sgd_trainers,
        practice=plan.PRACTICE,
        plan=plan.DpPlan,
        check=_check_dp_sgd_model,
    ),
}

STEPS: Mapping[str, Callable[..., Any]] = {
    "fedavg": steps.fedavg,
    "fedavgm": steps.fedavgm,
    "fedadam": steps.fedadam,
}

CHANNELS: Mapping[str, Kind] = {"plain": PLAIN, "masked": MASKED, "ckks": CKKS}

SCREEN: Screen = defenses.screen
