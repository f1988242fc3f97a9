"""What is different about the local steps of each client, for trainers in any process.

corrections.rows[3].copy_(control)      # before client 3 trains, here
with corrections.of(3):                 # where it trains: perhaps in a forked process
    trainer.fit(weights, round=round)   # its optimizer reads corrections.current
"""

import mmap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from securefl.learning.protocol import Trained, Trainer
from securefl.privacy.events import PrivacyEvent

_FLOAT_BYTES = 4


class Corrections:
    """A vector of each client, in memory that forked processes share.

    Args:
        clients: their ids.
        parameters: length of each vector.
        steps: client -> local steps that it takes in a round.
        personal: (parameters,), whether a coordinate stays at its client; None where none does.
        anchored: whether all clients have an earlier model in common.

    Attributes:
        rows: client -> (parameters,), zero at first.
        anchor: (parameters,), that model, zero at first; None without one.
    """

    def __init__(
        self,
        clients: tuple[int, ...],
        parameters: int,
        *,
        steps: Mapping[int, int] | None = None,
        personal: Tensor | None = None,
        anchored: bool = False,
    ) -> None:
        self._steps = {} if steps is None else steps
        self.personal = personal
        # Without a name: a process that is killed leaves nothing behind.
        rows = len(clients) + anchored
        shared = mmap.mmap(-1, _FLOAT_BYTES * parameters * rows)
        table = torch.frombuffer(shared, dtype=torch.float32).view(rows, parameters)
        self.rows: dict[int, Tensor] = dict(zip(clients, table[: len(clients)], strict=True))
        self.anchor: Tensor | None = table[-1] if anchored else None
        self._client: int | None = None

    @contextmanager
    def of(self, client: int) -> Iterator[None]:
        """Makes a client's vector the current one while the context lasts."""
        self._client = client
        try:
            yield
        finally:
            self._client = None

    @property
    def current(self) -> Tensor:
        """The vector of the client that trains. Raises ValueError outside `of`."""
        return self.rows[self._training]

    @property
    def current_steps(self) -> int:
        """The local steps of the client that trains. Raises ValueError outside `of`."""
        return self._steps[self._training]

    @property
    def _training(self) -> int:
        if self._client is None:
            raise ValueError("no client trains: see Corrections.of")
        return self._client


class CorrectedTrainer:
    """A client's trainer whose steps find the client's correction.

    Args:
        trainer: of the client.
        client: its id.
        corrections: of all clients.
    """

    def __init__(self, trainer: Trainer, client: int, corrections: Corrections) -> None:
        self._trainer = trainer
        self._client = client
        self._corrections = corrections

    @property
    def cost(self) -> PrivacyEvent | None:
        """The event that one call of `fit` costs."""
        return self._trainer.cost

    def fit(self, weights: Tensor, *, round: int) -> Trained:
        """Returns the change that corrected steps make to weights (d,)."""
        with self._corrections.of(self._client):
            return self._trainer.fit(weights, round=round)
