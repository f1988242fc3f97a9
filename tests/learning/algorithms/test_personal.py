"""FedBN, FedRep and Ditto: what stays at a site, and what travels."""

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from securefl import vector
from securefl.learning import options
from securefl.learning.algorithms.corrections import CorrectedTrainer, Corrections
from securefl.learning.algorithms.ditto import Ditto, PulledTrainer
from securefl.learning.algorithms.parts import head, norm_layers
from securefl.learning.algorithms.personal import Personal
from securefl.learning.algorithms.protocol import OwnModel, Place, SettledTrainer
from securefl.learning.algorithms.steps import Corrected, Phased, Proximal
from securefl.learning.protocol import Trained
from securefl.learning.steps import fedavg, fedavgm
from tests.learning.algorithms.quadratics import LR, Quadratic, terms


def normed() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.LayerNorm(4), nn.Linear(4, 3)
    )


def chosen(model: nn.Module, flags: Tensor) -> set[str]:
    """Returns the names of the parts whose coordinates are all chosen; none may be in parts."""
    parts = vector.named(flags, vector.shapes(model))
    assert all(bool(part.all()) == bool(part.any()) for part in parts.values())
    return {name for name, part in parts.items() if part.all()}


def test_norm_layers_stay_with_their_running_statistics() -> None:
    model = normed()
    assert chosen(model, norm_layers(model)) == {
        *("1.weight", "1.bias", "1.running_mean", "1.running_var"),
        *("3.weight", "3.bias"),
    }
    with pytest.raises(ValueError, match="the model has none that train"):
        norm_layers(nn.Linear(3, 1))


def test_the_head_is_the_last_layer_unless_it_is_named() -> None:
    model = normed()
    assert chosen(model, head(model)) == {"4.weight", "4.bias"}
    assert chosen(model, head(model, ("3.*", "4.bias"))) == {"3.weight", "3.bias", "4.bias"}
    with pytest.raises(ValueError, match=r"'fc\.\*' fits none of 0\.weight, 0\.bias"):
        head(model, ("fc.*",))
    with pytest.raises(ValueError, match="the personal part is the whole model"):
        head(nn.Linear(3, 1))


class Fixed:
    """Changes every coordinate by a constant, and keeps the weights that it was given."""

    cost = None

    def __init__(self, change: float) -> None:
        self._change = change
        self.seen: list[Tensor] = []

    def fit(self, weights: Tensor, *, round: int) -> Trained:
        self.seen.append(weights.clone())
        return Trained(torch.full_like(weights, self._change), None)


FLAGS = torch.tensor([False, True, False, True])


def test_the_shared_part_travels_and_the_own_part_goes_on_at_its_client(tmp_path: Path) -> None:
    public = terms([1, 1], d=4)
    public = type(public)(**{**vars(public), "personal": FLAGS})
    algorithm = Personal(public)
    assert (algorithm.sent_size, algorithm.update_size) == (2, 2)
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0])
    trainers = [Fixed(0.5), Fixed(-1.0)]
    places = [Place(client, 1, None, tmp_path / str(client), weights) for client in range(2)]
    clients = [algorithm.at_client(*pair) for pair in zip(trainers, places, strict=True)]
    state: dict[str, Tensor] = {}
    for round in range(2):
        sent = algorithm.sent(weights, state)
        updates = torch.stack([client.fit(sent, round=round).delta for client in clients])
        for client in clients:
            assert isinstance(client, SettledTrainer)
            client.settle(round)
        weights, _ = algorithm.move(fedavg, weights, updates.mean(0), state, round=round, share=1.0)
    # The mean change is -.25 a round. Own parts: from 2 and 4, by .5 and -1 a round.
    assert weights.tolist() == [0.5, 2.0, 2.5, 4.0]
    assert trainers[0].seen[1].tolist() == [0.75, 2.5, 2.75, 4.5]
    own = [client.own_model(weights).tolist() for client in clients if isinstance(client, OwnModel)]
    assert own == [[0.5, 3.0, 2.5, 5.0], [0.5, 0.0, 2.5, 2.0]]


def test_a_servers_step_with_momentum_moves_no_personal_part() -> None:
    public = terms([1, 1], d=4)
    algorithm = Personal(type(public)(**{**vars(public), "personal": FLAGS}))
    weights = torch.zeros(4)
    state: Mapping[str, Tensor] = {}
    for round in range(3):
        weights, state = algorithm.move(
            fedavgm, weights, torch.ones(2), state, round=round, share=1.0
        )
    assert weights[FLAGS].tolist() == [0.0, 0.0]
    assert weights[~FLAGS].min() > 2.0


def test_the_head_moves_first_and_then_the_body() -> None:
    body, top = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    corrections = Corrections((5,), 2, steps={5: 6}, personal=torch.tensor([False, True]))
    with corrections.of(5):
        steps = Phased(options.sgd([body, top], 1.0), corrections, Fraction(1, 3))
    path = []
    for _ in range(6):
        steps.zero_grad()
        (body + top).sum().backward()  # type: ignore[no-untyped-call]
        steps.step()
        path.append((body.item(), top.item()))
    assert path == [(0, -1), (0, -2), (-1, -2), (-2, -2), (-3, -2), (-4, -2)]


def test_dittos_own_model_by_hand_and_a_global_one_that_is_fedavgs() -> None:
    """A client at 4, two steps of lr .5, lam 1, own model from 0; the global model is at 2.

    Own: 0 - .5 (0 - 4 + 1 (0 - 2)) = 3; 3 - .5 (3 - 4 + (3 - 2)) = 3.
    Round 1 with the global model at 6: 3 - .5 (-1 + (3 - 6)) = 5; 5 - .5 (1 + (5 - 6)) = 5.
    """
    target = torch.tensor([4.0])
    public = terms([2])
    corrections = Corrections((0,), 1)
    plain = Quadratic(target, 2, lambda optimizer: optimizer)

    def pulled() -> PulledTrainer:
        own = Quadratic(target, 2, lambda steps: Corrected(Proximal(steps, 1.0), corrections))
        return PulledTrainer(own, 0, corrections)

    place = Place(0, 2, None, None, torch.zeros(1), personal=pulled())
    client = Ditto(public, lam=1.0).at_client(plain, place)
    assert isinstance(client, SettledTrainer)
    assert isinstance(client, OwnModel)
    for round, (weights, expected) in enumerate(((2.0, 3.0), (6.0, 5.0))):
        sent = torch.tensor([weights])
        assert torch.equal(client.fit(sent, round=round).delta, plain.fit(sent, round=round).delta)
        client.settle(round)
        assert client.own_model(sent).item() == expected
    with pytest.raises(ValueError, match="ditto trains a second model"):
        Ditto(public, lam=1.0).at_client(plain, Place(0, 2, None, None, torch.zeros(1)))
    assert LR == 0.5
    assert CorrectedTrainer(plain, 0, corrections).cost is None
