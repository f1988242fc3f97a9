"""Whether peers have neighbours, and a rule that can judge them."""

from functools import partial

import torch

from securefl import vector
from securefl.errors import ScenarioError
from securefl.federation.topologies.graphs import Graph
from securefl.scenario import catalog
from securefl.scenario.checks.cyclic import check_serverless, no_server
from securefl.scenario.checks.parameters import check_parameters, tried
from securefl.scenario.declaration import Declaration
from securefl.scenario.facts import Facts
from securefl.scenario.making.adversary import adversary_of
from securefl.scenario.making.graph import around_of, graph_of, no_rule
from securefl.scenario.making.rule import corrupt_rows
from securefl.scenario.tables import Attack
from securefl.scenario.topology_table import Topology

# What an attack on a server's rule needs to know of it.
_OF_A_SERVERS_RULE = {"rule", "weigh", "krum"}


def check_peer(declared: Declaration, topology: Topology, facts: Facts) -> None:
    """Checks a scenario whose nodes talk to their neighbours. Raises ScenarioError."""
    check_serverless(declared, topology, facts)
    prefix = no_server(topology)
    if declared.cohort is not None and declared.cohort.size < facts.clients:
        raise ScenarioError(
            f"{prefix}cohort.size = {declared.cohort.size} leaves nodes out, and all of them talk "
            "to their neighbours; remove it"
        )
    if declared.keeps_best:
        raise ScenarioError(
            f"{prefix}evaluate.keep keeps one model, and every node has its own; remove it"
        )
    if declared.training.fine_tune is not None:
        raise ScenarioError(
            f"{prefix}training.fine_tune tunes one global model, and there is none; remove it"
        )
    momentum = facts.rule.entry.momentum if topology.momentum is None else topology.momentum
    if declared.init_from is not None and momentum:
        raise ScenarioError(
            f"{prefix}init_from brings one model and no momentum; set topology.momentum = 0.0"
        )
    if topology.order == "d_psgd" and vector.statistics(facts.model).start < facts.coordinates:
        raise ScenarioError(
            f"{prefix}order = 'd_psgd' would add the change of one running variance to another: "
            "set model.batch_norm = 'group', or use order = 'train_then_mix'"
        )
    if topology.graph is not None and topology.edges is not None:
        raise ScenarioError("topology: graph and edges both say who is a neighbour; remove one")
    shape = topology.graph
    if shape is not None and shape.degree is not None and shape.name != "random_regular":
        raise ScenarioError(
            f"topology.graph.degree has no effect with {shape.name!r}; remove it, or use "
            "'random_regular'"
        )
    graph = tried("topology", lambda: graph_of(declared, topology, facts.clients))
    _check_rule(facts, prefix)
    _check_neighbors(graph, declared, facts)
    _check_attack(facts, prefix)
    if declared.attack is not None:
        _check_rows(declared, declared.attack, facts, graph)


def _check_rule(facts: Facts, prefix: str) -> None:
    rule = facts.rule
    if rule.entry.around is None or facts.prefilters:
        able = [name for name, entry in catalog.RULES.items() if entry.around is not None]
        what = "defense.prefilters" if facts.prefilters else f"defense.rule = {rule.name!r}"
        raise ScenarioError(
            f"{prefix}{what} takes rows that nobody but a server has; use one of {', '.join(able)}"
        )
    check_parameters("defense.rule", rule)
    if corrupt_rows(rule) < 0:
        raise ScenarioError(f"defense.rule: f must be >= 0, got {corrupt_rows(rule)}")


def _check_neighbors(graph: Graph, declared: Declaration, facts: Facts) -> None:
    """Checks that each honest node has the neighbours that its rule takes, and f of them lie."""
    rule, f = facts.rule, corrupt_rows(facts.rule)
    minimum = rule.entry.minimum_rows
    needed = 0 if minimum is None else minimum(f) - 1
    around = around_of(rule)
    for node in range(graph.n):
        degree = graph.degree(node)
        if degree < needed:
            raise ScenarioError(
                f"{rule.name} with f={f} needs {needed} neighbours, and node {node} has {degree}: "
                "use a smaller f, or a graph with more edges"
            )
        rows, weights = torch.zeros(degree, 1), torch.zeros(degree)
        tried("defense", lambda: around(torch.zeros(1), rows, weights))  # noqa: B023


def _check_attack(facts: Facts, prefix: str) -> None:
    attack = facts.attack
    if attack is None or attack.entry.rows is None:
        return
    if attack.entry.records is not None:
        raise ScenarioError(
            f"{prefix}attack.name = {attack.name!r} boosts an update, and peers send whole models; "
            "use another"
        )
    if not _OF_A_SERVERS_RULE & set(attack.entry.needs):
        return
    raise ScenarioError(
        f"{prefix}attack.name = {attack.name!r} searches for rows that hurt a server's rule; use "
        "another"
    )


def _check_rows(declared: Declaration, attack: Attack, facts: Facts, graph: Graph) -> None:
    """Lets the attack have the corrupt rows of each neighbourhood, and one of them."""
    for node in range(graph.n):
        around = (node, *graph.neighbors[node])
        corrupt = len({*attack.clients} & {*graph.neighbors[node]})
        adversary = adversary_of(declared, facts, no_rule, None, among=around)
        for present in {1, corrupt} if corrupt else ():
            own, others = torch.zeros(present, 1), torch.zeros(len(around) - corrupt, 1)
            known = others if attack.knows == "omniscient" else own
            tried("attack", partial(adversary.attack, own, known, 0))
