"""Evidence from the steps of DP-SGD: the records that entered a step, and the rest that left it.

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
MIN_SKETCHED_PER_TENSOR = 16  # coordinates, or all where a tensor has fewer
NORM_SLACK = 1e-6  # added to a norm before dividing by it, as Opacus does


class Sums(NamedTuple):
    """Sums over gradients, (d,) each.

    Attributes:
        clipped: with every gradient clipped.
        raw: with none clipped.
        by_tensor: with every tensor of every gradient clipped by itself.
    """

    clipped: Tensor
    raw: Tensor
    by_tensor: Tensor

    def __add__(self, other: "Sums") -> "Sums":  # type: ignore[override]
        return Sums(*(a + b for a, b in zip(self, other, strict=True)))


class PartSums(NamedTuple):
    """Sums over a physical batch: of all gradients, of one-coordinate canaries, of dense ones."""

    total: Sums
    singles: Sums
    dense: Sums

    def __add__(self, other: "PartSums") -> "PartSums":  # type: ignore[override]
        return PartSums(*(a + b for a, b in zip(self, other, strict=True)))


def gradient_sums(rows: Tensor, sizes: Sequence[int], *, clip: float) -> Sums:
    """Returns the sums over rows (k, d), float64, whose tensors have these sizes."""
    parts = torch.split(rows, list(sizes), dim=1)
    norms = torch.stack([part.norm(dim=1) for part in parts], dim=1)  # (k, tensors)
    factors = clip_factors(norms.norm(dim=1), clip)  # (k,)
    factors_by_tensor = clip_factors(norms, clip)  # (k, tensors)
    by_tensor = []
    for place, part in enumerate(parts):
        factors_of_part = factors_by_tensor[:, place]  # (k,)
        by_tensor.append(factors_of_part @ part)
    return Sums(
        clipped=factors @ rows,
        raw=rows.sum(dim=0),
        by_tensor=torch.cat(by_tensor),
    )


def clip_factors(norms: Tensor, clip: float) -> Tensor:
    """Returns the factor by which Opacus scales a gradient of each norm."""
    return (clip / (norms + NORM_SLACK)).clamp(max=1.0)


@dataclass
class RoundEvidence:
    """The steps of one call of training.

    Attributes:
        records: number of records to draw from.
        members: one a step: the records that were in it.
        squares: (tensors,) sums of squares of the rest.
        vectors: one a step: the rest at the coordinates of the sketch, (c,) float32.
        along: direction -> one a step: the rest along that unit direction.
        reach: direction -> one a step: length of the direction before it was made a unit.
        change: (d,) of the weights in the whole round.
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
        """The number of steps that were seen."""
        return len(self.vectors)


class _OpenStep(NamedTuple):
    """A step that has begun.

    Attributes:
        weights: (d,) before it.
        clipped: (d,) sum that it should add.
        directions: name -> (d,), along which its rest is measured.
    """

    weights: Tensor
    clipped: Tensor
    directions: Mapping[str, Tensor]


class Evidence:
    """Collects the steps of one client's DP-SGD.

    Args:
        sizes: coordinates of every tensor of the model, in order.

    Attributes:
        sizes: as given.
        sketched: coordinates of every tensor that the sketch keeps.
        places: (c,) the coordinates of the sketch: the first of every tensor.
        rounds: one a call of training.
        sums: (d,) sum of the rest over all steps.
        squares: (d,) sum of its squares.
        coarse: the most that rounding of the weights added to a coordinate of the rest.
        mixed: the most by which a record's gradient in a batch differed from the one alone.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = tuple(sizes)
        limit = max(MIN_SKETCHED_PER_TENSOR, SKETCH // len(self.sizes))
        places = []
        start = 0  # of a tensor in the flat vector
        for size in self.sizes:
            first_coordinates = torch.arange(min(size, limit))
            places.append(first_coordinates + start)
            start += size
        self.sketched = tuple(len(part) for part in places)
        self.places = torch.cat(places)
        self.rounds: list[RoundEvidence] = []
        d = sum(self.sizes)
        self.sums = torch.zeros(d, dtype=torch.float64)
        self.squares = torch.zeros(d, dtype=torch.float64)
        self.coarse = 0.0
        self.mixed = 0.0
        self._open: _OpenStep | None = None
        self._start = torch.zeros(0)

    def begin_round(self, weights: Tensor, *, records: int) -> None:
        """Opens a call of training that starts from weights (d,)."""
        self._start = weights
        self._open = None
        squares = torch.zeros(len(self.sizes), dtype=torch.float64)
        self.rounds.append(RoundEvidence(records, squares=squares))

    def begin_step(
        self, weights: Tensor, members: Tensor, clipped: Tensor, directions: Mapping[str, Tensor]
    ) -> None:
        """Opens a step.

        Args:
            weights: (d,), before it.
            members: records that take part.
            clipped: (d,), the sum that they should add.
            directions: name -> (d,), along which the rest is measured.
        """
        self.rounds[-1].members.append(members)
        self._open = _OpenStep(weights, clipped, directions)

    def end_step(self, weights: Tensor, *, unit: float) -> None:
        """Closes the open step, if there is one.

        Args:
            weights: (d,), after it.
            unit: change of the weights for each unit of the noisy sum.
        """
        if self._open is None:
            return
        step = self._open
        self._open = None
        # Descent goes against the sum, so that the sum is before minus after.
        change = step.weights.double() - weights.double()
        rest = change / unit - step.clipped
        # float32 weights are rounded by up to this much, which looks like noise in the rest.
        largest = float(weights.abs().max())
        rounding = largest * torch.finfo(weights.dtype).eps / unit
        self.coarse = max(self.coarse, rounding)
        self.sums += rest
        self.squares += rest.square()
        self._note(self.rounds[-1], rest, step.directions)

    def _note(self, round: RoundEvidence, rest: Tensor, directions: Mapping[str, Tensor]) -> None:
        """Adds the rest of one step to its round."""
        parts = torch.split(rest, list(self.sizes))
        squares = [part.square().sum() for part in parts]
        round.squares += torch.stack(squares)
        sketch = rest[self.places]  # (c,)
        round.vectors.append(sketch.float())
        for name, direction in directions.items():
            length = float(direction.norm())
            along = float(rest @ direction) / length if length > 0 else 0.0
            along_by_step = round.along.setdefault(name, [])
            along_by_step.append(along)
            length_by_step = round.reach.setdefault(name, [])
            length_by_step.append(length)

    def end_round(self, weights: Tensor, *, unit: float) -> None:
        """Closes the last step of a call of training, which ended at weights (d,)."""
        self.end_step(weights, unit=unit)
        self.rounds[-1].change = weights - self._start
