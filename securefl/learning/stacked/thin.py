"""A weight that takes few steps: what it was, and the rows that changed it.

A step of SGD adds one outer product for each record: W_t = W_0 - lr G^T X, where the rows of X are
the inputs and those of G the gradients at the outputs, so far. With few records, X and G are much
smaller than W_t. So clients that share W_0 need no weights of their own until the round ends, and
all their records pass W_0 in one product.
"""

import torch
from torch import Tensor


def pays(records: int, inputs: int, outputs: int) -> bool:
    """Whether so many records of a round are few enough for a weight of these widths.

    The products of records with each other then take at most a quarter more arithmetic, and save
    the memory that the weights of every client cross in every step.
    """
    return records * (inputs + outputs) <= inputs * outputs


class ThinSteps:
    """The steps of several clients from one weight.

    Rows of a batch belong to clients in turn: row r to client r % clients.
    """

    def __init__(self) -> None:
        self._weight = torch.empty((0, 0))  # (q, p)
        self._inputs = torch.empty((0, 0, 0))  # (clients, records, p)
        self._gradients = torch.empty((0, 0, 0))  # (clients, records, q)
        self._lr = 0.0
        self._seen = 0

    def begin(self, weight: Tensor, *, clients: int, records: int, lr: float) -> None:
        """Begins a round.

        Args:
            weight: (q, p), of all clients.
            clients: their number.
            records: of each client, in all batches of the round.
            lr: learning rate of all steps.
        """
        q, p = weight.shape
        if self._inputs.shape != (clients, records, p) or self._inputs.dtype != weight.dtype:
            self._inputs = weight.new_empty((clients, records, p))
            self._gradients = weight.new_empty((clients, records, q))
        self._weight, self._lr, self._seen = weight, lr, 0

    def product(self, x: Tensor, clients: int) -> Tensor:
        """Returns x (rows, p) times each client's weight at present, (rows, q)."""
        result = x @ self._weight.t()
        if self._seen:
            inputs, gradients = self._so_far(clients)
            change = torch.bmm(torch.bmm(_by_client(x, clients), inputs.transpose(1, 2)), gradients)
            _by_client(result, clients).sub_(change, alpha=self._lr)
        return result

    def pulled(self, gradient: Tensor, clients: int) -> Tensor:
        """Returns the gradient (rows, p) of the input."""
        result = gradient @ self._weight
        if self._seen:
            inputs, gradients = self._so_far(clients)
            shares = torch.bmm(_by_client(gradient, clients), gradients.transpose(1, 2))
            _by_client(result, clients).sub_(torch.bmm(shares, inputs), alpha=self._lr)
        return result

    def step(self, x: Tensor, gradient: Tensor, clients: int) -> None:
        """Takes one step of the first clients, on their rows x (rows, p).

        Args:
            x: (rows, p), what went into the layer.
            gradient: (rows, q), of what came out.
            clients: that go on.
        """
        start, self._seen = self._seen, self._seen + x.shape[0] // clients
        for history, rows in ((self._inputs, x), (self._gradients, gradient)):
            history[:clients, start : self._seen] = _by_client(rows, clients)
            # Of those that have ended. What was there before may not be finite.
            history[clients:, start : self._seen] = 0.0

    def write_change(self, change: Tensor) -> None:
        """Writes each client's weight minus that of the start into change (clients, q, p)."""
        everyone = self._inputs.shape[0]
        inputs, gradients = self._so_far(everyone)
        torch.bmm((gradients * -self._lr).transpose(1, 2), inputs, out=change)

    def _so_far(self, clients: int) -> tuple[Tensor, Tensor]:
        """Returns inputs and gradients (clients, records, n) of all steps so far."""
        return self._inputs[:clients, : self._seen], self._gradients[:clients, : self._seen]


def _by_client(rows: Tensor, clients: int) -> Tensor:
    """Returns the rows of each client, (clients, batch, n), without a copy."""
    return rows.view(-1, clients, rows.shape[-1]).transpose(0, 1)
