"""Coarse and partly observed labels in training: gradients record by record, stacks, weights."""

import pytest
import torch

from securefl.data.task import Task
from securefl.learning.clipping.recorder import Recorder
from securefl.learning.models.linear import mlp
from securefl.learning.options import StepOptions, weighted_loss

COARSE = Task(features=6, classes=3, groups=((0, 1), (1, 2)))
PARTIAL = Task(features=6, classes=3, multilabel=True, partial=True)
LABELS = {
    "coarse": (COARSE, torch.tensor([0, 3, 4, 2, 3, 1])),
    "partial": (
        PARTIAL,
        torch.tensor([[1, 0, 1], [-1, 1, 0], [-1, -1, 1], [0, 0, -1], [1, 1, 1], [-1, 0, -1]]),
    ),
}


@pytest.mark.parametrize("kind", LABELS)
def test_the_gradient_of_every_record_is_that_of_the_record_alone(kind: str) -> None:
    task, labels = LABELS[kind]
    generator = torch.Generator().manual_seed(4)
    model = mlp(task, hidden=(5,), generator=generator).double()
    features = torch.randn(len(labels), 6, generator=generator, dtype=torch.float64)
    gradients = Recorder(model).gradients(features, labels, task.loss)
    parameters = list(model.parameters())
    for record in range(len(labels)):
        factors = torch.zeros(len(labels))
        factors[record] = 1.0
        sums = dict(gradients.sums(factors))
        alone = task.loss(model(features[record : record + 1]), labels[record : record + 1])
        expected = torch.autograd.grad(alone, parameters)
        for p, right in zip(parameters, expected, strict=True):
            assert float(right.abs().max()) > 0
            torch.testing.assert_close(sums[p], right)


def test_class_weights_of_partly_observed_labels_scale_the_observed_part() -> None:
    logits = torch.tensor([[0.5, -1.0, 3.0]], dtype=torch.float64)
    labels = torch.tensor([[1, 0, -1]])
    weights = torch.tensor([4.0, 9.0, 16.0], dtype=torch.float64)
    softplus = torch.nn.functional.softplus
    expected = (4 * softplus(torch.tensor(-0.5).double()) + softplus(logits[0, 1])) / 2
    torch.testing.assert_close(weighted_loss(PARTIAL, weights, logits, labels), expected)
    loss = StepOptions(class_weights=(4.0, 9.0, 16.0)).loss(PARTIAL)
    torch.testing.assert_close(loss(logits, labels), expected)
