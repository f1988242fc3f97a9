"""Whom the rounds of a run have found lying, from their records."""

from collections.abc import Iterable

from securefl.channels.faults import Pairs
from securefl.federation.record import RoundRecord
from securefl.federation.values import Federation


def recall_faults(federation: Federation, records: Iterable[RoundRecord]) -> None:
    """Tells the server of a resumed run which clients the rounds before have found lying.

    Args:
        federation: whose server is new, and knows of no round.
        records: of all rounds that were played.
    """
    if federation.memory is None:
        return
    named: dict[int, str] = {}
    paired: Pairs = ()
    for record in records:
        named |= record.named
        # Pairs of a round that has a result are left out of that round only.
        if record.abandoned:
            paired += record.paired
    federation.memory.recall(named, paired)
