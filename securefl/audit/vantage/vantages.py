"""How adversaries look at a client in each topology."""

from collections.abc import Callable, Mapping

from securefl.audit.vantage.among_peers import AmongPeers
from securefl.audit.vantage.cyclic import InTurn
from securefl.audit.vantage.looking import Looking, Vantage
from securefl.audit.vantage.regions import OverRegions

VANTAGES: Mapping[str, Callable[[Looking], Vantage]] = {
    "cyclic": InTurn,
    "hierarchical": OverRegions,
    "peer": AmongPeers,
}
