"""Evidence that an audit takes from the steps of DP-SGD: what entered a step, and what else left it.

The client that owns the code looks at it from inside. Before a step it computes the clipped sum
itself, from the gradients that enter the optimizer. After the step it takes that sum from where the
weights went. The rest of a right step is noise and nothing else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

SKETCH = 2048  # coordinates at most whose noise is kept, over all tensors
_FEWEST_KEPT = 16  # coordinates of a tensor that are kept, where it has as many
_SLACK = 1e-6  # that Opacus adds to a norm before it divides by it


class Sums(NamedTuple):
    """Sums over gradients, (d,) each: every one clipped, as they are, and every tensor clipped alone."""

    clipped: Tensor
    raw: Tensor
    by_tensor: Tensor

    def __add__(self, other: "Sums") -> "Sums":  # type: ignore[override]
        return Sums(*(a + b for a, b in zip(self, other, strict=True)))


def gradient_sums(rows: Tensor, sizes: Sequence[int], *, clip: float) -> Sums:
    """Returns the sums over rows (k, d), float64, whose tensors have these sizes."""
    parts = torch.split(rows, list(sizes), dim=1)
    norms = torch.stack([part.norm(dim=1) for part in parts], dim=1)  # (k, tensors)
    factors = clip_factors(norms.norm(dim=1), clip)
    tensors = clip_factors(norms, clip)
    by_tensor = [tensors[:, at] @ part for at, part in enumerate(parts)]
    return Sums(factors @ rows, rows.sum(dim=0), torch.cat(by_tensor))


def clip_factors(norms: Tensor, clip: float) -> Tensor:
    """Returns what a gradient of each norm is multiplied by, as Opacus does it."""
    return (clip / (norms + _SLACK)).clamp(max=1.0)


@dataclass
class RoundEvidence:
    """The steps of one call of training.

    Attributes:
        records: how many records there were to draw from.
        members: a step each: the records that were in it.
        squares: (tensors,) sums of squares of the rest.
        vectors: a step each: the rest at the coordinates of the sketch, (c,) float32.
        along: direction -> a step each: the rest along that unit direction.
        reach: direction -> a step each: how long the direction was before it was made a unit.
        change: (d,) where the weights went in the whole round.
    """

    records: int
    members: list[Tensor] = field(default_factory=list)
    squares: Tensor = field(default_factory=lambda: torch.zeros(0))
    vectors: list[Tensor] = field(default_factory=list)
    along: dict[str, list[float]] = field(default_factory=dict)
    reach: dict[str, list[float]] = field(default_factory=dict)
    change: Tensor = field(default_factory=lambda: torch.zeros(0))

    @property
    def steps(self) -> int:
        """How many steps were seen."""
        return len(self.vectors)


class _Open(NamedTuple):
    """A step that has begun: the weights before it, its clipped sum and the directions that are looked along."""

    weights: Tensor
    clipped: Tensor
    directions: Mapping[str, Tensor]


class Evidence:
    """Collects the steps of one client's DP-SGD.

    Args:
        sizes: coordinates of every tensor of the model, in order.

    Attributes:
        rounds: one a call of training.
        places: (c,) the coordinates of the sketch: the first of every tensor.
        sums: (d,) sum of the rest over all steps. squares: (d,) sum of its squares.
        coarse: the most that rounding of the weights added to a coordinate of the rest.
        mixed: the most by which the gradient of a record among others differed from the one alone.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes, d = tuple(sizes), sum(sizes)
        each = max(_FEWEST_KEPT, SKETCH // len(self.sizes))
        starts = torch.tensor([0, *self.sizes]).cumsum(0)[:-1]
        kept = [
            torch.arange(min(size, each)) + start
            for size, start in zip(self.sizes, starts, strict=True)
        ]
        self.kept, self.places = tuple(len(part) for part in kept), torch.cat(kept)
        self.rounds: list[RoundEvidence] = []
        self.sums = torch.zeros(d, dtype=torch.float64)
        self.squares = torch.zeros(d, dtype=torch.float64)
        self.coarse, self.mixed = 0.0, 0.0
        self._open: _Open | None = None
        self._start = torch.zeros(0)

    def begin_round(self, weights: Tensor, *, records: int) -> None:
        """Opens a call of training that starts from weights (d,)."""
        self._start, self._open = weights, None
        self.rounds.append(
            RoundEvidence(records, squares=torch.zeros(len(self.sizes), dtype=torch.float64))
        )

    def begin_step(
        self, weights: Tensor, members: Tensor, clipped: Tensor, directions: Mapping[str, Tensor]
    ) -> None:
        """Opens a step at weights (d,), in which members take part; clipped (d,) is what they should add."""
        self.rounds[-1].members.append(members)
        self._open = _Open(weights, clipped, directions)

    def end_step(self, weights: Tensor, *, unit: float) -> None:
        """Closes the step that is open, if one is: it ended at weights (d,); unit moves them by one."""
        if self._open is None:
            return
        before, now = self._open, self.rounds[-1]
        rest = (before.weights.double() - weights.double()) / unit - before.clipped
        self.coarse = max(
            self.coarse, float(weights.abs().max()) * torch.finfo(weights.dtype).eps / unit
        )
        self.sums += rest
        self.squares += rest.square()
        now.squares += torch.stack(
            [part.square().sum() for part in torch.split(rest, list(self.sizes))]
        )
        now.vectors.append(rest[self.places].float())
        for name, direction in before.directions.items():
            length = float(direction.norm())
            along = float(rest @ direction) / length if length > 0 else 0.0
            now.along.setdefault(name, []).append(along)
            now.reach.setdefault(name, []).append(length)
        self._open = None

    def end_round(self, weights: Tensor, *, unit: float) -> None:
        """Closes the last step of a call of training, which ended at weights (d,)."""
        self.end_step(weights, unit=unit)
        self.rounds[-1].change = weights - self._start
