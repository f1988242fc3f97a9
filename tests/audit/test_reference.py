"""The reference of audits gives the gradients that training clips."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from securefl import vector
from securefl.audit.reference import Reference
from securefl.learning.clipping.recorder import Recorder

WORDS, LABELS = torch.tensor([[0, 2, 2], [1, 2, 0], [3, 3, 4]]), torch.tensor([0, 2, 1])


class Words(nn.Module):
    """Looks up words, which come as floating-point numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 4, padding_idx=2)
        self.last = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(12, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.table(x.long()))  # type: ignore[no-any-return]


@pytest.fixture
def model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Words()


def test_rows_are_the_gradients_of_training_with_padding_and_changes_in_place(
    model: nn.Module,
) -> None:
    weights = vector.to_vector(model)
    reference = Reference(model, functional.cross_entropy)
    rows = reference.rows(weights, WORDS.float(), LABELS)
    recorder = Recorder(model)
    gradients = recorder.gradients(WORDS.float(), LABELS, functional.cross_entropy)
    for place in range(3):
        sums = dict(gradients.sums(torch.eye(3)[place]))
        expected = torch.cat([sums[p].flatten() for p in recorder.parameters()])
        assert torch.allclose(rows[place], expected, atol=1e-6)
    assert rows[:, :20].view(3, 5, 4).abs().sum(dim=(0, 2)).tolist()[2] == 0.0


def test_a_record_that_is_not_finite_counts_as_zero_and_no_records_give_no_rows(
    model: nn.Module,
) -> None:
    layer = nn.Linear(2, 3)
    reference = Reference(layer, functional.cross_entropy)
    weights = vector.to_vector(layer)
    features = torch.tensor([[float("inf"), 1.0], [1.0, 2.0]])
    rows = reference.rows(weights, features, LABELS[:2])
    assert not rows[0].any()
    assert bool(rows[1].any())
    assert reference.rows(weights, features[:0], LABELS[:0]).shape == (0, 9)
