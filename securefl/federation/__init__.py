"""Rounds of federated learning: clients train, the channel carries, the rule combines.

Start with `engine.py`, which plays a round from the invitation to the server's step. Rooms above
hand in callables and get records back. Nothing here reads a scenario or writes a file.
"""

from typing import TYPE_CHECKING

from securefl._door import door

if TYPE_CHECKING:
    from securefl.federation.record import RoundRecord
    from securefl.federation.values import Federation, Participant, State

__all__ = ["Federation", "Participant", "RoundRecord", "State"]

_HOMES = {
    "Federation": "securefl.federation.values",
    "Participant": "securefl.federation.values",
    "RoundRecord": "securefl.federation.record",
    "State": "securefl.federation.values",
}

__getattr__ = door(__name__, _HOMES)
