"""A client that lies about its sketch, for simulations and tests; honest clients are elsewhere."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from securefl.channels.masking.sketches.matrix import Matrix
from securefl.channels.masking.sketches.sketching import SketchingClient
from securefl.channels.protocol import Lie


class LyingClient(SketchingClient):
    """Deals a multiple of its sketch, so that a rule takes its update for another one.

    A lie that hides changes the sketch of one pair mask by as much, so that the liar's sketch fits
    its upload. The other end of that pair is then as suspect as the liar.

    Args:
        arguments: of `SketchingClient`.
        lie: how it lies.
        liars: the clients that lie, itself included. It hides behind none of them.
        options: of `SketchingClient`.
    """

    def __init__(
        self, *arguments: Any, lie: Lie, liars: Collection[int] = (), **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self._lie = lie
        self._liars = sorted({*liars, self._member.client})
        self._difference: list[int] = []  # true sketch minus the one that it deals

    def _sketch(self, matrix: Matrix, words: NDArray[Any]) -> Sequence[int]:
        """Returns a multiple of the sketch of this client's update."""
        sketch = super()._sketch(matrix, words)
        lie = [round(self._lie.factor * value) for value in sketch]
        self._difference = [value - dealt for value, dealt in zip(sketch, lie, strict=True)]
        return lie

    def _pair_sketches(self, matrix: Matrix, keys: Mapping[int, bytes]) -> Sequence[int]:
        """Returns the sketches of this client's pair masks, one of them with the difference."""
        values = list(super()._pair_sketches(matrix, keys))
        victim = None
        if self._lie.hide:
            victim = victim_of(self._member.client, sorted(keys), liars=self._liars)
        if victim is None:
            return values
        start = sorted(keys).index(victim) * len(self._difference)
        # Pair masks are added towards higher ids.
        sign = 1 if victim > self._member.client else -1
        for place, missing in enumerate(self._difference, start=start):
            values[place] += sign * missing
        return values


def victim_of(client: int, partners: Sequence[int], *, liars: Collection[int]) -> int | None:
    """Returns the honest client to hide behind, another one for each liar while there are."""
    together = sorted({*liars, client})
    honest = [partner for partner in partners if partner not in together]
    if not honest:
        return None
    return honest[together.index(client) % len(honest)]
