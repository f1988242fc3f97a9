"""FedNova: updates count by the step."""

import pytest
import torch

from securefl.learning.algorithms.averaging import FedAvg
from securefl.learning.algorithms.fednova import FedNova
from tests.learning.algorithms.quadratics import LR, Rounds, terms

TARGETS = [torch.tensor([4.0]), torch.tensor([-2.0])]
UNLIKE = [1, 3]


def plain(algorithm: object, public: object, steps: list[int]) -> Rounds:
    return Rounds(algorithm, public, TARGETS, steps, lambda optimizer, _: optimizer)  # type: ignore[arg-type]


@pytest.mark.parametrize("public", [True, False])
def test_known_answer_on_two_quadratics(public: bool) -> None:
    """One step and three of lr .5, weights 1 and 2, from 0.

    delta = 2, and -1 - .5 - .25 = -1.75. tau = (1 x 1 + 2 x 3) / 3 = 7/3.
    x = 7/3 (1/3 x 2/1 + 2/3 x -1.75/3).
    """
    constants = terms(UNLIKE, weights=[1, 2], public=public)
    played = plain(FedNova(constants), constants, UNLIKE)
    played.play([0, 1])
    expected = 7 / 3 * (2 / 3 - 2 / 3 * 1.75 / 3)
    assert played.weights.item() == pytest.approx(expected, abs=1e-6)


def test_with_equal_steps_it_is_fedavg_bit_for_bit() -> None:
    constants = terms([3, 3], weights=[3, 7])
    nova, average = (plain(make(constants), constants, [3, 3]) for make in (FedNova, FedAvg))
    for _ in range(4):
        nova.play([0, 1])
        average.play([0, 1])
    assert torch.equal(nova.weights, average.weights)


def test_it_meets_at_the_optimum_of_all_as_steps_get_small() -> None:
    """FedAvg is drawn to the client with more steps, FedNova is not."""
    constants = terms([1, 8])
    nova, average = (plain(make(constants), constants, [1, 8]) for make in (FedNova, FedAvg))
    for _ in range(40):
        nova.play([0, 1])
        average.play([0, 1])
    # At x the clients move by (1 - (1 - lr)^K) (target - x), which is divided by K.
    pull = [(1 - (1 - LR) ** count) / count for count in (1, 8)]
    expected = (4 * pull[0] - 2 * pull[1]) / sum(pull)
    assert nova.weights.item() == pytest.approx(expected, abs=1e-5)
    assert nova.weights.item() > 1 > average.weights.item()


def test_a_client_that_reports_its_weight_is_refused() -> None:
    constants = terms(UNLIKE)
    constants = type(constants)(**{**vars(constants), "weights": None})
    with pytest.raises(ValueError, match="fednova needs public weights"):
        FedNova(constants)
