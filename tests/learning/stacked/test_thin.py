"""A weight that takes few steps, as its start and the rows that changed it."""

import pytest
import torch
from torch import Tensor

from securefl.learning.stacked.thin import ThinSteps, pays

LR = 0.1


def of_client(rows: Tensor, clients: int, client: int) -> Tensor:
    return rows[client::clients]


class Slow:
    """The same steps with a weight for each client."""

    def __init__(self, weight: Tensor, clients: int) -> None:
        self.start = weight
        self.weights = [weight.clone() for _ in range(clients)]

    def product(self, x: Tensor, clients: int) -> Tensor:
        result = torch.empty((len(x), self.start.shape[0]), dtype=x.dtype)
        for client in range(clients):
            result[client::clients] = of_client(x, clients, client) @ self.weights[client].t()
        return result

    def pulled(self, gradient: Tensor, clients: int) -> Tensor:
        result = torch.empty((len(gradient), self.start.shape[1]), dtype=gradient.dtype)
        for client in range(clients):
            result[client::clients] = of_client(gradient, clients, client) @ self.weights[client]
        return result

    def step(self, x: Tensor, gradient: Tensor, clients: int) -> None:
        for client in range(clients):
            own = of_client(gradient, clients, client).t() @ of_client(x, clients, client)
            self.weights[client] -= LR * own


def test_thin_steps_are_the_steps_of_weights_of_their_own() -> None:
    generator = torch.Generator().manual_seed(1)
    thin = ThinSteps()
    for dtype, within in ((torch.float64, 1e-12), (torch.float32, 1e-4)):
        # The second round is of another shape, the third of the same one.
        for records in (9, 12, 12):
            weight = torch.randn(5, 7, dtype=dtype, generator=generator)
            slow = Slow(weight, 4)
            thin.begin(weight, clients=4, records=records, lr=LR)
            for clients in (4, 4, 2):
                x = torch.randn(3 * clients, 7, dtype=dtype, generator=generator)
                gradient = torch.randn(3 * clients, 5, dtype=dtype, generator=generator)
                for ours, theirs in (
                    (thin.product(x, clients), slow.product(x, clients)),
                    (thin.pulled(gradient, clients), slow.pulled(gradient, clients)),
                ):
                    torch.testing.assert_close(ours, theirs, rtol=0, atol=within)
                thin.step(x, gradient, clients)
                slow.step(x, gradient, clients)
            table = torch.full((4, 40), 7.0, dtype=dtype)
            change = table[:, 2:37].view(4, 5, 7)
            thin.write_change(change)
            moved = torch.stack([own - weight for own in slow.weights])
            torch.testing.assert_close(change, moved, rtol=0, atol=within)
            assert bool((table[:, :2] == 7).all())
            assert bool((table[:, 37:] == 7).all())


def test_what_is_not_finite_stays_with_its_client_and_round() -> None:
    thin = ThinSteps()
    weight = torch.zeros(2, 3)
    change = torch.empty(2, 2, 3)
    thin.begin(weight, clients=2, records=2, lr=LR)
    for _ in range(2):
        thin.step(torch.tensor([[1.0, 2, 3], [torch.nan] * 3]), torch.ones(2, 2), 2)
    thin.write_change(change)
    assert bool(change[0].isfinite().all())
    assert bool(change[1].isnan().all())
    thin.begin(weight, clients=2, records=2, lr=LR)
    thin.step(torch.ones(2, 3), torch.ones(2, 2), 2)
    thin.step(torch.ones(1, 3), torch.ones(1, 2), 1)  # the second client has ended
    thin.write_change(change)
    torch.testing.assert_close(change[0], torch.full((2, 3), -2 * LR))
    torch.testing.assert_close(change[1], torch.full((2, 3), -LR))


@pytest.mark.parametrize(
    ("records", "is_thin"), [(1, True), (88, True), (89, False), (10_000, False)]
)
def test_it_pays_while_records_are_few(records: int, is_thin: bool) -> None:
    # By hand: 784 x 100 / (784 + 100) = 88.7.
    assert pays(records, 784, 100) is is_thin
