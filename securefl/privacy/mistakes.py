"""The mistakes by which an epsilon comes to be wrong, each with a name, a reason and a source.

tests/test_lint.py plants every one of them in a run folder.
"""

from collections.abc import Mapping
from typing import Any

from securefl.privacy.accounting import epsilon
from securefl.privacy.evidence import Case, Mistake
from securefl.privacy.ledger import earlier

_SAME = 1e-6  # relative; two numbers that were computed alike
_LOW = 0.99  # a reported epsilon below this share of the booked one is not rounding


def _ledger_edited(case: Case) -> str | None:
    if case.broken:
        return next(iter(case.broken.values()))
    for client, lines in case.ledgers.items() if case.claims else ():
        delta = lines[0]["terms"]["delta"] if lines else case.scenario["privacy"]["delta"]
        if delta != case.scenario["privacy"]["delta"]:
            return f"client {client}: its ledger was kept at delta {delta:g}, the scenario says otherwise"
    return None


def _no_noise(case: Case) -> str | None:
    if not case.claims or not case.rounds or case.broken:
        return None
    if not any(case.ledgers.values()) and any(record["survivors"] for record in case.rounds):
        return "a finite epsilon is claimed, and no ledger holds a release"
    for client in case.ledgers:
        if any(event.noise_multiplier == 0 for event in case.booked(client).values()):
            return f"client {client} released without noise"
    return None


def _accountant_restarted(case: Case) -> str | None:
    for client in case.ledgers:
        heads = {line["hash"] for line in case.ledgers[client]}
        lost = [r["round"] for r in case.rounds if (h := _noted(r, client)) is not None and h not in heads]
        if lost:
            return f"client {client}: its ledger no longer holds what it had booked by round {lost[-1]}"
    told = (case.metrics or {}).get("epsilons") or {}
    for client, reported in told.items():
        booked = _spent(case, int(client))
        if reported is not None and reported < _LOW * booked:
            return f"client {client}: epsilon {reported:.3g} is reported, its ledger holds releases of {booked:.3g}"
    return None


def _steps_not_accounted(case: Case) -> str | None:
    if not case.claims:
        return None
    for record in case.rounds:
        for client in record["survivors"]:
            event, planned = case.booked(client).get(record["round"]), _planned_steps(case, client)
            if event is None and client in case.ledgers:
                return f"client {client} took part in round {record['round']}, and its ledger books nothing for it"
            if event is not None and planned is not None and event.steps < planned:
                return (
                    f"client {client} takes {planned} steps a round (epochs x ceil(records / batch)), and its ledger "
                    f"books {event.steps} for round {record['round']}"
                )
    return None


def _delta_too_large(case: Case) -> str | None:
    if not case.claims or not case.records:
        return None
    delta, most = case.scenario["privacy"]["delta"], max(case.records)
    return f"delta {delta:g} is not below 1 / {most}, one over the records" if delta >= 1 / most else None


def _delta_from_batches(case: Case) -> str | None:
    if not case.claims:
        return None
    delta, training = case.scenario["privacy"]["delta"], case.scenario["training"]
    for client, records in enumerate(case.records):
        batches = -(-records // training["batch"])
        for count, what in ((batches, "batches an epoch"), (training["batch"], "records a batch")):
            if count > 1 and abs(delta * count - 1) < _SAME * 1e3 and delta >= 1 / records:
                return f"delta {delta:g} is one over the {count} {what} of client {client}"
    return None


def _shuffled_as_poisson(case: Case) -> str | None:
    how = _practice(case, "sampling", "poisson")
    return None if how == "poisson" or not case.claims else f"batches are {how}, and accounted as Poisson samples"


def _batches_dropped(case: Case) -> str | None:
    how = _practice(case, "batches", "all")
    return None if how == "all" or not case.claims else f"some batches are {how}"


def _rate_over_all_data(case: Case) -> str | None:
    batch, everyone = case.scenario["training"]["batch"], sum(case.records)
    for client in case.ledgers if case.claims else ():
        rates = {event.sample_rate for event in case.booked(client).values()}
        if client < len(case.records) and rates and min(rates) < (1 - _SAME) * min(1.0, batch / case.records[client]):
            of = f"over all {everyone} records" if abs(min(rates) * everyone / batch - 1) < 1e-3 else "too low"
            return (
                f"client {client} is accounted at a sampling rate of {min(rates):.4g}, {of}; it draws {batch} of its "
                f"{case.records[client]}, a rate of {min(1.0, batch / case.records[client]):.4g}"
            )
    return None


def _private_normaliser(case: Case) -> str | None:
    by = _practice(case, "normaliser", "declared")
    return None if by == "declared" or not case.claims else f"the noisy sum is divided by the {by} size"


def _batch_norm(case: Case) -> str | None:
    bad = [layer for layer in _practice(case, "layers", ()) if "BatchNorm" in layer]
    return f"the model has {', '.join(bad)}" if bad and case.claims else None


def _private_statistics(case: Case) -> str | None:
    known = _practice(case, "statistics", "public")
    return (
        None
        if known == "public" or not case.claims
        else f"class weights, normalisation or prior are {known}: read from the records that the claim is about"
    )


def _weight_opened(case: Case) -> str | None:
    if not case.claims or case.scenario["weights"] != "reported":
        return None
    return "clients report how many records they have, beside a claim about these records"


def _seeded_noise(case: Case) -> str | None:
    if not case.claims or case.scenario["privacy"].get("noise") != "seeded":
        return None
    return "the noise comes from the scenario's seed: the claim holds against nobody who has it"


def _tuning_not_charged(case: Case) -> str | None:
    if not case.claims:
        return None
    mine = _tuned(case.scenario)
    others = {repr(_tuned(other)) for other in case.others if other["data"] == case.scenario["data"]}
    count = len(others - {repr(mine)})
    if not count:
        return None
    return f"{count} other settings were run on the same records, and each is booked as the only one"


def _majority_accuracy(case: Case) -> str | None:
    metrics = case.metrics or {}
    accuracy, majority, records = metrics.get("accuracy"), metrics.get("majority"), metrics.get("records")
    if not case.claims or accuracy is None or majority is None or not records or accuracy > majority + 0.5 / records:
        return None
    return f"accuracy {accuracy:.3f} is no better than the share of the largest class, {majority:.3f}"


def _practice(case: Case, key: str, usual: Any) -> Any:
    value = (case.scenario.get("practice") or {}).get(key)
    return usual if value is None else value


def _noted(record: Mapping[str, Any], client: int) -> str | None:
    heads = record["ledger_heads"]
    head: str | None = heads.get(str(client), heads.get(client))
    return None if head == "0" * 64 else head


def _planned_steps(case: Case, client: int) -> int | None:
    training = case.scenario["training"]
    if client >= len(case.records):
        return None
    return int(training["epochs"] * -(-case.records[client] // training["batch"]))


def _spent(case: Case, client: int) -> float:
    counts = earlier(case.ledgers.get(client, ()))
    counts.update(case.booked(client).values())
    return epsilon(counts, delta=case.scenario["privacy"]["delta"])


def _tuned(scenario: Mapping[str, Any]) -> tuple[object, ...]:
    """What people try out: everything but the data, the claim and the seed."""
    return tuple(scenario.get(key) for key in ("model", "training", "server", "defense", "rounds"))


MISTAKES: Mapping[str, Mistake] = {
    "ledger-edited": Mistake(
        "A ledger does not chain: a line was changed, taken out or put in after it was written. What it says of the "
        "budget proves nothing.",
        "Crosby and Wallach, Efficient Data Structures for Tamper-Evident Logging, USENIX Security 2009",
        _ledger_edited,
    ),
    "claim-without-noise": Mistake(
        "A finite epsilon is claimed and nothing was released with noise: the DP library was missing, or the trainer "
        "fell back to a plain one. Training goes on and looks the same; only a ledger that whoever adds the noise "
        "writes can tell.",
        "Tramèr et al., Debugging Differential Privacy, 2022 (a noise that is not there)",
        _no_noise,
    ),
    "accountant-restarted": Mistake(
        "A new accountant every round, or after every restart, counts its own steps only, while the records were used "
        "in all of them: epsilons of composed releases add up (less than linearly, but they do).",
        "Dwork and Roth, The Algorithmic Foundations of Differential Privacy, 2014, section 3.5 (composition)",
        _accountant_restarted,
    ),
    "steps-not-accounted": Mistake(
        "The steps that were run are more than the steps that were accounted: local epochs forgotten, a round counted "
        "as a step, or steps an epoch rounded down.",
        "Opacus, DPDataLoader: int(1 / sample_rate) steps an epoch",
        _steps_not_accounted,
    ),
    "rate-over-all-data": Mistake(
        "Amplification by sampling uses a client's own rate, batch over its own records. Over the records of all "
        "clients the rate is several times too small, and so is epsilon: each client's noise protects its own records "
        "alone.",
        "Kairouz et al., Advances and Open Problems in Federated Learning, 2021",
        _rate_over_all_data,
    ),
    "shuffled-as-poisson": Mistake(
        "The accountant's amplification holds for Poisson samples, drawn anew every step. Batches cut from a shuffled "
        "epoch are another mechanism, whose epsilon can be several times as large.",
        "Chua et al., How Private are DP-SGD Implementations?, ICML 2024",
        _shuffled_as_poisson,
    ),
    "batches-dropped": Mistake(
        "A Poisson sample may be empty, or larger than memory. Where such batches are skipped or cut, the sampling is "
        "no longer Poisson, and the steps of empty batches, whose noise is a release as well, go missing.",
        "Chua et al., Scalable DP-SGD: Shuffling vs. Poisson Subsampling, NeurIPS 2024 (truncated batches)",
        _batches_dropped,
    ),
    "private-normaliser": Mistake(
        "Dividing the noisy sum by the real number of records, or by the size of the batch that was drawn, tells that "
        "number: adding a record changes every coordinate, and no noise covers the divisor.",
        "Opacus issue 819 (expected_batch_size from the private size of the data)",
        _private_normaliser,
    ),
    "batch-norm": Mistake(
        "Batch normalisation mixes the records of a batch: one record changes the gradient of every other, so that "
        "clipping each one bounds nothing, and the running statistics leave without noise.",
        "Opacus, ModuleValidator; Yousefpour et al. 2021",
        _batch_norm,
    ),
    "private-statistics": Mistake(
        "Class weights, a prior or a normalisation computed from the training records are releases of their own. "
        "Take them from public constants, or pay for them.",
        "Ponomareva et al., How to DP-fy ML, 2023",
        _private_statistics,
    ),
    "weight-opened": Mistake(
        "A weight by the real number of records tells that number to whoever opens the sum, beside a claim that a "
        "single record cannot be told. Declare the numbers as public, or weigh all clients alike.",
        "McMahan et al., Learning Differentially Private Recurrent Language Models, ICLR 2018",
        _weight_opened,
    ),
    "delta-from-batches": Mistake(
        "Delta was set to one over the number of batches, or of records a batch, where one over the number of records "
        "is the yardstick: it is larger by the size of a batch.",
        "Ponomareva et al., How to DP-fy ML, 2023",
        _delta_from_batches,
    ),
    "delta-too-large": Mistake(
        "With delta at one over the records or above, a mechanism that publishes one record at random keeps the "
        "promise. Delta is to be well below.",
        "Dwork and Roth 2014, section 2.3",
        _delta_too_large,
    ),
    "seeded-noise": Mistake(
        "Noise from a seed can be computed again and taken off by everyone who has the seed or guesses it. It serves "
        "repeatable simulations; real records need the system's generator (privacy.noise = 'system').",
        "Garfinkel and Leclerc, Randomness Concerns when Deploying Differential Privacy, WPES 2020",
        _seeded_noise,
        grave=False,
    ),
    "tuning-not-charged": Mistake(
        "Choosing the best of several settings by runs on the same private records is a release of its own. The "
        "cells of a study are simulated as separate deployments, each with its own ledgers: their best one's epsilon "
        "does not cover the choice.",
        "Papernot and Steinke, Hyperparameter Tuning with Rényi Differential Privacy, ICLR 2022",
        _tuning_not_charged,
        grave=False,
    ),
    "majority-accuracy": Mistake(
        "The model does no better than naming the largest class: epsilon may be right, and says nothing about the "
        "price of privacy, for there is no utility to lose.",
        "BreastMNIST, whose largest class is .731 of the test records",
        _majority_accuracy,
        grave=False,
    ),
}
