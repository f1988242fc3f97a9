"""Attacks on federated learning, and measures of their success.

Clients that take part can poison a round: `attacks.poisoning` rewrites the rows that they send, or
the records that they train on. Observers can infer (`attacks.inference`) which records a model was
trained with, or reconstruct them (`attacks.reconstruction`). `attacks.measures` scores both kinds
and turns scores into lower bounds on epsilon.

Every attack is a pure function of tensors, models and generators. This package imports neither
`defenses` nor `securefl`, and nothing here imports SciPy before it is called.
"""

from attacks.inference.attributes import property_inference, source_inference
from attacks.inference.labels import counts_from_bias, label_counts, label_of_one
from attacks.inference.membership import (
    confidence,
    label_only,
    lira_offline,
    lira_online,
    loss_threshold,
)
from attacks.inference.rmia import rmia, rmia_population
from attacks.inference.rounds import trajectory, update_alignment
from attacks.measures.epsilon import (
    Errors,
    Rates,
    clopper_pearson_epsilon,
    errors_at,
    gaussian_mu,
    rates_at_most,
)
from attacks.measures.one_run import correct_guesses, one_run, one_run_f, one_run_mu
from attacks.measures.one_shot import Estimate, one_shot
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
from attacks.poisoning.adaptive import (
    Push,
    adaptive,
    adaptive_weight,
    harm,
    most_harmful,
    most_weight,
)
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
from attacks.reconstruction.inversion import Inverted, dlg, inverting_gradients
from attacks.reconstruction.local_steps import ONE_STEP, LocalSteps, local_update
from attacks.reconstruction.pictures import Match, best_match, guesses, psnr, ssim

__all__ = [
    "ONE_STEP",
    "Errors",
    "Estimate",
    "Imprint",
    "Interval",
    "Inverted",
    "LocalSteps",
    "Match",
    "Operating",
    "Push",
    "Rates",
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
    "clopper_pearson_epsilon",
    "confidence",
    "correct_guesses",
    "counts_from_bias",
    "distributed_backdoor",
    "dlg",
    "errors_at",
    "fang_krum",
    "fang_trimmed_mean",
    "flip_goal",
    "gaussian",
    "gaussian_mu",
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
    "one_run",
    "one_run_f",
    "one_run_mu",
    "one_shot",
    "property_inference",
    "psnr",
    "rates_at_most",
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
