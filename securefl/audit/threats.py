"""Threat models as data: the parties that may look, and what each sees under every channel.

A party sees the kinds of its Observations (`catalog.CHANNELS[...].sees`); tests hold both to the
transcripts of real runs. Noise at the client (place = "local") changes nothing in this table: the
same things are seen, with noise.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from securefl.channels.protocol import Seen
from securefl.errors import ScenarioError
from securefl.scenario import catalog

OPENED = "update opened with the key"
FINAL = "final model"
ANSWERS = "answers of the final model"


@dataclass(frozen=True)
class ThreatModel:
    """An adversary, by what it sees.

    Attributes:
        who: in words.
        server: whether it sees what the server sees.
        network: whether it sees what the network sees.
        clients: whether clients of its own show it what they see and send.
        key: whether these also show the server the key of the channel.
        published: what it gets at the end without being a party: `FINAL`, `ANSWERS` or "".
        deviates: whether it may break the protocol. An audit measures what it learns without
            doing so, except for an imprint, and says so.
    """

    who: str
    server: bool = False
    network: bool = False
    clients: bool = False
    key: bool = False
    published: str = ""
    deviates: bool = False

    def parties(self, colluders: tuple[int, ...]) -> frozenset[str]:
        """Returns the parties whose Observations it has."""
        parties = {"server"} if self.server else set()
        if self.network:
            parties.add("network")
        if self.clients:
            parties.update(f"client {client}" for client in colluders)
        return frozenset(parties)

    def opens(self, channel: str) -> bool:
        """Whether it opens single updates with a key."""
        return self.key and catalog.CHANNELS[channel].keyed

    def ends_with(self, channel: str) -> str:
        """Returns what it has when the run is over: the final model, its answers, or nothing."""
        sees = catalog.CHANNELS[channel].sees
        by_server = self.server and Seen.GLOBAL_MODEL in sees["server"]
        by_network = self.network and Seen.GLOBAL_MODEL in sees["network"]
        # Clients train on the global model under every channel.
        return FINAL if by_server or by_network or self.clients else self.published

    def sees(self, channel: str, *, reported: bool = False) -> tuple[str, ...]:
        """Returns the kinds of what it sees in a round, then what it ends with.

        Args:
            channel: its kind.
            reported: whether clients report their weights, which some channels show by themselves.
        """
        kind = catalog.CHANNELS[channel]
        parties = (("server", self.server), ("network", self.network), ("client", self.clients))
        kinds: list[str] = [seen for party, has in parties if has for seen in kind.sees[party]]
        if self.opens(channel):
            kinds.append(OPENED)
        if reported and kind.shows_reported_weights and (self.server or self.network):
            kinds.append(Seen.REPORTED_WEIGHT)
        kinds.append(self.ends_with(channel))
        return tuple(dict.fromkeys(seen for seen in kinds if seen))


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
        "anybody who reads all messages, where no transport encrypts them", network=True
    ),
    "outsider": ThreatModel(
        "anybody who may ask the final model for answers (black box)", published=ANSWERS
    ),
    "outsider-weights": ThreatModel("anybody who has the final model (white box)", published=FINAL),
}


def threat(name: str) -> ThreatModel:
    """Returns the threat model of this name. Raises ScenarioError where there is none."""
    if name not in THREATS:
        raise ScenarioError(
            f"--adversary: there is no {name!r}; known are {', '.join(THREATS)}, all"
        )
    return THREATS[name]
