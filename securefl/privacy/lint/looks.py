"""How each named mistake shows in a case: the sentence that tells it, or None."""

from collections.abc import Mapping
from typing import Any

from securefl.privacy.accounting.epsilon import epsilon
from securefl.privacy.chain import earlier
from securefl.privacy.events import SampledGaussian
from securefl.privacy.lint.case import Case

_SAME = 1e-6  # relative; two numbers that were computed alike
PRACTICE = ("sampling", "normaliser", "batches", "statistics", "layers")
_CALIBRATED = 0.98  # of the target, which calibrated noise spends at least
_LOW = 0.99  # a reported epsilon below this share of the booked one is not rounding


def ledger_edited(case: Case) -> str | None:
    """A ledger that does not chain, or was kept under other terms."""
    if case.broken:
        return next(iter(case.broken.values()))
    for client in _accountable(case):
        if lost := _lost_heads(case, client):
            return (
                f"client {client}: what its ledger had booked by round {lost[-1]} is no longer in it: it was cut, "
                "replaced or taken away"
            )
    for client, lines in case.ledgers.items() if case.claims else ():
        privacy, terms = case.scenario["privacy"], lines[0].get("terms") or {} if lines else {}
        claimed = {"unit": privacy["unit"], "delta": privacy["delta"], "budget": privacy["epsilon"]}
        if "noise" in terms:  # ledgers from before this mark do not say
            claimed["noise"] = privacy.get("noise")
        for key, value in claimed.items() if lines else ():
            if terms.get(key) != value:
                return f"client {client}: its ledger was kept at {key} {terms.get(key)}, the scenario says {value}"
    return None


def evidence_missing(case: Case) -> str | None:
    """A run that ended, and what speaks for its claim is not there."""
    if not case.claims or not case.ended:
        return None
    practice, metrics = case.scenario.get("practice") or {}, case.metrics or {}
    played = [record["round"] for record in case.rounds]
    whole = played == list(range(metrics.get("rounds", 0)))
    whole &= case.state != "done" or len(played) == case.scenario["rounds"]
    past = any(lines[0].get("before") for lines in case.ledgers.values() if lines)
    lost = {
        "its metrics": case.metrics is None,
        "the practice of its training": not all(key in practice for key in PRACTICE),
        "the number of records": not case.records,
        "the records of all its rounds": not whole,
        "a mechanism that adds noise": case.scenario["training"]["kind"] != "dp_sgd",
        "the past it goes on from": bool(case.ledgers)
        and past == (case.scenario.get("init_from") is None),
    }
    missing = [what for what, is_lost in lost.items() if is_lost]
    return (
        f"a finite epsilon is claimed, and the folder lacks {', '.join(missing)}"
        if missing
        else None
    )


def no_noise(case: Case) -> str | None:
    """A claim without a ledger, or a release without noise."""
    if not case.claims or not case.rounds or case.broken:
        return None
    if not any(map(case.booked, case.ledgers)) and any(
        record["survivors"] for record in case.rounds
    ):
        return "a finite epsilon is claimed, and no ledger holds a release"
    for client in case.ledgers:
        if any(event.noise_multiplier == 0 for event in case.booked(client).values()):
            return f"client {client} released without noise"
    return None


def accountant_restarted(case: Case) -> str | None:
    """A ledger that begins anew, or a reported epsilon below what is booked."""
    for client in _accountable(case):
        booked = case.booked(client)
        if (lost := _lost_heads(case, client)) and booked and min(booked) > lost[0]:
            return f"client {client}: its ledger begins at round {min(booked)}, and it had booked round {lost[0]}"
    if not case.claims or case.metrics is None:
        return None
    spent = {client: _spent(case, client) for client in case.ledgers}
    told = case.metrics.get("epsilons") or {}
    for client, cost in spent.items():
        if (reported := told.get(str(client))) is None or reported < _LOW * cost:
            return f"client {client}: epsilon {_told(reported)} is reported, its ledger holds releases of {cost:.3g}"
    most = max(spent.values(), default=0.0)
    if (reported := case.metrics.get("epsilon")) is None or reported < _LOW * most:
        return f"epsilon {_told(reported)} is reported, a ledger holds releases of {most:.3g}"
    return None


def budget_exceeded(case: Case) -> str | None:
    """More booked than is claimed."""
    for client in case.ledgers if case.claims else ():
        booked, claimed = _spent(case, client), case.scenario["privacy"]["epsilon"]
        if booked > claimed:
            return f"client {client}: its ledger holds releases of {booked:.3g}, {claimed:g} is claimed"
    return None


def noise_not_as_configured(case: Case) -> str | None:
    """More noise booked than was asked for."""
    if not case.claims:
        return None
    given, target = (
        case.scenario["privacy"].get("noise_multiplier"),
        case.scenario["privacy"]["epsilon"],
    )
    for client in case.ledgers:
        booked = case.booked(client)
        others = [
            event.noise_multiplier for event in booked.values() if event.noise_multiplier != given
        ]
        if given is not None and others:
            return f"client {client}: noise multiplier {given:g} was asked for, its ledger books {others[0]:g}"
        if (
            given is None
            and len(booked) == case.scenario["rounds"]
            and _spent(case, client) < _CALIBRATED * target
        ):
            spent = _spent(case, client)
            return f"client {client}: noise for epsilon {target:g} was asked for, its ledger has noise for {spent:.3g}"
    return None


def steps_not_accounted(case: Case) -> str | None:
    """A round that was not booked, or fewer steps than were run."""
    if not case.claims:
        return None
    for record in case.rounds:
        for client in record["survivors"]:
            event, planned = case.booked(client).get(record["round"]), _planned_steps(case, client)
            if event is None and client not in case.broken:
                return f"client {client} took part in round {record['round']}, and its ledger books nothing for it"
            if event is not None and planned is not None and event.steps < planned:
                return (
                    f"client {client} takes {planned} steps a round (epochs x ceil(records / batch)), and its ledger "
                    f"books {event.steps} for round {record['round']}"
                )
    return None


def delta_too_large(case: Case) -> str | None:
    """Delta at one over the records."""
    if not case.claims or not case.records:
        return None
    delta, most = case.scenario["privacy"]["delta"], max(case.records)
    return (
        f"delta {delta:g} is not below 1 / {most}, one over the records"
        if delta >= 1 / most
        else None
    )


def delta_from_batches(case: Case) -> str | None:
    """Delta of one over the batches, or over a batch."""
    if not case.claims:
        return None
    delta, training = case.scenario["privacy"]["delta"], case.scenario["training"]
    for client, records in enumerate(case.records):
        batches = -(-records // training["batch"])
        for count, what in ((batches, "batches an epoch"), (training["batch"], "records a batch")):
            if count > 1 and abs(delta * count - 1) < _SAME * 1e3 and delta >= 1 / records:
                return f"delta {delta:g} is one over the {count} {what} of client {client}"
    return None


def shuffled_as_poisson(case: Case) -> str | None:
    """Batches that are no Poisson samples."""
    how = _practice(case, "sampling", "poisson")
    return (
        None
        if how == "poisson" or not case.claims
        else f"batches are {how}, and accounted as Poisson samples"
    )


def batches_dropped(case: Case) -> str | None:
    """Batches that are not all kept."""
    how = _practice(case, "batches", "all")
    return None if how == "all" or not case.claims else f"some batches are {how}"


def rate_over_all_data(case: Case) -> str | None:
    """A sampling rate below a client's own."""
    batch, everyone = case.scenario["training"]["batch"], sum(case.records)
    for client in case.ledgers if case.claims else ():
        rates = {event.sample_rate for event in case.booked(client).values()}
        if (
            client < len(case.records)
            and rates
            and min(rates) < (1 - _SAME) * min(1.0, batch / case.records[client])
        ):
            of = (
                f"over all {everyone} records"
                if abs(min(rates) * everyone / batch - 1) < 1e-3
                else "too low"
            )
            return (
                f"client {client} is accounted at a sampling rate of {min(rates):.4g}, {of}; it draws {batch} of its "
                f"{case.records[client]}, a rate of {min(1.0, batch / case.records[client]):.4g}"
            )
    return None


def private_normaliser(case: Case) -> str | None:
    """A divisor that depends on the records."""
    by = _practice(case, "normaliser", "declared")
    return (
        None
        if by == "declared" or not case.claims
        else f"the noisy sum is divided by the {by} size"
    )


def batch_norm(case: Case) -> str | None:
    """A layer that mixes the records of a batch."""
    bad = [layer for layer in _practice(case, "layers", ()) if "BatchNorm" in layer]
    return f"the model has {', '.join(bad)}" if bad and case.claims else None


def private_statistics(case: Case) -> str | None:
    """Statistics of the records, read without noise."""
    known = _practice(case, "statistics", "public")
    return (
        None
        if known == "public" or not case.claims
        else f"class weights, normalisation or prior are {known}: read from the records that the claim is about"
    )


def weight_opened(case: Case) -> str | None:
    """A weight by the real number of records."""
    if not case.claims or case.scenario["weights"] != "reported":
        return None
    return "clients report how many records they have, beside a claim about these records"


def _practice(case: Case, key: str, usual: Any) -> Any:
    value = (case.scenario.get("practice") or {}).get(key)
    return usual if value is None else value


def _accountable(case: Case) -> list[int]:
    """Clients that have a ledger, or must have had one."""
    noted = {
        int(client) for record in case.rounds for client, head in record["ledger_heads"].items()
    }
    return sorted({*case.ledgers, *noted} - set(case.broken))


def _lost_heads(case: Case, client: int) -> list[int]:
    """Rounds that noted a head which is not in the client's ledger."""
    heads = {line["hash"] for line in case.ledgers.get(client, ())}
    return [
        r["round"] for r in case.rounds if (h := _noted(r, client)) is not None and h not in heads
    ]


def _told(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}"


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
    counts.update(
        SampledGaussian(**line["event"]) for line in case.ledgers.get(client, ()) if line["event"]
    )
    return epsilon(counts, delta=case.scenario["privacy"]["delta"])
