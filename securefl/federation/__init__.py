"""One round of federated learning: clients train, the channel carries, the rule combines, the server steps.

`engine.py` is the whole of it. Callables come in and records go out; nothing here reads a scenario or writes a file.
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
