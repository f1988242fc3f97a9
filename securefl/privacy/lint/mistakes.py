"""The mistakes by which an epsilon comes to be wrong, each with a name, a reason and a source.

tests/privacy/lint/test_lint.py plants every one of them in a run folder.
"""

from collections.abc import Mapping

from securefl.privacy.lint import looks, remarks
from securefl.privacy.lint.case import Mistake

MISTAKES: Mapping[str, Mistake] = {
    "ledger-edited": Mistake(
        "A ledger does not chain, lacks what the rounds noted of it, or was kept under other terms than the "
        "scenario's: one of the files was changed after it was written. Put a copy back; without one, what it says of "
        "the budget proves nothing.",
        "Crosby and Wallach, Efficient Data Structures for Tamper-Evident Logging, USENIX Security 2009",
        looks.ledger_edited,
    ),
    "evidence-missing": Mistake(
        "A run that ended under a claim shows how it trained, on how many records and in which rounds. Where that is "
        "missing, nothing speaks for the claim, and most looks of this lint have nothing to look at. Put a copy back.",
        "Ponomareva et al., How to DP-fy ML, 2023 (what a DP claim must report)",
        looks.evidence_missing,
    ),
    "claim-without-noise": Mistake(
        "A finite epsilon is claimed and nothing was released with noise: the DP library was missing, or the trainer "
        "fell back to a plain one. Training goes on and looks the same; only a ledger that whoever adds the noise "
        "writes can tell.",
        "Tramèr et al., Debugging Differential Privacy, 2022 (a noise that is not there)",
        looks.no_noise,
    ),
    "accountant-restarted": Mistake(
        "A new accountant every round, or after every restart, counts its own steps only, while the records were used "
        "in all of them: epsilons of composed releases add up (less than linearly, but they do).",
        "Dwork and Roth, The Algorithmic Foundations of Differential Privacy, 2014, section 3.5 (composition)",
        looks.accountant_restarted,
    ),
    "budget-exceeded": Mistake(
        "The ledgers hold more than the scenario claims: the claim was lowered afterwards, or releases went past the "
        "budget.",
        "Rogers et al., Privacy Odometers and Filters, NeurIPS 2016 (a filter stops before the budget)",
        looks.budget_exceeded,
    ),
    "noise-not-as-configured": Mistake(
        "The books name more noise than the scenario asked for: either the accountant was told another multiplier than "
        "the optimizer, or someone wrote the books afterwards.",
        "Tramèr et al., Debugging Differential Privacy, 2022",
        looks.noise_not_as_configured,
    ),
    "steps-not-accounted": Mistake(
        "The steps that were run are more than the steps that were accounted: local epochs forgotten, a round counted "
        "as a step, or steps an epoch rounded down.",
        "Opacus, DPDataLoader: int(1 / sample_rate) steps an epoch",
        looks.steps_not_accounted,
    ),
    "rate-over-all-data": Mistake(
        "Amplification by sampling uses a client's own rate, batch over its own records. Over the records of all "
        "clients the rate is several times too small, and so is epsilon: each client's noise protects its own records "
        "alone.",
        "Kairouz et al., Advances and Open Problems in Federated Learning, 2021",
        looks.rate_over_all_data,
    ),
    "shuffled-as-poisson": Mistake(
        "The accountant's amplification holds for Poisson samples, drawn anew every step. Batches cut from a shuffled "
        "epoch are another mechanism, whose epsilon can be several times as large.",
        "Chua et al., How Private are DP-SGD Implementations?, ICML 2024",
        looks.shuffled_as_poisson,
    ),
    "batches-dropped": Mistake(
        "A Poisson sample may be empty, or larger than memory. Where such batches are skipped or cut, the sampling is "
        "no longer Poisson, and the steps of empty batches, whose noise is a release as well, go missing.",
        "Chua et al., Scalable DP-SGD: Shuffling vs. Poisson Subsampling, NeurIPS 2024 (truncated batches)",
        looks.batches_dropped,
    ),
    "private-normaliser": Mistake(
        "Dividing the noisy sum by the real number of records, or by the size of the batch that was drawn, tells that "
        "number: adding a record changes every coordinate, and no noise covers the divisor.",
        "Opacus issue 819 (expected_batch_size from the private size of the data)",
        looks.private_normaliser,
    ),
    "batch-norm": Mistake(
        "Batch normalisation mixes the records of a batch: one record changes the gradient of every other, so that "
        "clipping each one bounds nothing, and the running statistics leave without noise.",
        "Opacus, ModuleValidator; Yousefpour et al. 2021",
        looks.batch_norm,
    ),
    "private-statistics": Mistake(
        "Class weights, a prior or a normalisation computed from the training records are releases of their own. "
        "Take them from public constants, or pay for them.",
        "Ponomareva et al., How to DP-fy ML, 2023",
        looks.private_statistics,
    ),
    "weight-opened": Mistake(
        "A weight by the real number of records tells that number to whoever opens the sum, beside a claim that a "
        "single record cannot be told. Declare the numbers as public, or weigh all clients alike.",
        "McMahan et al., Learning Differentially Private Recurrent Language Models, ICLR 2018",
        looks.weight_opened,
    ),
    "delta-from-batches": Mistake(
        "Delta was set to one over the number of batches, or of records a batch, where one over the number of records "
        "is the yardstick: it is larger by the size of a batch.",
        "Ponomareva et al., How to DP-fy ML, 2023",
        looks.delta_from_batches,
    ),
    "delta-too-large": Mistake(
        "With delta at one over the records or above, a mechanism that publishes one record at random keeps the "
        "promise. Delta is to be well below.",
        "Dwork and Roth 2014, section 2.3",
        looks.delta_too_large,
    ),
    "seeded-noise": Mistake(
        "Noise from a seed can be computed again and taken off by everyone who has the seed or guesses it. It serves "
        "repeatable simulations; real records need the system's generator (privacy.noise = 'system').",
        "Garfinkel and Leclerc, Randomness Concerns when Deploying Differential Privacy, WPES 2020",
        remarks.seeded_noise,
        grave=False,
    ),
    "seeded-before": Mistake(
        "Epsilon counts what this run released and what the runs before it released. One of those drew its noise from "
        "a seed, which whoever has it computes again; that the noise of this run comes from the system takes nothing "
        "back. Start from scratch, or from a run whose noise came from the system.",
        "Garfinkel and Leclerc, Randomness Concerns when Deploying Differential Privacy, WPES 2020; Dwork and Roth "
        "2014, section 3.5 (what was released before counts)",
        remarks.seeded_before,
    ),
    "cohort-not-secret": Mistake(
        "Sampling amplifies privacy against those who do not learn who was sampled. A server that invites a cohort "
        "knows it, and here the scenario's seed gives it to everybody who has the scenario. The claim pays in full for "
        "every round that a client answers; do not multiply epsilon, or the sampling rate, by the share of clients.",
        "Balle, Barthe and Gaboardi, Privacy Amplification by Subsampling, NeurIPS 2018 (the sample is secret)",
        remarks.cohort_not_secret,
        grave=False,
    ),
    "tuning-not-charged": Mistake(
        "Choosing the best of several settings by runs on the same private records is a release of its own. The "
        "cells of a study are simulated as separate deployments, each with its own ledgers: their best one's epsilon "
        "does not cover the choice. The best of several seeds, or of runs in other folders, is not seen here.",
        "Papernot and Steinke, Hyperparameter Tuning with Rényi Differential Privacy, ICLR 2022",
        remarks.tuning_not_charged,
        grave=False,
    ),
    "majority-accuracy": Mistake(
        "The model does no better than naming the largest class: epsilon may be right, and says nothing about the "
        "price of privacy, for there is no utility to lose.",
        "BreastMNIST, whose largest class is .731 of the test records",
        remarks.majority_accuracy,
        grave=False,
    ),
}
