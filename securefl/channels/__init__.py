"""How updates travel from clients to the server, and who sees what on the way.

A channel is two state machines without I/O; the engine carries their messages. Nothing here trains,
spends privacy or knows a scenario.
"""

from typing import TYPE_CHECKING

from securefl._door import door

if TYPE_CHECKING:
    from securefl.channels.protocol import (
        ChannelClient,
        ChannelServer,
        ClientUpdate,
        Observation,
        View,
    )

__all__ = ["ChannelClient", "ChannelServer", "ClientUpdate", "Observation", "View"]

_HOMES = {
    "ChannelClient": "securefl.channels.protocol",
    "ChannelServer": "securefl.channels.protocol",
    "ClientUpdate": "securefl.channels.protocol",
    "Observation": "securefl.channels.protocol",
    "View": "securefl.channels.protocol",
}

__getattr__ = door(__name__, _HOMES)
