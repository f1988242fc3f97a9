"""Attacks: pure functions that rewrite what clients send or train on, tell who trained, or find records; and scores."""

from attacks.inference.attributes import (
    counts_from_bias,
    label_counts,
    label_of_one,
    property_inference,
    source_inference,
)
from attacks.inference.membership import confidence, label_only, lira_offline, lira_online, loss_threshold
from attacks.inference.rmia import rmia, rmia_population
from attacks.inference.rounds import trajectory, update_alignment
from attacks.measures.scores import (
    Interval,
    Operating,
    Roc,
    at_false_positive_rate,
    auc,
    auc_error,
    clopper_pearson,
    roc,
)
from attacks.poisoning.adaptive import Push, adaptive, adaptive_weight, harm, most_harmful, most_weight
from attacks.poisoning.byzantine import (
    a_little_is_enough,
    gaussian,
    inner_product,
    most_deviations,
    non_finite,
    sign_flip,
    zero,
)
from attacks.poisoning.fang import fang_krum, fang_trimmed_mean
from attacks.poisoning.mimicry import mimic
from attacks.poisoning.optimized import min_max, min_sum
from attacks.poisoning.records import (
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
from attacks.reconstruction.imprint import Imprint, imprint, imprinted, linear_inputs
from attacks.reconstruction.inversion import ONE_STEP, Inverted, LocalSteps, dlg, inverting_gradients, local_update
from attacks.reconstruction.pictures import Match, best_match, guesses, psnr, ssim

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
