"""How a channel chooses the clients of its sum, and how an adversary plans against that.

    choice = selection_of(rule, simulate)     # for the plan of the channel
    rule, weigh = Guess(choice, size, seed).in_round(round)     # for an attack that knows the rule

Nobody who sends an update knows the matrix that will sketch it. So an adversary draws one of its
own, with entries of the same distribution.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from securefl.channels.protocol import Lie, Selection
from securefl.federation.values import Rule, Weigh
from securefl.rng import Keystream, seeded_keystream
from securefl.scenario.chosen import Chosen
from securefl.scenario.entries import RuleEntry
from securefl.scenario.simulate_table import Simulate

_COORDINATES_AT_ONCE = 1 << 16  # of a matrix, while bits become entries
_SMALL = 1 << 22  # entries of a matrix: 32 MB of float64


def selection_of(rule: Chosen[RuleEntry], simulate: Simulate) -> Selection:
    """Returns how a rule chooses clients by the distances between their updates.

    Args:
        rule: with an f.
        simulate: names the clients that lie.

    Raises:
        ValueError: the rule chooses no clients by distances.
    """
    function = rule.entry.choose
    if function is None:
        raise ValueError(f"{rule.name} chooses no clients by distances")
    others = {key: value for key, value in rule.parameters.items() if key != "f"}
    minimum = rule.entry.minimum_rows

    def choose(squared: NDArray[np.float64], f: int) -> NDArray[np.float64]:
        weights: NDArray[np.float64] = function(squared, f=f, **others)
        return weights

    return Selection(
        choose,
        liars=rule.parameters["f"],
        fewest=minimum or (lambda f: 1),
        lies={lie.client: Lie(lie.factor, lie.hide) for lie in simulate.lie or ()},
    )


class Chain(NamedTuple):
    """What happens to rows on their way to the model.

    Attributes:
        rule: rows (n, d), weights (n,) -> (d,).
        weigh: rows (n, d) -> (n,); None for a rule that gives no weights.
    """

    rule: Rule
    weigh: Weigh | None


@dataclass(frozen=True)
class Guess:
    """An adversary's guess at the choice of a round.

    Args:
        selection: of the channel.
        size: coordinates of a sketch, k.
        seed: of the scenario; each round has a matrix of its own.
    """

    selection: Selection
    size: int
    seed: int

    def in_round(self, round: int) -> Chain:
        """Returns sketches by the adversary's own matrix, distances, choice and mean as one."""
        matrices: dict[int, Tensor] = {}  # number of coordinates -> (k, d)

        def weights_of(rows: Tensor) -> Tensor:
            d = rows.shape[1]
            if d not in matrices:
                stream = seeded_keystream(self.seed, "attack matrix", round)
                drawn = drawn_matrix(stream, size=self.size, d=d)
                # An attack asks dozens of times. A small matrix is kept as it is multiplied.
                matrices[d] = drawn.double() if drawn.numel() <= _SMALL else drawn
            squared = distances_between(rows.double(), matrices[d])
            return torch.from_numpy(self.selection.choose(squared, self.selection.liars))

        def estimate(rows: Tensor, weights: Tensor) -> Tensor:
            counted = weights * (weights_of(rows) > 0)
            return (counted.to(rows.dtype) @ rows) / counted.sum()

        return Chain(estimate, weights_of)


def drawn_matrix(stream: Keystream, *, size: int, d: int) -> Tensor:
    """Returns entries (size, d) 0, +1 and -1 with probability 1/2, 1/4 and 1/4, as int8."""
    matrix = torch.empty((size, d), dtype=torch.int8)
    for start in range(0, d, _COORDINATES_AT_ONCE):
        width = min(_COORDINATES_AT_ONCE, d - start)
        drawn = np.frombuffer(stream.bytes(-(-2 * size * width // 8)), dtype=np.uint8)
        bits = np.unpackbits(drawn, count=2 * size * width).reshape(2, size, width)
        # One bit less another: equal bits, of which half of all pairs are, give 0.
        entries = bits[0].astype(np.int8) - bits[1].astype(np.int8)
        matrix[:, start : start + width] = torch.from_numpy(entries)
    return matrix


def distances_between(rows: Tensor, matrix: Tensor) -> NDArray[np.float64]:
    """Returns the squared distances (n, n) between the sketches of rows (n, d).

    Rows that are not finite have no distance, which a rule refuses.
    """
    n, d = rows.shape
    sketches = torch.zeros((n, len(matrix)), dtype=torch.float64)
    for start in range(0, d, _COORDINATES_AT_ONCE):
        part = slice(start, start + _COORDINATES_AT_ONCE)
        sketches += rows[:, part] @ matrix[:, part].double().T
    differences = sketches[:, None, :] - sketches[None, :, :]
    squared: NDArray[np.float64] = differences.square().sum(dim=-1).numpy()
    return squared
