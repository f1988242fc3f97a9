"""Threat models as data: who might look, and what that party sees under every channel.

What a party sees of a round is the kinds of its Observations (`catalog.CHANNELS[...].sees`); tests hold both to the
transcripts of real runs. Noise at the client (place = "local") changes nothing in this table: what is seen is noisy.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from securefl.channels.protocol import Seen
from securefl.errors import ScenarioError
from securefl.scenario import catalog

OPENED, FINAL, ANSWERS = "update opened with the key", "final model", "answers of the final model"


@dataclass(frozen=True)
class ThreatModel:
    """Somebody who looks.

    server, network: whether it has what they see. clients: whether clients of its own show it what they see and send.
    key: whether they show the server the key of the channel. published: what it gets at the end without being anybody.
    deviates: whether it may break the protocol; an audit measures what it learns without, and says so.
    """

    who: str
    server: bool = False
    network: bool = False
    clients: bool = False
    key: bool = False
    published: str = ""
    deviates: bool = False

    def parties(self, colluders: tuple[int, ...]) -> frozenset[str]:
        """The parties whose Observations it has."""
        found = {name for name, has in (("server", self.server), ("network", self.network)) if has}
        return frozenset(found | {f"client {client}" for client in colluders if self.clients})

    def opens(self, channel: str) -> bool:
        """Whether it opens single updates with a key."""
        return self.key and catalog.CHANNELS[channel].keyed

    def ends_with(self, channel: str) -> str:
        """What it has when the run is over: the final model, its answers, or nothing."""
        models = [
            party
            for party, kinds in catalog.CHANNELS[channel].sees.items()
            if Seen.GLOBAL_MODEL in kinds
        ]
        has = (
            (self.server and "server" in models)
            or (self.network and "network" in models)
            or self.clients
        )
        return FINAL if has else self.published

    def sees(self, channel: str, *, reported: bool = False) -> tuple[str, ...]:
        """Kinds of what it sees in a round under a channel, then what it ends with.

        Args:
            channel: its kind.
            reported: whether clients report their weights, which some channels show by themselves.
        """
        sees = catalog.CHANNELS[channel].sees
        parties = (("server", self.server), ("network", self.network), ("client", self.clients))
        kinds: list[str] = [kind for party, has in parties if has for kind in sees[party]]
        kinds += [OPENED] if self.opens(channel) else []
        shown = (
            reported
            and catalog.CHANNELS[channel].shows_reported_weights
            and (self.server or self.network)
        )
        kinds += [Seen.REPORTED_WEIGHT] if shown else []
        return tuple(dict.fromkeys(kind for kind in [*kinds, self.ends_with(channel)] if kind))


THREATS: Mapping[str, ThreatModel] = {
    "server": ThreatModel("the server, honest but curious", server=True),
    "malicious-server": ThreatModel(
        "the server, which may also break the protocol", server=True, deviates=True
    ),
    "clients": ThreatModel("clients that share what they see and send", clients=True),
    "server+clients": ThreatModel(
        "the server and clients that share what they see and send", server=True, clients=True
    ),
    "server+key-holder": ThreatModel(
        "the server and clients that also show it the key of the channel, where there is one",
        server=True,
        clients=True,
        key=True,
    ),
    "network": ThreatModel(
        "whoever reads all messages, where no transport encrypts them", network=True
    ),
    "outsider": ThreatModel(
        "anybody who may ask the final model for answers (black box)", published=ANSWERS
    ),
    "outsider-weights": ThreatModel("anybody who has the final model (white box)", published=FINAL),
}


def threat(name: str) -> ThreatModel:
    """The threat model of this name. Raises ScenarioError where there is none."""
    if name not in THREATS:
        raise ScenarioError(
            f"--adversary: there is no {name!r}; known are {', '.join(THREATS)}, all"
        )
    return THREATS[name]
