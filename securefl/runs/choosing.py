"""Whom a channel that chooses clients left out, over all rounds of a run."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TypedDict

from securefl.channels.masking.sketches.conflicts import UNPROVEN
from securefl.federation.record import RoundRecord


class Choosing(TypedDict, total=False):
    """Whom a channel that chooses clients left out.

    Keys:
        not_chosen: client -> rounds in which its update was compared and not chosen. A rule may
            leave out the same honest clients every round, where their records are unlike others.
        not_compared: client -> rounds in which its update arrived and was left out of the sum
            without being shown to the rule: it was in a pair of which one lied.
        named: client -> why it took no further part: it was found lying.
        paired: clients of which one lied; in later rounds neither was chosen.
    """

    not_chosen: dict[str, int]
    not_compared: dict[str, int]
    named: dict[str, str]
    paired: list[list[int]]


def choosing(rounds: Sequence[RoundRecord], clients: Collection[int]) -> Choosing:
    """Returns what the records of a run say about the choice, for these clients."""
    not_chosen, not_compared = _left_out(rounds)
    named = {client: why for record in rounds for client, why in record.named.items()}
    # Pairs of a round that has a result are left out of that round only.
    paired = [pair for record in rounds if record.abandoned for pair in record.paired]
    return {
        "not_chosen": {str(client): not_chosen[client] for client in sorted(clients)},
        "not_compared": {str(client): not_compared[client] for client in sorted(not_compared)},
        "named": {str(client): named[client] for client in sorted(named)},
        "paired": [list(pair) for pair in paired],
    }


def _left_out(rounds: Sequence[RoundRecord]) -> tuple[Counter[int], Counter[int]]:
    """Returns how often the rule did not choose a client, and how often it was not shown to it."""
    not_chosen, not_compared = Counter[int](), Counter[int]()
    pairs: list[tuple[int, int]] = []  # of earlier rounds without a result
    for record in rounds:
        if record.abandoned:  # it chose nobody
            pairs += record.paired
        else:
            _count(record, pairs, not_chosen, not_compared)
        # Once one of a pair is proven to lie, the other one is free again.
        proven = {client for client, why in record.named.items() if why not in UNPROVEN}
        pairs = [pair for pair in pairs if proven.isdisjoint(pair)]
    return not_chosen, not_compared


def _count(
    record: RoundRecord,
    pairs: Sequence[tuple[int, int]],
    not_chosen: Counter[int],
    not_compared: Counter[int],
) -> None:
    """Counts the clients that a round with a result left out of its sum."""
    suspects = {client for pair in (*pairs, *record.paired) for client in pair}
    not_compared.update(client for client in record.left_out if client in suspects)
    not_chosen.update(client for client in record.left_out if client not in suspects)


def choosing_words(found: Choosing) -> list[str]:
    """Returns the same in sentences; none where no channel chose."""
    lines = []
    if often := _often(found.get("not_chosen", {})):
        lines.append(f"the rule left out: {often}")
    if often := _often(found.get("not_compared", {})):
        lines.append(f"left out of the sum in pairs of which one lied: {often}")
    for client, why in found.get("named", {}).items():
        lines.append(f"client {client} was found lying and took no further part: {why}")
    for one, other in found.get("paired", []):
        lines.append(f"client {one} or client {other} lied; neither was chosen again")
    return lines


def _often(counts: Mapping[str, int]) -> str:
    """Returns who was left out how often; empty where nobody was."""
    return ", ".join(
        f"client {client} {rounds} x"
        for client, rounds in sorted(counts.items(), key=_most)
        if rounds
    )


def _most(counted: tuple[str, int]) -> tuple[int, int]:
    """Sorts the most often left out to the front, then by client."""
    client, rounds = counted
    return -rounds, int(client)
