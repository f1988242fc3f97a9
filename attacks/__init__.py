"""Attacks: pure functions that rewrite what clients send or train on, tell who trained, or find records; and scores."""

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
from attacks.inference import (
    counts_from_bias,
    label_counts,
    label_of_one,
    property_inference,
    source_inference,
)
from attacks.inversion import ONE_STEP, Inverted, LocalSteps, dlg, inverting_gradients, local_update
from attacks.leakage import Imprint, imprint, imprinted, linear_inputs
from attacks.membership import confidence, label_only, lira_offline, lira_online, loss_threshold
from attacks.mimicry import mimic
from attacks.optimized import min_max, min_sum
from attacks.pictures import Match, best_match, guesses, psnr, ssim
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
    "ONE_STEP",
    "Imprint",
    "Interval",
    "Inverted",
    "LocalSteps",
    "Match",
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
    "best_match",
    "boosted",
    "clopper_pearson",
    "confidence",
    "counts_from_bias",
    "distributed_backdoor",
    "dlg",
    "fang_krum",
    "fang_trimmed_mean",
    "flip_goal",
    "gaussian",
    "guesses",
    "harm",
    "imprint",
    "imprinted",
    "inner_product",
    "inverting_gradients",
    "label_counts",
    "label_flip",
    "label_of_one",
    "label_only",
    "linear_inputs",
    "lira_offline",
    "lira_online",
    "local_update",
    "loss_threshold",
    "mimic",
    "min_max",
    "min_sum",
    "most_deviations",
    "most_harmful",
    "most_weight",
    "non_finite",
    "property_inference",
    "psnr",
    "rmia",
    "rmia_population",
    "roc",
    "sign_flip",
    "source_inference",
    "ssim",
    "targeted_label_flip",
    "trajectory",
    "triggered",
    "update_alignment",
    "zero",
]
