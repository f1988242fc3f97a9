"""Federations of the experiment of topologies: who meets whom, and what is tried."""

from collections.abc import Mapping
from typing import Any, NamedTuple

RATES = (0.1, 0.3, 1.0)
# On the 4 x 4 torus: two corrupt nodes without a common neighbour, and two that share two.
PLACES: Mapping[str, tuple[int, ...]] = {"nobody": (), "apart": (0, 10), "sharing": (0, 2)}
DEALS: Mapping[str, Mapping[str, Any]] = {
    "IID": {"partition": "iid"},
    "Dirichlet .5": {"partition": "dirichlet", "alpha": 0.5},
}


class Way(NamedTuple):
    """A way to federate, and under which conditions it is tried.

    Attributes:
        section: of the page.
        label: in the table.
        keys: of the scenario.
        deal: how records are dealt.
        corrupt: the places of corrupt nodes, on a torus.
    """

    section: str
    label: str
    keys: Mapping[str, Any]
    deal: str
    corrupt: str = "nobody"

    @property
    def tuned_as(self) -> tuple[str, str, str]:
        """The ways that share a learning rate: an attack finds nobody tuned for it."""
        return self.section, self.label, self.deal


TORUS, ORDERS, CLOCK = "torus", "orders", "clock"
_BASE: Mapping[str, Any] = {
    "weights": "equal",
    "model": {"name": "mlp", "hidden": [32]},
    "training": {"kind": "sgd", "epochs": 1, "batch": 16},
}
BASES: Mapping[str, Mapping[str, Any]] = {
    TORUS: {**_BASE, "rounds": 40, "data": {"name": "digits", "clients": 16}},
    ORDERS: {**_BASE, "data": {"name": "digits", "clients": 9}},
    CLOCK: {**_BASE, "data": {"name": "digits", "clients": 20}},
}
_RULES: Mapping[str, Any] = {
    "gossip": {"rule": "mean"},
    "NNA": {"rule": {"name": "nna", "f": 1}},
    "MoNNA": {"rule": {"name": "monna", "f": 1}},
    "self-centred clipping": {"rule": {"name": "self_centered_clipping", "f": 1}},
    "trimmed mean": {"rule": {"name": "trimmed_mean", "f": 1}},
}
SLOW = range(15, 20)  # of twenty clients
SPEED = [8 if client in SLOW else 1 for client in range(20)]
FEDAVG, FIRST, FEDBUFF = "FedAvg", "FedAvg, the first 15 of 20", "FedBuff"
_UPDATES = 800  # of all clients together, in each way


def ways() -> tuple[Way, ...]:
    """Returns all ways in the order of the page."""
    peers = {"topology": {"kind": "peer", "graph": "torus"}}
    found = [
        Way(TORUS, label, {**peers, "defense": rule}, deal, corrupt)
        for deal in DEALS
        for label, rule in _RULES.items()
        for corrupt in PLACES
    ]
    regions = [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    hierarchical = {"kind": "hierarchical", "regions": regions, "inner_rounds": 2}
    found += [
        Way(ORDERS, "server", {"rounds": 20}, "IID"),
        Way(ORDERS, "cyclic", {"rounds": 20, "topology": "cyclic"}, "IID"),
        Way(ORDERS, "hierarchical", {"rounds": 10, "topology": hierarchical}, "IID"),
    ]
    simulate = {"simulate": {"speed": SPEED}}
    first = {"size": 15, "over_select": 20 / 15}
    buffered = {"kind": "fedbuff", "buffer": 5, "concurrency": 20, "max_updates": _UPDATES}
    for deal in DEALS:
        found += [
            Way(CLOCK, FEDAVG, {**simulate, "rounds": _UPDATES // 20}, deal),
            Way(CLOCK, FIRST, {**simulate, "rounds": _UPDATES // 20, "cohort": first}, deal),
            Way(CLOCK, FEDBUFF, {**simulate, "rounds": _UPDATES // 5, "topology": buffered}, deal),
        ]
    return tuple(found)


def scenario_of(way: Way, *, seed: int, lr: float) -> dict[str, Any]:
    """Returns the scenario of one run."""
    values: dict[str, Any] = {**BASES[way.section], **way.keys, "seed": seed}
    values["data"] = {**values["data"], **DEALS[way.deal], "split_seed": seed}
    values["training"] = {**values["training"], "lr": lr}
    if way.section == TORUS:
        # All nodes' models are judged: once is enough where only the last figure counts.
        values["evaluate"] = {"every": values["rounds"]}
    corrupt = PLACES[way.corrupt]
    if corrupt:
        values["attack"] = {"name": "sign_flip", "scale": 1.0, "clients": list(corrupt)}
    return values
