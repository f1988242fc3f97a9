"""Name -> topology, a way for models to travel in a run: a part of the catalog."""

from collections.abc import Mapping

from securefl.federation.topologies import cyclic, fedbuff, hierarchical, peer
from securefl.scenario.topology_entry import TopologyEntry, one_an_inner_round, several_a_round

TOPOLOGIES: Mapping[str, TopologyEntry] = {
    "cyclic": TopologyEntry(
        cyclic.SEES, takes=("order",), orders=("fixed", "random"), has_server=False
    ),
    "peer": TopologyEntry(
        peer.SEES,
        takes=("graph", "edges", "mixing", "order", "momentum"),
        orders=("train_then_mix", "d_psgd"),
        has_server=False,
        around=True,
    ),
    "hierarchical": TopologyEntry(
        hierarchical.SEES,
        takes=("regions", "inner_rounds", "top"),
        trainings=several_a_round,
        numbers=one_an_inner_round,
    ),
    "fedbuff": TopologyEntry(
        fedbuff.SEES,
        takes=("buffer", "concurrency", "max_updates"),
        trainings=lambda topology, rounds: topology.max_updates or rounds,
        numbers=lambda topology, round: range(0),
        buffer=lambda topology: topology.buffer,
        has_clock=True,
        audited=False,
    ),
}
