"""The mistakes that make an epsilon wrong, each with a name, a reason and a source.

tests/privacy/lint/test_lint.py plants every one of them in a run folder.
"""

from collections.abc import Mapping

from securefl.privacy.lint import books, practice, remarks, shares
from securefl.privacy.lint.case import Mistake

MISTAKES: Mapping[str, Mistake] = {
    "ledger-edited": Mistake(
        why=(
            "A ledger does not chain, lacks entries whose heads the rounds noted, or was kept under"
            " other terms than the scenario's: one of the files was changed after it was written."
            " Put a copy back; without one, its account of the budget proves nothing."
        ),
        source=(
            "Crosby and Wallach, Efficient Data Structures for Tamper-Evident Logging, USENIX"
            " Security 2009"
        ),
        look=books.ledger_edited,
    ),
    "evidence-missing": Mistake(
        why=(
            "A run that ended under a claim shows how it trained, on how many records and in which"
            " rounds. Without these files nothing supports the claim, and most checks of this lint"
            " have nothing to check. Put a copy back."
        ),
        source="Ponomareva et al., How to DP-fy ML, 2023 (what a DP claim must report)",
        look=practice.evidence_missing,
    ),
    "claim-without-noise": Mistake(
        why=(
            "A finite epsilon is claimed and nothing was released with noise: the DP library was"
            " missing, or the trainer fell back to a plain one. Training goes on and looks the"
            " same. Only a ledger that is written by the code that adds the noise can tell."
        ),
        source="Tramèr et al., Debugging Differential Privacy, 2022 (a noise that is not there)",
        look=books.no_noise,
    ),
    "accountant-restarted": Mistake(
        why=(
            "A new accountant every round, or after every restart, counts its own steps only, while"
            " the records were used in all of them: epsilons of composed releases add up (less than"
            " linearly, but they do)."
        ),
        source=(
            "Dwork and Roth, The Algorithmic Foundations of Differential Privacy, 2014, section 3.5"
            " (composition)"
        ),
        look=books.accountant_restarted,
    ),
    "budget-exceeded": Mistake(
        why=(
            "The ledgers hold more than the scenario claims: the claim was lowered afterwards, or"
            " releases went past the budget."
        ),
        source=(
            "Rogers et al., Privacy Odometers and Filters, NeurIPS 2016 (a filter stops before the"
            " budget)"
        ),
        look=books.budget_exceeded,
    ),
    "noise-not-as-configured": Mistake(
        why=(
            "The books name more noise than the scenario asked for: either the accountant got"
            " another multiplier than the optimizer, or someone wrote the books afterwards."
        ),
        source="Tramèr et al., Debugging Differential Privacy, 2022",
        look=books.noise_not_as_configured,
    ),
    "steps-not-accounted": Mistake(
        why=(
            "More steps were run than were accounted: local epochs forgotten, a round counted as a"
            " step, or steps an epoch rounded down."
        ),
        source="Opacus, DPDataLoader: int(1 / sample_rate) steps an epoch",
        look=books.steps_not_accounted,
    ),
    "rate-over-all-data": Mistake(
        why=(
            "Amplification by sampling uses a client's own rate, batch over its own records. Over"
            " the records of all clients the rate is several times too small, and so is epsilon:"
            " each client's noise protects its own records alone."
        ),
        source="Kairouz et al., Advances and Open Problems in Federated Learning, 2021",
        look=books.rate_over_all_data,
    ),
    "draw-amplified": Mistake(
        why=(
            "A claim for whole clients is booked at a sampling rate below one, and the cohorts are"
            " drawn by the server, or from the scenario's seed. Sampling amplifies against those"
            " alone who do not learn who was sampled. Let each client toss a coin of its own"
            " (cohort.sampling = 'poisson'), or book every round in full."
        ),
        source=(
            "Balle, Barthe and Gaboardi, Privacy Amplification by Subsampling, NeurIPS 2018 (the"
            " sample is secret)"
        ),
        look=shares.draw_amplified,
    ),
    "shares-as-gaussian": Mistake(
        why=(
            "Clients add shares of discrete Gaussian noise, and a ledger books the sum as one"
            " Gaussian of the same deviation. What is proven for shares costs more: at ten clients,"
            " sigma 4, 50 rounds and delta .001 it is epsilon 7.18, where the Gaussian has 6.45."
        ),
        source=(
            "Kairouz, Liu and Steinke, The Distributed Discrete Gaussian Mechanism, ICML 2021,"
            " proposition 14"
        ),
        look=shares.shares_as_gaussian,
    ),
    "shares-for-all-present": Mistake(
        why=(
            "Shares of noise were sized for all clients that were invited. Clients drop out, and"
            " corrupt ones know their own shares: only the shares of honest clients in the opened"
            " sum count, and there are at least the threshold minus `corrupt` of these. With fewer"
            " shares the noise is too small by the root of their number."
        ),
        source=(
            "Dwork et al., Our Data, Ourselves: Privacy via Distributed Noise Generation, EUROCRYPT"
            " 2006 (the shares of honest parties hide; the others are known)"
        ),
        look=shares.shares_for_all_present,
    ),
    "shuffled-as-poisson": Mistake(
        why=(
            "The accountant's amplification holds for Poisson samples, drawn afresh every step."
            " Batches cut from a shuffled epoch are another mechanism, whose epsilon can be several"
            " times as large."
        ),
        source="Chua et al., How Private are DP-SGD Implementations?, ICML 2024",
        look=practice.shuffled_as_poisson,
    ),
    "batches-dropped": Mistake(
        why=(
            "A Poisson sample may be empty, or larger than memory. Where such batches are skipped"
            " or cut, the sampling is no longer Poisson. The steps of empty batches, whose noise is"
            " a release as well, go missing."
        ),
        source=(
            "Chua et al., Scalable DP-SGD: Shuffling vs. Poisson Subsampling, NeurIPS 2024"
            " (truncated batches)"
        ),
        look=practice.batches_dropped,
    ),
    "private-normaliser": Mistake(
        why=(
            "Dividing the noisy sum by the real number of records, or by the size of the batch that"
            " was drawn, reveals that number: adding a record changes every coordinate, and no"
            " noise covers the divisor."
        ),
        source="Opacus issue 819 (expected_batch_size from the private size of the data)",
        look=practice.private_normaliser,
    ),
    "batch-norm": Mistake(
        why=(
            "Batch normalisation mixes the records of a batch: one record changes the gradient of"
            " every other, so that clipping each one bounds nothing. The running statistics leave"
            " without noise."
        ),
        source="Opacus, ModuleValidator; Yousefpour et al. 2021",
        look=practice.batch_norm,
    ),
    "private-statistics": Mistake(
        why=(
            "Class weights, a prior or a normalisation computed from the training records are"
            " releases of their own. Take them from public constants, or pay for them."
        ),
        source="Ponomareva et al., How to DP-fy ML, 2023",
        look=practice.private_statistics,
    ),
    "weight-opened": Mistake(
        why=(
            "A weight by the real number of records reveals that number to everybody who opens the"
            " sum, while the claim says that no single record shows. Declare the numbers as public,"
            " or weigh all clients alike."
        ),
        source=(
            "McMahan et al., Learning Differentially Private Recurrent Language Models, ICLR 2018"
        ),
        look=practice.weight_opened,
    ),
    "delta-from-batches": Mistake(
        why=(
            "Delta was set to one over the number of batches, or of records a batch, where one over"
            " the number of records is the yardstick: it is larger by the size of a batch."
        ),
        source="Ponomareva et al., How to DP-fy ML, 2023",
        look=practice.delta_from_batches,
    ),
    "delta-too-large": Mistake(
        why=(
            "With delta at one over the records or above, a mechanism that publishes one record at"
            " random keeps the promise. Choose a delta well below."
        ),
        source="Dwork and Roth 2014, section 2.3",
        look=practice.delta_too_large,
    ),
    "seeded-noise": Mistake(
        why=(
            "Everyone who has the seed, or guesses it, can compute the noise again and remove it."
            " Seeded noise serves repeatable simulations; real records need the system's generator"
            " (privacy.noise = 'system')."
        ),
        source=(
            "Garfinkel and Leclerc, Randomness Concerns when Deploying Differential Privacy, WPES"
            " 2020"
        ),
        look=remarks.seeded_noise,
        grave=False,
    ),
    "seeded-before": Mistake(
        why=(
            "Epsilon counts the releases of this run and of the runs before it. One of those drew"
            " its noise from a seed, and everyone with the seed can compute it again. The system's"
            " noise in this run takes nothing back. Start from scratch, or from a run whose noise"
            " came from the system."
        ),
        source=(
            "Garfinkel and Leclerc, Randomness Concerns when Deploying Differential Privacy, WPES"
            " 2020; Dwork and Roth 2014, section 3.5 (what was released before counts)"
        ),
        look=remarks.seeded_before,
    ),
    "cohort-not-secret": Mistake(
        why=(
            "Sampling amplifies privacy against those who do not learn who was sampled. A server"
            " that invites a cohort knows it, and here the scenario's seed gives it to everybody"
            " who has the scenario. The claim pays in full for every round that a client answers;"
            " do not multiply epsilon, or the sampling rate, by the share of clients."
        ),
        source=(
            "Balle, Barthe and Gaboardi, Privacy Amplification by Subsampling, NeurIPS 2018 (the"
            " sample is secret)"
        ),
        look=remarks.cohort_not_secret,
        grave=False,
    ),
    "groups-not-covered": Mistake(
        why=(
            "Several records are of one patient, or of another group, and the claim is for one of"
            " them. k records of a patient are protected with k times epsilon, and a larger delta."
            " To claim epsilon for a patient, let each have one record."
        ),
        source=(
            "Dwork and Roth, The Algorithmic Foundations of Differential Privacy, 2014, theorem 2.2"
            " (group privacy)"
        ),
        look=remarks.groups_not_covered,
        grave=False,
    ),
    "tuning-not-charged": Mistake(
        why=(
            "Choosing the best of several settings by runs on the same private records is a release"
            " of its own. The cells of a study are simulated as separate deployments, each with its"
            " own ledgers: the epsilon of the best one does not cover the choice. The best of"
            " several seeds, or of runs in other folders, is not seen here."
        ),
        source=(
            "Papernot and Steinke, Hyperparameter Tuning with Rényi Differential Privacy, ICLR 2022"
        ),
        look=remarks.tuning_not_charged,
        grave=False,
    ),
    "majority-accuracy": Mistake(
        why=(
            "The model does no better than naming the largest class: epsilon may be right, and says"
            " nothing about the price of privacy, for there is no utility to lose."
        ),
        source="BreastMNIST, whose largest class is .731 of the test records",
        look=remarks.majority_accuracy,
        grave=False,
    ),
}
