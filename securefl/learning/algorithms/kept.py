"""A vector that a client keeps from round to round, and that only rounds that count change.

A client outside the survivors of a round keeps its earlier vector: the server has not heard of its
update, and both would drift apart. A round that is played again after a crash starts from the same
vector as the first time, so that the last two are kept.

    kept = Kept(torch.zeros(size), file)
    vector = kept.before(round)
    kept.propose(round, vector + change)    # its update is on its way
    kept.settle(round)                      # the update is part of the model
"""

from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from securefl import vector
from securefl.errors import RunFolderError
from securefl.files import write_atomic

_KEPT = 2  # vectors: a crash may undo the last round, and no earlier one


class Kept:
    """The vector of one client.

    Args:
        start: (size,), the vector before the first round.
        file: where it is kept and, if the file exists, read from; None for memory alone.

    Raises:
        RunFolderError: the file is damaged.
    """

    def __init__(self, start: Tensor, file: Path | None = None) -> None:
        self._start = start
        self._file = file
        self._proposed: tuple[int, Tensor] | None = None
        # round -> the vector after it, in the order of rounds
        self._after: dict[int, Tensor] = {} if file is None else _read(file, len(start))

    def before(self, round: int) -> Tensor:
        """Returns the vector (size,) that a round starts from; nobody may write into it."""
        earlier = [settled for settled in self._after if settled < round]
        return self._after[max(earlier)] if earlier else self._start

    def propose(self, round: int, value: Tensor) -> None:
        """Takes the vector (size,) that the client has after a round, should the round count."""
        self._proposed = (round, value)

    def forget(self, round: int) -> None:
        """Goes back to before a round that a crash has undone at the server."""
        if self._after.pop(round, None) is not None:
            self._write()

    def settle(self, round: int) -> None:
        """Keeps what was proposed for a round; nothing, if that was not finite.

        An update that is not finite is set aside by the server, which takes none of it either.
        """
        proposed = self._proposed
        self._proposed = None
        if proposed is None or proposed[0] != round or not vector.is_finite(proposed[1]):
            return
        earlier = {settled: value for settled, value in self._after.items() if settled < round}
        self._after = dict(sorted(earlier.items())[1 - _KEPT :])
        self._after[round] = proposed[1]
        self._write()

    def _write(self) -> None:
        if self._file is None:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        # Names in a safetensors file are text; the file itself keeps no order.
        tensors = {str(settled): value for settled, value in self._after.items()}
        write_atomic(self._file, save(tensors))


def _read(file: Path, size: int) -> dict[int, Tensor]:
    """Returns the vectors of a file; none where there is no file. Raises RunFolderError."""
    if not file.exists():
        return {}
    try:
        tensors = load_file(file)
        after = {int(name): value for name, value in sorted(tensors.items(), key=_round_of)}
    except (safetensors.SafetensorError, OSError, ValueError):
        raise RunFolderError(f"{file} is damaged; start again under another --out") from None
    usual = (torch.float32, (size,))
    if any((value.dtype, tuple(value.shape)) != usual for value in after.values()):
        raise RunFolderError(f"{file} is not of this model; start again under another --out")
    return after


def _round_of(item: tuple[str, Tensor]) -> int:
    return int(item[0])
