"""Whom a channel that chooses clients left out, over all rounds of a run."""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import TypedDict

from securefl.federation.record import RoundRecord


class Choosing(TypedDict, total=False):
    """Whom a channel that chooses clients left out.

    Keys:
        not_chosen: client -> rounds in which its update arrived and was not chosen. A rule may
            leave out the same honest clients every round, where their records are unlike others.
        named: client -> why it took no further part: it was found lying.
        paired: clients of which one lied; in later rounds neither was chosen.
    """

    not_chosen: dict[str, int]
    named: dict[str, str]
    paired: list[list[int]]


def choosing(rounds: Sequence[RoundRecord], clients: Collection[int]) -> Choosing:
    """Returns what the records of a run say about the choice, for these clients."""
    # A round without a result chose nobody.
    counted = [record for record in rounds if not record.abandoned]
    left_out = Counter(client for record in counted for client in record.left_out)
    named = {client: why for record in rounds for client, why in record.named.items()}
    # Pairs of a round that has a result are left out of that round only.
    paired = [pair for record in rounds if record.abandoned for pair in record.paired]
    return {
        "not_chosen": {str(client): left_out[client] for client in sorted(clients)},
        "named": {str(client): named[client] for client in sorted(named)},
        "paired": [list(pair) for pair in paired],
    }


def choosing_words(found: Choosing) -> list[str]:
    """Returns the same in sentences; none where no channel chose."""
    lines = []
    counts = {client: rounds for client, rounds in found.get("not_chosen", {}).items() if rounds}
    if counts:
        often = ", ".join(
            f"client {client} {rounds} x" for client, rounds in sorted(counts.items(), key=_most)
        )
        lines.append(f"the rule left out: {often}")
    for client, why in found.get("named", {}).items():
        lines.append(f"client {client} was found lying and took no further part: {why}")
    for one, other in found.get("paired", []):
        lines.append(f"client {one} or client {other} lied; neither was chosen again")
    return lines


def _most(counted: tuple[str, int]) -> tuple[int, int]:
    """Sorts the most often left out to the front, then by client."""
    client, rounds = counted
    return -rounds, int(client)
