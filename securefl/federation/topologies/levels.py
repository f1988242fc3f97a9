"""The outcome of a round on two levels, in terms of its clients."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from securefl.federation.record import RoundRecord
from securefl.federation.values import Federation, Played


def of_both_levels(
    federation: Federation, top: Played, inside: Mapping[int, Sequence[Played]]
) -> Played:
    """Returns the outcome of a round that regions and the top played, as its clients have it.

    Survivors are the clients with an update in a row of the top, absent are those that missed some
    round of their region. A client may be both.

    Args:
        federation: of the clients.
        top: the outcome at the top, whose record is about regions.
        inside: region -> the outcomes of its rounds, in their order.
    """
    record = top.record
    played = [each for rounds in inside.values() for each in rounds]
    records = [each.record for each in played]
    arrived = [each.record for number in record.survivors for each in inside[number]]
    heads = {client: site.ledger_head for client, site in federation.clients.items()}
    whole = replace(
        record,
        reason="; ".join(_reasons(record)),
        cohort=federation.invite(record.round),
        survivors=_union(each.survivors for each in arrived),
        absent=_absent(record, inside),
        screened=_union([*(each.screened for each in arrived), *_behind(record.screened, inside)]),
        rejected=record.rejected + sum(each.rejected for each in records),
        bytes_up=record.bytes_up + sum(each.bytes_up for each in records),
        bytes_down=record.bytes_down + sum(each.bytes_down for each in records),
        ledger_heads={client: head for client, head in heads.items() if head is not None},
        push=_mean([each.push for each in records if each.push is not None]),
        distrusted=_distrusted(records),
        groups=tuple(group for each in records for group in each.groups),
    )
    out_of_budget = frozenset(client for each in played for client in each.out_of_budget)
    return replace(top, record=whole, out_of_budget=out_of_budget)


def _reasons(record: RoundRecord) -> Iterator[str]:
    """Yields why the top abandoned a round, and why regions were absent; nothing otherwise."""
    if record.abandoned:
        yield f"top: {record.reason}"
        yield from (f"region {number}: {reason}" for number, reason in record.absent.items())


def _absent(record: RoundRecord, inside: Mapping[int, Sequence[Played]]) -> dict[int, str]:
    """Returns client -> why it is missing in a round of its region, ascending."""
    absent = {}
    for rounds in inside.values():
        missed: dict[int, dict[int, str]] = {}  # client -> number of an inner round -> why
        for number, played in enumerate(rounds, start=1):
            for client, reason in _missing(played.record, abandoned=record.abandoned):
                missed.setdefault(client, {})[number] = reason
        for client, reasons in missed.items():
            number, reason = next(iter(reasons.items()))
            is_partial = len(reasons) < len(rounds)
            place = f"inner round {number} of {len(rounds)}: " if is_partial else ""
            absent[client] = f"{place}{reason}"
    return dict(sorted(absent.items()))


def _missing(record: RoundRecord, *, abandoned: bool) -> Iterator[tuple[int, str]]:
    """Yields each client that a region's round has no update of, and why.

    Where nothing counts because the top abandoned it all, these are the clients that failed.
    """
    for client in sorted(set(record.cohort) - set(record.survivors)):
        if client in record.absent:
            yield client, record.absent[client]
        elif not abandoned:
            yield client, f"its region's round was abandoned: {record.reason}"


def _behind(
    numbers: Sequence[int], inside: Mapping[int, Sequence[Played]]
) -> Iterator[tuple[int, ...]]:
    """Yields the clients that regions' rows are made of."""
    for number in numbers:
        yield from (played.record.survivors for played in inside[number])


def _distrusted(records: Sequence[RoundRecord]) -> tuple[int, ...] | None:
    """Returns the clients that some region's rule distrusted; None where no rule says so."""
    told = [record.distrusted for record in records if record.distrusted is not None]
    return _union(told) if told else None


def _union(groups: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(sorted({client for group in groups for client in group}))


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
