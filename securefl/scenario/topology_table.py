"""The table [topology]: who hands models to whom."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from securefl.errors import ScenarioError
from securefl.scenario.tables import Choice, Count, Index, Section, named


class Shape(Section):
    """The graph of peers: ring, complete, torus, or random_regular with a degree."""

    name: Literal["ring", "complete", "torus", "random_regular"]
    degree: Count | None = None


class Top(Choice):
    """The rule that combines the rows of regions, with its parameters."""

    rule: str = "mean"


def top_of(value: object) -> object:
    """Returns the table that a bare rule, or a table that names one, abbreviates."""
    if isinstance(value, dict) and "name" in value and "rule" not in value:
        return {"rule" if key == "name" else key: one for key, one in value.items()}
    return {"rule": value} if isinstance(value, str) else value


class Topology(Section):
    """Who hands models to whom, where that is not one server to all clients.

    cyclic hands the model from site to site; order is fixed (the sites' own, unless it is given) or
    random, drawn from the seed for each round. "server" is the same as no topology.

    peer lets each node keep a model of its own, and combine it with those of its neighbours in the
    graph (complete unless it is given, or edges in its place). mixing says how neighbours are
    weighed. order is train_then_mix (unless it is given) or d_psgd: nodes send the model that they
    began with, and add their training to what they make of those. momentum is the share of the
    updates before in what a node adds to its model; 0.9 for the rule monna, else 0.

    hierarchical has a server in each of its regions, the lists of clients, and a top above them. A
    region plays inner_rounds rounds of its own (1 unless it is given). Then top combines the
    regions' changes of the model by its rule (the mean unless it is given).

    fedbuff is a server without lockstep: `concurrency` clients train at any time, and every
    `buffer` updates make a step, which is one round. A client gives at most max_updates in the run.
    """

    kind: str
    order: Literal["fixed", "random", "train_then_mix", "d_psgd"] | None = None
    graph: Annotated[Shape, BeforeValidator(named, json_schema_input_type=str | Shape)] | None = (
        None
    )
    edges: Annotated[tuple[tuple[Index, Index], ...], Field(min_length=1)] | None = None
    mixing: Literal["metropolis"] | None = None
    momentum: Annotated[float, Field(ge=0, lt=1, strict=True)] | None = None
    regions: tuple[tuple[Index, ...], ...] | None = None
    inner_rounds: Annotated[int, Field(ge=1, le=1000, strict=True)] | None = None
    top: Annotated[Top | None, BeforeValidator(top_of, json_schema_input_type=str | Top)] = None
    buffer: Count | None = None
    concurrency: Count | None = None
    max_updates: Count | None = None

    @property
    def given(self) -> Mapping[str, Any]:
        """The keys that have a value, apart from the kind."""
        keys = (key for key in Topology.model_fields if key != "kind")
        return {key: getattr(self, key) for key in keys if getattr(self, key) is not None}


def topology_of(value: object) -> object:
    """Returns the table that a bare kind abbreviates; None for a server.

    Raises:
        ScenarioError: a server has further keys.
    """
    if value in ("server", {"kind": "server"}):
        return None
    if isinstance(value, dict) and value.get("kind") == "server":
        others = ", ".join(f"topology.{key}" for key in value if key != "kind")
        raise ScenarioError(f"{others} has no effect with a server; remove it")
    return {"kind": value} if isinstance(value, str) else value
