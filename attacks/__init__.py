"""Attacks: pure functions that rewrite what clients send or train on, or tell who trained; and their scores."""

from attacks.adaptive import Push, adaptive, adaptive_weight, harm, most_harmful, most_weight
from attacks.byzantine import (
    a_little_is_enough,
    gaussian,
    inner_product,
    most_deviations,
    non_finite,
    sign_flip,
    zero,
)
from attacks.fang import fang_krum, fang_trimmed_mean
from attacks.federated_membership import trajectory, update_alignment
from attacks.membership import confidence, label_only, lira_offline, lira_online, loss_threshold
from attacks.mimicry import mimic
from attacks.optimized import min_max, min_sum
from attacks.poisoning import (
    anchored,
    backdoor,
    backdoor_goal,
    boosted,
    distributed_backdoor,
    flip_goal,
    label_flip,
    targeted_label_flip,
    triggered,
)
from attacks.rmia import rmia, rmia_population
from attacks.scores import Interval, Operating, Roc, at_false_positive_rate, auc, auc_error, clopper_pearson, roc

__all__ = [
    "Interval",
    "Operating",
    "Push",
    "Roc",
    "a_little_is_enough",
    "adaptive",
    "adaptive_weight",
    "anchored",
    "at_false_positive_rate",
    "auc",
    "auc_error",
    "backdoor",
    "backdoor_goal",
    "boosted",
    "clopper_pearson",
    "confidence",
    "distributed_backdoor",
    "fang_krum",
    "fang_trimmed_mean",
    "flip_goal",
    "gaussian",
    "harm",
    "inner_product",
    "label_flip",
    "label_only",
    "lira_offline",
    "lira_online",
    "loss_threshold",
    "mimic",
    "min_max",
    "min_sum",
    "most_deviations",
    "most_harmful",
    "most_weight",
    "non_finite",
    "rmia",
    "rmia_population",
    "roc",
    "sign_flip",
    "targeted_label_flip",
    "trajectory",
    "triggered",
    "update_alignment",
    "zero",
]
