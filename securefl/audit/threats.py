"""Threat models as data: the parties that may look, and what each sees under every channel.

A party sees the kinds of its Observations (`catalog.CHANNELS[...].sees`, in a topology
`catalog.TOPOLOGIES[...].sees`); tests hold both to the transcripts of real runs. Noise at the
client (place = "local") changes nothing in this table: the same things are seen, with noise.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from securefl.channels.protocol import Seen
from securefl.errors import ScenarioError
from securefl.scenario import catalog
from securefl.scenario.topology_entry import TopologyEntry

SERVER = "server"  # the topology of a federation with one server
EVERYWHERE = (SERVER, *(name for name, entry in catalog.TOPOLOGIES.items() if entry.audited))
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
        level: "region" or "top" where it sees what the server of that level sees, else "".
        fits: the topologies in which there is such an adversary.
    """

    who: str
    server: bool = False
    network: bool = False
    clients: bool = False
    key: bool = False
    published: str = ""
    deviates: bool = False
    level: str = ""
    fits: tuple[str, ...] = (SERVER,)

    def parties(self, colluders: tuple[int, ...], region: int = 0) -> frozenset[str]:
        """Returns the parties whose Observations it has, of a region's server that of `region`."""
        parties = {"server"} if self.server else set()
        if self.level:
            parties.add(f"region {region}" if self.level == "region" else self.level)
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
        # Clients train on the global model under every channel, and regions hand it to them.
        gets_it = by_server or by_network or self.clients or bool(self.level)
        return FINAL if gets_it else self.published

    def sees(
        self,
        channel: str,
        *,
        reported: bool = False,
        topology: TopologyEntry | None = None,
        choice: bool = False,
    ) -> tuple[str, ...]:
        """Returns the kinds of what it sees in a round, then what it ends with.

        Args:
            channel: its kind.
            reported: whether clients report their weights, which some channels show by themselves.
            topology: None with one server.
            choice: whether the channel chooses the clients of its sum.
        """
        kind = catalog.CHANNELS[channel]
        shown = _shown(topology, channel) if topology else kind.sees_with(choice=choice)
        parties = {"server": self.server, "network": self.network, "client": self.clients}
        parties[self.level] = bool(self.level)
        kinds: list[str] = [seen for party, has in parties.items() if has for seen in shown[party]]
        if self.opens(channel):
            kinds.append(OPENED)
        if reported and kind.shows_reported_weights and (self.server or self.network):
            kinds.append(Seen.REPORTED_WEIGHT)
        kinds.append(self.ends_with(channel))
        return tuple(dict.fromkeys(seen for seen in kinds if seen))


def _shown(topology: TopologyEntry, channel: str) -> Mapping[str, tuple[Seen, ...]]:
    """Returns party -> what it sees in a topology; regions have the channel inside them."""
    if "region" not in topology.sees:
        return topology.sees
    inside = catalog.CHANNELS[channel].sees
    shown = {"client": inside["client"], **topology.sees}
    for party, same in (("region", "server"), ("network", "network")):
        shown[party] = tuple(dict.fromkeys((*topology.sees[party], *inside[same])))
    return shown


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
    "neighbour": ThreatModel(
        "neighbours of the client that share what they see and send", clients=True, fits=("peer",)
    ),
    "next-site": ThreatModel(
        "the site after the client, and with two colluders the one before it",
        clients=True,
        fits=("cyclic",),
    ),
    "region": ThreatModel(
        "the server of the client's region, honest but curious",
        level="region",
        fits=("hierarchical",),
    ),
    "top": ThreatModel(
        "the server above the regions, honest but curious", level="top", fits=("hierarchical",)
    ),
    "network": ThreatModel(
        "anybody who reads all messages, where no transport encrypts them",
        network=True,
        fits=EVERYWHERE,
    ),
    "outsider": ThreatModel(
        "anybody who may ask the final model for answers (black box)",
        published=ANSWERS,
        fits=EVERYWHERE,
    ),
    "outsider-weights": ThreatModel(
        "anybody who has the final model (white box)", published=FINAL, fits=EVERYWHERE
    ),
}


def threat(name: str) -> ThreatModel:
    """Returns the threat model of this name. Raises ScenarioError where there is none."""
    if name not in THREATS:
        raise ScenarioError(
            f"--adversary: there is no {name!r}; known are {', '.join(THREATS)}, all"
        )
    return THREATS[name]


def adversaries_in(topology: str) -> tuple[str, ...]:
    """Returns the names of the adversaries that there are in a topology, or with one `SERVER`."""
    return tuple(name for name, model in THREATS.items() if topology in model.fits)
