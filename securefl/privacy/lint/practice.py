"""Mistakes that show in the scenario or in missing files: each look returns a sentence, or None."""

from securefl.privacy.lint.case import Case

PRACTICE_KEYS = ("sampling", "normaliser", "batches", "statistics", "layers")
# Delta x count closer to 1 than this: delta was set to one over the count.
SAME_COUNT = 1e-3


def evidence_missing(case: Case) -> str | None:
    """Finds a run that ended under a claim, without the files that support it."""
    if not case.has_claim or not case.has_ended:
        return None
    practice = case.scenario.get("practice") or {}
    is_missing = {
        "its metrics": case.metrics is None,
        "the practice of its training": not all(key in practice for key in PRACTICE_KEYS),
        "the number of records": not case.records and not case.protects_clients,
        "the records of all its rounds": not _has_all_rounds(case),
        "a mechanism that adds noise": not case.has_noise,
        "the past it goes on from": _lacks_past(case),
    }
    missing = [name for name, lost in is_missing.items() if lost]
    if not missing:
        return None
    return f"a finite epsilon is claimed, and the folder lacks {', '.join(missing)}"


def _has_all_rounds(case: Case) -> bool:
    played = [record["round"] for record in case.rounds]
    counted = (case.metrics or {}).get("rounds", 0)
    if played != list(range(counted)):
        return False
    # Only a run that stopped early may have fewer rounds than the scenario.
    return case.state != "done" or len(played) == case.scenario["rounds"]


def _lacks_past(case: Case) -> bool:
    """Returns whether the ledgers and the scenario disagree about an earlier run."""
    if not case.ledgers:
        return False
    has_past = any(lines[0].get("before") for lines in case.ledgers.values() if lines)
    return has_past == (case.scenario.get("init_from") is None)


def shuffled_as_poisson(case: Case) -> str | None:
    """Finds batches that are no Poisson samples."""
    sampling = case.practice("sampling", "poisson")
    # With every record in every step there is no sampling, and nothing is amplified.
    if not case.has_claim or sampling in ("poisson", "full"):
        return None
    return f"batches are {sampling}, and accounted as Poisson samples"


def batches_dropped(case: Case) -> str | None:
    """Finds batches that are skipped or cut."""
    batches = case.practice("batches", "all")
    if not case.has_claim or batches == "all":
        return None
    return f"some batches are {batches}"


def private_normaliser(case: Case) -> str | None:
    """Finds a divisor that depends on the records."""
    normaliser = case.practice("normaliser", "declared")
    if not case.has_claim or normaliser == "declared":
        return None
    return f"the noisy sum is divided by the {normaliser} size"


def batch_norm(case: Case) -> str | None:
    """Finds a layer that mixes the records of a batch."""
    mixing = [layer for layer in case.practice("layers", ()) if "BatchNorm" in layer]
    if not case.has_claim or not mixing:
        return None
    return f"the model has {', '.join(mixing)}"


def private_statistics(case: Case) -> str | None:
    """Finds statistics of the records that were computed without noise."""
    statistics = case.practice("statistics", "public")
    if not case.has_claim or statistics == "public":
        return None
    return (
        f"class weights, normalisation or prior are {statistics}:"
        " read from the records that the claim is about"
    )


def weight_opened(case: Case) -> str | None:
    """Finds weights by the real numbers of records."""
    if not case.has_claim or case.scenario["weights"] != "reported":
        return None
    return "clients report how many records they have, which the claim about them does not cover"


def delta_from_batches(case: Case) -> str | None:
    """Finds a delta of one over the number of batches, or over the size of a batch."""
    if not case.has_claim:
        return None
    delta = case.scenario["privacy"]["delta"]
    batch = case.scenario["training"].get("batch")
    if batch is None:  # one sum a round has none
        return None
    for client, records in enumerate(case.records):
        counts = {"batches an epoch": -(-records // batch), "records a batch": batch}
        for name, count in counts.items():
            is_inverse = count > 1 and abs(delta * count - 1) < SAME_COUNT
            # A delta below one over the records is no mistake, whatever it was computed from.
            if is_inverse and delta >= 1 / records:
                return f"delta {delta:g} is one over the {count} {name} of client {client}"
    return None


def delta_too_large(case: Case) -> str | None:
    """Finds a delta of one over the protected records or clients, or above."""
    if not case.has_claim or not (case.records or case.protects_clients):
        return None
    delta = case.scenario["privacy"]["delta"]
    units, protected = "records", max(case.records, default=0)
    if case.protects_clients:
        units, protected = "clients", case.scenario["data"]["clients"]
    if delta < 1 / protected:
        return None
    return f"delta {delta:g} is not below 1 / {protected}, one over the {units}"
