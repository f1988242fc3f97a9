"""Graphs of nodes that talk to their neighbours, and the weights with which these count.

A graph is undirected and connected, and no node is its own neighbour.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from securefl.rng import Keystream

Edge = tuple[int, int]

_SWITCHES = 20  # an edge: by then the graph has forgotten where it began
_TRIES = 100  # at a connected graph


@dataclass(frozen=True)
class Graph:
    """Nodes 0 to n - 1, and which of them are neighbours.

    Args:
        n: nodes.
        edges: of two different nodes; each once, in either direction.

    Raises:
        ValueError: an edge is a loop, comes twice or names no node, or some node cannot be reached.
    """

    n: int
    edges: frozenset[Edge]

    @classmethod
    def of(cls, n: int, edges: Iterable[Edge]) -> "Graph":
        """Returns the graph of these edges."""
        given = [(min(edge), max(edge)) for edge in edges]
        for edge, times in Counter(given).items():
            if edge[0] == edge[1]:
                raise ValueError(f"node {edge[0]} is no neighbour of its own")
            for node in edge:
                if not 0 <= node < n:
                    raise ValueError(f"there is no node {node} among {n}, which are 0 to {n - 1}")
            if times > 1:
                raise ValueError(f"the edge {edge[0]}-{edge[1]} comes twice")
        graph = cls(n, frozenset(given))
        apart = graph.unreached
        if apart:
            raise ValueError(
                f"node {apart[0]} cannot be reached from node 0: the graph falls apart, and no "
                "model of one part ever gets to the other; add an edge between them"
            )
        return graph

    @cached_property
    def neighbors(self) -> tuple[tuple[int, ...], ...]:
        """The neighbours of each node, ascending."""
        around: list[list[int]] = [[] for _ in range(self.n)]
        for one, other in self.edges:
            around[one].append(other)
            around[other].append(one)
        return tuple(tuple(sorted(nodes)) for nodes in around)

    def degree(self, node: int) -> int:
        """Returns the number of a node's neighbours."""
        return len(self.neighbors[node])

    @property
    def unreached(self) -> tuple[int, ...]:
        """The nodes that no path joins with node 0, ascending."""
        reached, waiting = {0}, [0]
        while waiting:
            for node in self.neighbors[waiting.pop()]:
                if node not in reached:
                    reached.add(node)
                    waiting.append(node)
        return tuple(node for node in range(self.n) if node not in reached)

    def metropolis(self, node: int, neighbor: int) -> float:
        """Returns the weight of a neighbour, 1 / (1 + the larger degree of the two).

        A node has the rest of one for itself. The weights are symmetric, so that the mean of all
        nodes' models stays where it is. Source: Xiao, Boyd, Kim, 2007.
        """
        return 1 / (1 + max(self.degree(node), self.degree(neighbor)))


def ring(n: int) -> Graph:
    """Returns the ring 0, 1, ..., n - 1. Raises ValueError for fewer than three nodes."""
    if n < 3:
        raise ValueError(f"a ring takes at least 3 nodes, got {n}")
    return Graph.of(n, ((node, (node + 1) % n) for node in range(n)))


def complete(n: int) -> Graph:
    """Returns the graph in which all nodes are neighbours. Raises ValueError for a single node."""
    if n < 2:
        raise ValueError("a single node has no neighbours")
    return Graph.of(n, ((one, other) for other in range(n) for one in range(other)))


def torus(n: int) -> Graph:
    """Returns the torus of n nodes, row by row, whose sides differ as little as possible.

    Raises:
        ValueError: no two sides from 3 on have n nodes.
    """
    rows = next((side for side in range(math.isqrt(n), 2, -1) if n % side == 0), 0)
    if not rows:
        raise ValueError(
            f"a torus takes rows x columns nodes, both at least 3, and {n} are none; "
            "use 9, 12, 15, 16 or another graph"
        )
    columns = n // rows
    right = (
        (columns * row + place, columns * row + (place + 1) % columns)
        for row in range(rows)
        for place in range(columns)
    )
    down = ((node, (node + columns) % n) for node in range(n))
    return Graph.of(n, (*right, *down))


def random_regular(n: int, degree: int, stream: Keystream) -> Graph:
    """Returns a connected graph of nodes that all have the same degree, drawn at random.

    Edges of a regular graph are switched in pairs until it has forgotten where it began. Source:
    Cooper, Dyer, Greenhill, 2007 (the switch chain).

    Raises:
        ValueError: there is no such graph, or none that was drawn is connected.
    """
    if not (2 <= degree < n and n * degree % 2 == 0):
        raise ValueError(
            f"no connected graph has {n} nodes of degree {degree}: it takes 2 <= degree < nodes, "
            "and nodes x degree must be even"
        )
    edges = [(node, (node + step) % n) for node in range(n) for step in range(1, degree // 2 + 1)]
    if degree % 2:
        edges += [(node, node + n // 2) for node in range(n // 2)]
    for _ in range(_TRIES):
        edges = _switched(edges, stream)
        graph = Graph(n, frozenset(edges))
        if not graph.unreached:
            return graph
    raise ValueError(f"none of {_TRIES} random graphs of degree {degree} was connected")


def _switched(edges: list[Edge], stream: Keystream) -> list[Edge]:
    """Returns edges after many switches a-b, c-d -> a-d, c-b, of which the impossible are left."""
    present = [(min(edge), max(edge)) for edge in edges]
    known = set(present)
    for _ in range(_SWITCHES):
        order = stream.permutation(2 * len(present)).tolist()
        for one, other in zip(order[::2], order[1::2], strict=True):
            first, second = one % len(present), other % len(present)
            (a, b), (c, d) = present[first], present[second]
            if one >= len(present):
                a, b = b, a
            new = [(min(a, d), max(a, d)), (min(c, b), max(c, b))]
            if a == d or c == b or new[0] == new[1] or known & set(new):
                continue
            known -= {present[first], present[second]}
            known |= set(new)
            present[first], present[second] = new
    return present
