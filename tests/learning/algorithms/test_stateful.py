"""A client's half of an algorithm with a state, around a trainer that works ahead."""

import torch
from torch import Tensor

from securefl.learning.algorithms.corrections import Corrections
from securefl.learning.algorithms.protocol import Place
from securefl.learning.algorithms.scaffold import Scaffold
from securefl.learning.protocol import EarlyTrainer, Trained
from tests.learning.algorithms.quadratics import terms


class Ahead:
    """Keeps what it was told to begin with, and returns the correction that it then found."""

    cost = None

    def __init__(self, corrections: Corrections) -> None:
        self._corrections = corrections
        self.begun: list[Tensor] = []
        self.fitted: list[Tensor] = []

    def begin(self, weights: Tensor, *, round: int) -> None:
        self.begun.append(weights)

    def fit(self, weights: Tensor, *, round: int) -> Trained:
        self.fitted.append(weights)
        return Trained(self._corrections.rows[0].clone(), None)


def test_a_training_that_began_is_collected_with_the_same_model() -> None:
    """Workers know a training by the tensor that it began with."""
    corrections = Corrections((0,), 2)
    ahead = Ahead(corrections)
    client = Scaffold(terms([1], d=2)).at_client(
        ahead, Place(0, 1, corrections, None, torch.zeros(2))
    )
    assert isinstance(client, EarlyTrainer)
    sent = torch.tensor([1.0, 2.0, 3.0, 4.0])
    client.begin(sent, round=0)
    assert client.fit(sent, round=0).delta.tolist() == [3.0, 4.0]
    assert ahead.fitted[0] is ahead.begun[0]
    assert ahead.fitted[0].tolist() == [1.0, 2.0]


def test_a_training_on_another_model_than_began_is_corrected_for_that_model() -> None:
    corrections = Corrections((0,), 2)
    ahead = Ahead(corrections)
    client = Scaffold(terms([1], d=2)).at_client(
        ahead, Place(0, 1, corrections, None, torch.zeros(2))
    )
    assert isinstance(client, EarlyTrainer)
    client.begin(torch.tensor([1.0, 2.0, 3.0, 4.0]), round=0)
    other = torch.tensor([5.0, 6.0, 7.0, 8.0])
    assert client.fit(other, round=0).delta.tolist() == [7.0, 8.0]
    assert ahead.fitted[0].tolist() == [5.0, 6.0]
