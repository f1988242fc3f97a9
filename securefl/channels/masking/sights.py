"""What each party of a masked session sees, and what it learns from that, in words."""

from collections.abc import Mapping

from securefl.channels.protocol import Seen

_SHOWN = (
    Seen.GLOBAL_MODEL,
    Seen.PUBLIC_KEYS,
    Seen.SEALED_SHARES,
    Seen.MASKED_UPDATE,
    Seen.SURVIVOR_SET,
    Seen.REVEALED_SHARES,
    Seen.SUM_OF_UPDATES,
)
SEES: Mapping[str, tuple[Seen, ...]] = {
    "server": _SHOWN,
    "network": _SHOWN,
    "client": (Seen.GLOBAL_MODEL, Seen.OWN_UPDATE),
}
THREATS: Mapping[str, str] = {
    "server": (
        "the sum over each block's or group's survivors, who survived, reported weights if "
        "allowed; no single update"
    ),
    "server with up to `corrupt` clients of a sum": (
        "the sum over its honest survivors, two or more"
    ),
    "n - 1 colluding clients": "the last one's update, exactly; only noise protects it (dp_sgd)",
    "network": (
        "what the server sees; forged, replayed or swapped messages change no sum, "
        "held back ones stop rounds"
    ),
    "other clients": "the global models, hence the sum, and who took part",
}

# Where a rule chooses the clients of a sum. Shares of distances travel in the clear, so that the
# network computes the same distances as the server.
_OF_CHOICE = (
    Seen.SKETCH_SHARES,
    Seen.ACCEPTANCES,
    Seen.DISTANCE_SHARES,
    Seen.DISTANCES,
    Seen.CHOSEN_CLIENTS,
)
CHOICE_SEES: Mapping[str, tuple[Seen, ...]] = {"server": _OF_CHOICE, "network": _OF_CHOICE}
CHOICE_THREATS: Mapping[str, str] = {
    "server": (
        "the sum over the clients that the rule chose, the squared distances between all updates, "
        "who took part; no single update"
    ),
    "server with up to `corrupt` clients of a sum": (
        "the same, and through each of these clients the inner product of every update with a "
        "direction that this client chose, to about 1/sqrt(sketch)"
    ),
    "n - 1 colluding clients": (
        "the last one's update, exactly, if it is chosen; only noise protects it (dp_sgd)"
    ),
    "network": (
        "what the server sees; forged, replayed or swapped messages change no sum, "
        "held back ones stop rounds"
    ),
    "other clients": "the global models, hence the sum, who took part and who was chosen",
    "up to f lying clients": (
        "no more than other clients; where a sketch is not that of the update, they are named"
    ),
}
