"""Losses for coarse and partly observed labels, by hand, by definition and record by record."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from securefl.data.task import Task
from securefl.data.unlike_labels import coarse_loss, partial_loss

GROUPS = ((0, 1), (2,))
COARSE = Task(features=4, classes=3, groups=GROUPS)
PARTIAL = Task(features=4, classes=3, multilabel=True, partial=True)


def test_a_coarse_label_costs_minus_the_logarithm_of_the_sum_of_its_classes() -> None:
    # Probabilities 0.2, 0.3 and 0.5.
    logits = torch.tensor([[0.2, 0.3, 0.5]], dtype=torch.float64).log()
    assert float(COARSE.loss(logits, torch.tensor([3]))) == pytest.approx(-math.log(0.5))
    assert float(COARSE.loss(logits, torch.tensor([4]))) == pytest.approx(-math.log(0.5))
    assert float(COARSE.loss(logits, torch.tensor([1]))) == pytest.approx(-math.log(0.3))
    labels = torch.tensor([0, 3])
    expected = (-math.log(0.2) - math.log(0.5)) / 2
    assert float(COARSE.loss(logits.repeat(2, 1), labels)) == pytest.approx(expected)


@settings(deadline=None)  # the first call may load parts of torch
@given(st.integers(0, 2**31))
def test_labels_of_single_classes_have_the_cross_entropy_and_its_gradient(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(5, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(3, (5,), generator=generator)
    written = torch.where(labels == 2, 4, labels)  # the group of class 2 alone
    expected = functional.cross_entropy(logits, labels)
    loss = COARSE.loss(logits, written)
    torch.testing.assert_close(loss, expected)
    (gradient,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, logits)[0])


@pytest.mark.parametrize("scale", [1e4, 1e30])
def test_the_coarse_loss_and_its_gradient_stay_finite(scale: float) -> None:
    logits = torch.tensor([[1.0, -1.0, 0.0], [-1.0, -1.0, 1.0]]) * scale
    logits.requires_grad_()
    loss = COARSE.loss(logits, torch.tensor([3, 3]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert torch.isfinite(loss)


def test_unobserved_labels_have_no_part_in_the_loss_of_a_record() -> None:
    logits = torch.tensor([[0.0, 2.0, 9.0], [0.0, 0.0, -3.0]], dtype=torch.float64)
    labels = torch.tensor([[1, 0, -1], [-1, -1, 1]])
    # By hand: log(1 + e^-x) with the label, and log(1 + e^x) without it.
    first = (math.log(2) + math.log(1 + math.exp(2))) / 2
    second = math.log(1 + math.exp(3))
    assert float(PARTIAL.loss(logits, labels)) == pytest.approx((first + second) / 2)


def test_the_partial_loss_of_labels_that_are_all_observed_is_the_usual_one() -> None:
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(7, 3, generator=generator)
    labels = torch.randint(2, (7, 3), generator=generator)
    usual = Task(features=4, classes=3, multilabel=True)
    torch.testing.assert_close(PARTIAL.loss(logits, labels), usual.loss(logits, labels))
    weights = torch.tensor([1.0, 2.0, 0.5])
    expected = functional.binary_cross_entropy_with_logits(
        logits, labels.float(), pos_weight=weights
    )
    torch.testing.assert_close(partial_loss(logits, labels, weights), expected)


def test_an_unobserved_label_spoils_nothing_even_where_its_output_is_not_finite() -> None:
    logits = torch.tensor([[0.0, math.inf, 1.0]], requires_grad=True)
    loss = PARTIAL.loss(logits, torch.tensor([[1, -1, 0]]))
    assert torch.isfinite(loss)


def test_a_record_without_an_observed_label_costs_nothing() -> None:
    labels = torch.full((1, 3), -1)
    assert float(PARTIAL.loss(torch.ones(1, 3), labels)) == 0


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"classes": 2, "groups": ((0,),)}, "three classes or more"),
        ({"classes": 3, "groups": ((0, 1, 2),)}, "a group names some of the classes"),
        ({"classes": 3, "groups": ((),)}, "a group names some of the classes"),
        ({"classes": 3, "groups": ((1, 0),)}, "in order and each once"),
        ({"classes": 3, "groups": ((0, 3),)}, "classes 0 to 2"),
        ({"classes": 3, "groups": ((0, 1), (0, 1))}, "two groups have the same classes"),
        ({"classes": 3, "multilabel": True, "groups": ((0, 1),)}, "one class a record"),
        ({"classes": 3, "partial": True}, "only several labels may be partly observed"),
    ],
)
def test_a_task_refuses_groups_that_say_nothing(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Task(**{"features": 4, **changes})  # type: ignore[arg-type]


def test_the_loss_of_a_record_is_the_same_alone_and_among_others() -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    coarse = torch.tensor([0, 1, 2, 3, 4, 3])
    alone = [coarse_loss(logits[i : i + 1], coarse[i : i + 1], GROUPS) for i in range(6)]
    torch.testing.assert_close(torch.stack(alone).mean(), coarse_loss(logits, coarse, GROUPS))
    partly = torch.tensor([[1, 0, -1], [-1, -1, 0], [0, 0, 1], [1, -1, 1], [1, 1, 1], [0, -1, 0]])
    single = [partial_loss(logits[i : i + 1], partly[i : i + 1]) for i in range(6)]
    torch.testing.assert_close(torch.stack(single).mean(), partial_loss(logits, partly))
