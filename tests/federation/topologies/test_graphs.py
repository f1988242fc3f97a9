"""Graphs of peers: their neighbours, their weights, and what is none."""

from collections.abc import Callable

import pytest
import torch

from securefl.federation.topologies.graphs import Graph, complete, random_regular, ring, torus
from securefl.rng import seeded_keystream


def drawn(n: int, degree: int, seed: int = 0) -> Graph:
    return random_regular(n, degree, seeded_keystream(seed, "graph", 0))


def test_a_ring_has_two_neighbours_each() -> None:
    assert ring(5).neighbors == ((1, 4), (0, 2), (1, 3), (2, 4), (0, 3))


def test_a_torus_has_four_neighbours_each_row_by_row() -> None:
    graph = torus(12)  # 3 rows of 4
    assert graph.neighbors[0] == (1, 3, 4, 8)
    assert graph.neighbors[6] == (2, 5, 7, 10)
    assert {graph.degree(node) for node in range(12)} == {4}


def test_in_a_complete_graph_all_are_neighbours() -> None:
    assert complete(4).neighbors == ((1, 2, 3), (0, 2, 3), (0, 1, 3), (0, 1, 2))


@pytest.mark.parametrize(("n", "degree"), [(16, 4), (10, 3), (7, 2), (6, 5), (30, 11)])
def test_a_random_regular_graph_is_regular_connected_and_of_its_seed(n: int, degree: int) -> None:
    graph = drawn(n, degree)
    assert {graph.degree(node) for node in range(n)} == {degree}
    assert len(graph.edges) == n * degree // 2
    assert all(one < other for one, other in graph.edges)
    assert graph.unreached == ()
    assert drawn(n, degree) == graph


def test_random_graphs_differ_and_every_pair_is_about_as_often_joined() -> None:
    graphs = [drawn(8, 3, seed) for seed in range(200)]
    assert len(set(graphs)) > 190
    often = [
        sum((one, other) in graph.edges for graph in graphs)
        for other in range(8)
        for one in range(other)
    ]
    # 3 / 7 of 200 are 86, with a standard deviation of 7.
    assert min(often) > 50
    assert max(often) < 120


@pytest.mark.parametrize("make", [lambda: ring(6), lambda: torus(9), lambda: drawn(9, 4)])
def test_the_weights_of_a_regular_graph_are_equal(make: Callable[[], Graph]) -> None:
    graph = make()
    degree = graph.degree(0)
    assert graph.metropolis(0, graph.neighbors[0][0]) == 1 / (degree + 1)


def test_metropolis_weights_keep_the_mean_where_degrees_differ() -> None:
    graph = Graph.of(5, [(0, 1), (0, 2), (0, 3), (3, 4)])
    weights = torch.zeros(5, 5, dtype=torch.float64)
    for node in range(5):
        for neighbor in graph.neighbors[node]:
            weights[node, neighbor] = graph.metropolis(node, neighbor)
        weights[node, node] = 1 - weights[node].sum()
    assert weights[0, 1] == 1 / 4
    assert weights[3, 4] == 1 / 3
    assert torch.equal(weights, weights.T)
    assert bool((weights.diagonal() >= 0).all())
    torch.testing.assert_close(weights.sum(dim=0), torch.ones(5, dtype=torch.float64))


REFUSED = [
    (lambda: ring(2), "a ring takes at least 3 nodes, got 2"),
    (lambda: complete(1), "a single node has no neighbours"),
    (lambda: torus(10), "rows x columns nodes, both at least 3, and 10 are none"),
    (lambda: torus(7), "7 are none"),
    (lambda: drawn(5, 3), "no connected graph has 5 nodes of degree 3"),
    (lambda: drawn(4, 4), "no connected graph has 4 nodes of degree 4"),
    (lambda: drawn(4, 1), "no connected graph has 4 nodes of degree 1"),
    (lambda: Graph.of(3, [(0, 1), (1, 1)]), "node 1 is no neighbour of its own"),
    (lambda: Graph.of(3, [(0, 1), (1, 3)]), "there is no node 3 among 3"),
    (lambda: Graph.of(3, [(0, 1), (1, 0), (1, 2)]), "the edge 0-1 comes twice"),
    (lambda: Graph.of(4, [(0, 1), (2, 3)]), "node 2 cannot be reached from node 0"),
]


@pytest.mark.parametrize(("make", "sentence"), REFUSED)
def test_what_is_no_graph_is_refused(make: Callable[[], Graph], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make()
