"""The end of a round, whatever its topology: payments are settled, and the record is written."""

import time
from collections.abc import Iterable
from dataclasses import replace

from securefl.federation.log import RoundLog
from securefl.federation.values import Federation, Played, State


def written(
    federation: Federation,
    state: State,
    after: State,
    cohort: tuple[int, ...],
    log: RoundLog,
    *,
    started: float,
    paid: Iterable[tuple[int, int]] | None = None,
) -> Played:
    """Settles a round's payments, measures its model, and writes it down.

    Args:
        federation: its parties.
        state: before the round.
        after: the weights and the step's state after it.
        cohort: the invited clients.
        log: of the round, with its survivors.
        started: when the round began, by `time.perf_counter`.
        paid: clients and the numbers of their payments that count now; by default the payment of
            this round of each survivor, and of each client that the channel compared and left out.
    """
    after = replace(after, round=state.round + 1)
    # An abandoned round has no survivors: its reservations stay, in case an update got out.
    if paid is None:
        counted = log.survivors + log.left_out if log.survivors else ()
        paid = [(client, state.round) for client in counted]
    for client, number in paid:
        federation.clients[client].confirm(number)
    quality = federation.quality_after(state.round, after)
    heads = {client: site.ledger_head for client, site in federation.clients.items()}
    record = log.record(
        state.round,
        cohort,
        quality=quality,
        ledger_heads={client: head for client, head in heads.items() if head is not None},
        seconds=time.perf_counter() - started,
    )
    return Played(after, record, frozenset(log.out_of_budget), log.transcript)
