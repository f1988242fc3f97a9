"""The table [topology]: who hands models to whom."""

from collections.abc import Mapping
from typing import Any, Literal

from securefl.scenario.tables import Count, Section


class Topology(Section):
    """Who hands models to whom, where that is not one server to all clients.

    cyclic hands the model from site to site; order is fixed (the sites' own, unless it is given) or
    random, drawn from the seed for each round. "server" is the same as no topology.

    fedbuff is a server without lockstep: `concurrency` clients train at any time, and every
    `buffer` updates make a step, which is one round. A client gives at most max_updates in the run.
    """

    kind: str
    order: Literal["fixed", "random"] | None = None
    buffer: Count | None = None
    concurrency: Count | None = None
    max_updates: Count | None = None

    @property
    def given(self) -> Mapping[str, Any]:
        """The keys that have a value, apart from the kind."""
        keys = (key for key in Topology.model_fields if key != "kind")
        return {key: getattr(self, key) for key in keys if getattr(self, key) is not None}


def topology_of(value: object) -> object:
    """Returns the table that a bare kind abbreviates; None for a server."""
    if value == "server":
        return None
    return {"kind": value} if isinstance(value, str) else value
