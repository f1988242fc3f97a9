"""Mistakes that show in the ledgers: each look returns the sentence that shows one, or None."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from securefl.privacy.accounting.epsilon import epsilon
from securefl.privacy.chain import GENESIS, earlier
from securefl.privacy.events import DiscreteGaussianSum, PrivacyEvent
from securefl.privacy.lint.case import Case
from securefl.privacy.terms import place_in

# Largest relative difference of two numbers that were computed alike.
ROUNDING = 1e-6
# Calibrated noise spends at least this share of its target.
MIN_SHARE_OF_TARGET = 0.98
# A reported epsilon below this share of the booked one is not rounding.
MIN_SHARE_REPORTED = 0.99
# A sampling rate this close to batch over all records was computed over all records.
SAME_RATE = 1e-3


def ledger_edited(case: Case) -> str | None:
    """Finds a ledger that does not chain, lost entries, or was kept under other terms."""
    if case.broken:
        return next(iter(case.broken.values()))
    for client in _clients_with_books(case):
        lost = _rounds_with_lost_heads(case, client)
        if lost:
            return (
                f"client {client}: entries that its ledger held by round {lost[-1]} are missing:"
                " it was cut, replaced or taken away"
            )
    if not case.has_claim:
        return None
    for client in case.ledgers:
        message = _other_terms(case, client)
        if message is not None:
            return message
    return None


def _other_terms(case: Case, client: int) -> str | None:
    lines = case.ledgers[client]
    if not lines:
        return None
    terms = lines[0].get("terms") or {}
    terms = {**terms, "place": place_in(terms, case.opener)}
    privacy = case.scenario["privacy"]
    claimed = {"unit": privacy["unit"], "delta": privacy["delta"], "budget": privacy["epsilon"]}
    claimed["place"] = case.claimed_place
    # Ledgers from before seeded noise was marked do not say where their noise came from.
    if "noise" in terms:
        claimed["noise"] = privacy.get("noise")
    # Whole clients are replaced, except where each tosses a coin whether it takes part at all.
    is_replaced = case.protects_clients and not case.tosses_coins
    claimed["neighbours"] = "replace_one" if is_replaced else "add_remove"
    for key, value in claimed.items():
        if terms.get(key) != value:
            return (
                f"client {client}: its ledger was kept at {key} {terms.get(key)},"
                f" the scenario says {value}"
            )
    return None


def no_noise(case: Case) -> str | None:
    """Finds a claim without a ledger, or a release without noise."""
    if not case.has_claim or not case.rounds or case.broken:
        return None
    has_release = any(case.booked(client) for client in case.ledgers)
    if not has_release and any(record["survivors"] for record in case.rounds):
        return "a finite epsilon is claimed, and no ledger holds a release"
    for client in case.ledgers:
        if any(event.noise_multiplier == 0 for event in case.booked(client).values()):
            return f"client {client} released without noise"
    return None


def accountant_restarted(case: Case) -> str | None:
    """Finds a ledger that starts again, or a reported epsilon below the booked one."""
    for client in _clients_with_books(case):
        booked = case.booked(client)
        lost = _rounds_with_lost_heads(case, client)
        if lost and booked and min(booked) >= case.numbers(lost[0]).stop:
            return (
                f"client {client}: its ledger begins at round {min(booked)},"
                f" and it had booked round {lost[0]}"
            )
    if not case.has_claim or case.metrics is None:
        return None
    return _reported_too_low(case, case.metrics)


def _reported_too_low(case: Case, metrics: Mapping[str, Any]) -> str | None:
    spent = {client: _spent(case, client) for client in case.ledgers}
    by_client = metrics.get("epsilons") or {}
    for client, cost in spent.items():
        reported = by_client.get(str(client))
        if reported is None or reported < MIN_SHARE_REPORTED * cost:
            return (
                f"client {client}: epsilon {_shown(reported)} is reported,"
                f" its ledger holds releases of {cost:.3g}"
            )
    largest = max(spent.values(), default=0.0)
    headline = metrics.get("epsilon")
    if headline is None or headline < MIN_SHARE_REPORTED * largest:
        return f"epsilon {_shown(headline)} is reported, a ledger holds releases of {largest:.3g}"
    return None


def budget_exceeded(case: Case) -> str | None:
    """Finds a ledger that booked more than is claimed."""
    if not case.has_claim:
        return None
    claimed = case.scenario["privacy"]["epsilon"]
    for client in case.ledgers:
        spent = _spent(case, client)
        if spent > claimed:
            return (
                f"client {client}: its ledger holds releases of {spent:.3g}, {claimed:g} is claimed"
            )
    return None


def noise_not_as_configured(case: Case) -> str | None:
    """Finds books that name more noise than the scenario asked for."""
    if not case.has_claim:
        return None
    multiplier = case.scenario["privacy"].get("noise_multiplier")
    messages = []
    for client in case.ledgers:
        message = _noise_of_another_place(case, client)
        if message is None:
            message = _other_multiplier(case, client, multiplier)
        messages.append(message)
    # Noise for a sum is one for all: only the client with the largest past spends its target.
    if multiplier is None and case.place != "local" and None in messages:
        return None
    return next((message for message in messages if message is not None), None)


def _noise_of_another_place(case: Case, client: int) -> str | None:
    """Finds shares that no sum carries; `shares_as_gaussian` looks for the contrary."""
    for event in case.booked(client).values():
        if isinstance(event, DiscreteGaussianSum) and case.place != "distributed":
            return (
                f"client {client}: {case.place} noise was asked for,"
                f" its ledger books {event.shares} shares of noise"
            )
    return None


def _other_multiplier(case: Case, client: int, multiplier: float | None) -> str | None:
    if multiplier is None:
        return _calibrated_too_high(case, client)
    for event in case.booked(client).values():
        # The multiplier of shares is a quotient: its last digits are rounded.
        if abs(event.noise_multiplier - multiplier) > ROUNDING * multiplier:
            return (
                f"client {client}: noise multiplier {multiplier:g} was asked for,"
                f" its ledger books {event.noise_multiplier:g}"
            )
    return None


def _calibrated_too_high(case: Case, client: int) -> str | None:
    """Compares the target with the spending of a client that trained as often as it may."""
    if len(case.booked(client)) != case.trainings:
        return None
    target = case.scenario["privacy"]["epsilon"]
    spent = _spent(case, client)
    if spent >= MIN_SHARE_OF_TARGET * target:
        return None
    return (
        f"client {client}: noise for epsilon {target:g} was asked for,"
        f" its ledger has noise for {spent:.3g}"
    )


def steps_not_accounted(case: Case) -> str | None:
    """Finds a round or a fit that was not booked, or booked with fewer steps than were run."""
    if not case.has_claim:
        return None
    for client in case.ledgers:
        if case.has_noised_fit and case.booked(client) and not case.has_paid_fit(client):
            return f"client {client}: its ledger books nothing for the fit of data.harmonise"
    updates = Counter[int]()
    for record in case.rounds:
        for client in record["survivors"]:
            updates[client] += 1
            # A client may miss some of a round's trainings.
            is_partial = client in map(int, record["absent"])
            message = _unbooked_steps(
                case, client, record["round"], updates[client], is_partial=is_partial
            )
            if message is not None:
                return message
    return None


def _unbooked_steps(
    case: Case, client: int, round: int, updates: int, *, is_partial: bool
) -> str | None:
    """Says that a client's part in a round is not booked, or too low; it gave so many by then."""
    # A ledger that cannot be read is a finding of its own.
    if client in case.broken:
        return None
    booked = case.booked(client)
    numbers: Sequence[int] = case.numbers(round)
    if case.has_tickets:
        # Other numbers than those of rounds, and more of them than updates: some are lost.
        numbers = list(booked)[updates - 1 : updates]
    events = [booked[number] for number in numbers if number in booked]
    if not events:
        return f"client {client} took part in round {round}, and its ledger books nothing for it"
    if len(events) < len(numbers) and not is_partial:
        return (
            f"client {client} trains {len(numbers)} times in round {round},"
            f" and its ledger books {len(events)}"
        )
    planned = _planned_steps(case, client)
    fewest = min(event.steps for event in events)
    if planned is None or fewest >= planned:
        return None
    return (
        f"client {client} takes {planned} steps a round (epochs x ceil(records / batch)),"
        f" and its ledger books {fewest} for round {round}"
    )


def _planned_steps(case: Case, client: int) -> int | None:
    if case.is_one_release:
        return 1
    if client >= len(case.records):
        return None
    training = case.scenario["training"]
    batches = -(-case.records[client] // training["batch"])
    return int(training["epochs"] * batches)


def rate_over_all_data(case: Case) -> str | None:
    """Finds a sampling rate below the client's own."""
    if not case.has_claim or case.protects_clients:
        return None
    for client in case.ledgers:
        rates = {event.sample_rate for event in case.booked(client).values()}
        own_rate = case.own_rate(client)
        if not rates or own_rate is None or min(rates) >= (1 - ROUNDING) * own_rate:
            continue
        return _low_rate(case, client, min(rates), own_rate)
    return None


def _low_rate(case: Case, client: int, rate: float, own_rate: float) -> str:
    shown = f"client {client} is accounted at a sampling rate of {rate:.4g}"
    if case.is_one_release:
        return f"{shown}, too low; each of its records takes part at a rate of {own_rate:.4g}"
    batch = case.scenario["training"]["batch"]
    own_records = case.records[client]
    all_records = sum(case.records)
    is_over_all = abs(rate * all_records / batch - 1) < SAME_RATE
    reason = f"over all {all_records} records" if is_over_all else "too low"
    return f"{shown}, {reason}; it draws {batch} of its {own_records}, a rate of {own_rate:.4g}"


def _clients_with_books(case: Case) -> list[int]:
    """Returns clients that have a ledger, or must have had one; broken ledgers are left out."""
    noted = {int(client) for record in case.rounds for client in record["ledger_heads"]}
    return sorted({*case.ledgers, *noted} - set(case.broken))


def _rounds_with_lost_heads(case: Case, client: int) -> list[int]:
    """Returns the rounds that noted a head which is not in the client's ledger."""
    heads = {line["hash"] for line in case.ledgers.get(client, ())}
    lost = []
    for record in case.rounds:
        head = _noted_head(record, client)
        if head is not None and head not in heads:
            lost.append(record["round"])
    return lost


def _noted_head(record: Mapping[str, Any], client: int) -> str | None:
    """Returns the head that a round noted; None where the ledger was empty or not noted."""
    heads = record["ledger_heads"]
    # JSON turns the numbers of clients into strings; records in memory keep them.
    head: str | None = heads.get(str(client), heads.get(client))
    return None if head == GENESIS else head


def _spent(case: Case, client: int) -> float:
    """Returns the epsilon of everything in a client's ledger and in its past."""
    counts: Counter[PrivacyEvent] = earlier(case.ledgers.get(client, ()))
    counts.update(case.events(client))
    return epsilon(counts, delta=case.scenario["privacy"]["delta"])


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}"
