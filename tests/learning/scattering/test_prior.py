"""A declared class prior: what it adds in training, and what it refuses."""

import math

import pytest
import torch

from securefl.data.task import Task
from securefl.learning.models.scattering.head import scattering
from securefl.learning.models.scattering.prior import Prior, prior_of

IMAGES = Task(features=144, classes=2, image=(1, 12, 12))


def test_training_adds_the_logarithms_of_the_shares_and_answers_do_not_have_them() -> None:
    prior = prior_of(Task(features=4, classes=3), [0.5, 0.2, 0.3])
    logits = torch.tensor([[1.0, 2.0, 3.0]])
    expected = logits + torch.log(torch.tensor([[0.5, 0.2, 0.3]]))
    torch.testing.assert_close(prior.train()(logits), expected)
    assert torch.equal(prior.eval()(logits), logits)


def test_one_logit_of_two_classes_gets_the_odds_of_the_second() -> None:
    assert prior_of(IMAGES, [0.2, 0.8]).offsets == pytest.approx((math.log(4),))


def test_a_prior_travels_with_no_model_and_stands_for_the_bias() -> None:
    model = scattering(IMAGES, pooling=1, prior=[0.4, 0.6], generator=torch.Generator())
    assert [name for name, _ in model.named_parameters()] == ["head.weight"]
    assert list(model.state_dict()) == ["head.weight"]
    assert "0.405" in repr(model)


@pytest.mark.parametrize(
    ("task", "shares", "message"),
    [
        (IMAGES, [0.5, 0.2, 0.3], "one share a class: 2, got 3"),
        (IMAGES, [0.5, 0.4], "add up to 1"),
        (IMAGES, [1.0, 0.0], "above 0"),
        (Task(features=4, classes=2, multilabel=True), [0.5, 0.5], "exclude each other"),
        (Task(features=4, classes=0, targets=((0.0, 1.0),)), [0.5], "exclude each other"),
    ],
    ids=["number", "sum", "zero", "several", "real"],
)
def test_what_are_no_shares_of_the_classes_is_refused(
    task: Task, shares: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        prior_of(task, shares)


def test_offsets_are_of_the_type_of_the_logits() -> None:
    assert Prior([1.0]).train()(torch.zeros(2, 1, dtype=torch.float64)).dtype == torch.float64
