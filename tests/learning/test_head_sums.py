"""Sums of a linear head: what they keep, and that a record's part is a function of this record."""

import pytest
import torch
from torch import Tensor, nn

from securefl.data.task import Examples, Task
from securefl.learning import head_sums
from securefl.learning.head_sums import HeadSums, Rows
from securefl.learning.models.linear import logistic
from securefl.learning.models.scattering.prior import Prior
from securefl.learning.options import StepOptions
from tests.learning.test_clipped_gradient import TASKS, some_examples, some_weights

TASK = TASKS["an image"]  # of 12 features
RECORDS = 20


def heads() -> HeadSums:
    return HeadSums(logistic(TASK, generator=torch.Generator()), TASK, StepOptions())


def test_features_are_kept_up_to_a_number_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    examples = some_examples(TASK, RECORDS)
    monkeypatch.setattr(head_sums, "MAX_KEPT_NUMBERS", 12 * RECORDS)
    assert isinstance(heads().prepared(examples), Rows)
    monkeypatch.setattr(head_sums, "MAX_KEPT_NUMBERS", 12 * RECORDS - 1)
    assert heads().prepared(examples) is examples


@pytest.mark.parametrize("chosen", [None, torch.tensor([0, 3, 4, 11, 19])], ids=["all", "some"])
def test_records_that_are_not_kept_have_the_same_sum(
    chosen: torch.Tensor | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sums, examples = heads(), some_examples(TASK, RECORDS)
    monkeypatch.setattr(head_sums, "LOSS_ROWS", 2)
    monkeypatch.setattr(head_sums, "NUMBERS_A_BLOCK", 24)  # two records at a time
    rows = sums.prepared(examples)
    weights = some_weights(logistic(TASK, generator=torch.Generator()))
    kept = sums.clipped_sum(weights, rows, chosen, clip=0.5)
    read_anew = sums.clipped_sum(weights, examples, chosen, clip=0.5)
    assert torch.equal(read_anew, kept)
    # By hand: what is chosen, one record after another.
    each = range(RECORDS) if chosen is None else chosen.tolist()
    one_by_one = [sums.clipped_sum(weights, rows, torch.tensor([one]), clip=0.5) for one in each]
    torch.testing.assert_close(kept, sum(one_by_one), rtol=0, atol=1e-14)


# --- no record has a part in the gradient of another one

OF_EVERY_LOSS = {
    **TASKS,
    "ten classes": Task(features=6, classes=10),
    "unobserved labels": Task(features=6, classes=3, multilabel=True, partial=True),
    "coarse labels": Task(features=6, classes=4, groups=((0, 1), (2, 3))),
    "a regression": Task(features=6, targets=((-2.0, 3.0), (0.0, 1.0))),
    "a huber loss": Task(features=6, targets=((-2.0, 3.0),), huber=True),
}


def labelled(task: Task, records: int) -> Examples:
    """Records with labels of every kind that the task has."""
    drawing = torch.Generator().manual_seed(9)
    if task.regression:
        features = torch.randn(records, task.features, generator=drawing)
        return Examples(features, torch.rand(records, task.outputs, generator=drawing))
    examples = some_examples(task, records)
    if task.partial:
        unobserved = torch.rand(examples.labels.shape, generator=drawing) < 0.3
        return Examples(examples.features, examples.labels.masked_fill(unobserved, -1))
    if task.groups:
        labels = torch.randint(task.classes + len(task.groups), (records,), generator=drawing)
        return Examples(examples.features, labels)
    return examples


def cancelling(rows: Tensor, outputs: int, *, seed: int) -> Tensor:
    """A model (d,) of huge weights that are orthogonal to rows (k, p) but for rounding."""
    k, p = rows.shape
    ones = torch.cat([rows.double(), torch.ones(k, 1, dtype=torch.float64)], dim=1)
    orthonormal = torch.linalg.qr(ones.t())[0]
    drawing = torch.Generator().manual_seed(seed)
    columns = torch.randn(p + 1, outputs, generator=drawing, dtype=torch.float64)
    columns -= orthonormal @ (orthonormal.t() @ columns)
    columns *= 1e12 / columns.norm(dim=0)
    return torch.cat([columns[:p].t().flatten(), columns[p]]).float()


@pytest.mark.parametrize("records", [197, 198, 199, 31, 6])
def test_removing_a_record_turns_no_gradient_of_others_around(records: int) -> None:
    """A lying server's model: the logits of the last rows are nothing but rounding errors.

    With products in float32 by the library, the last rows of a batch (whose number is no multiple
    of four) have other roundings once the first record is gone, and so other signs.
    """
    task = Task(features=15, classes=2)
    sums = HeadSums(logistic(task, generator=torch.Generator()), task, StepOptions())
    examples = some_examples(task, records, seed=records)
    rows = sums.prepared(examples)
    farthest = 0.0
    for attempt in range(60):
        last = examples.features[-(attempt % 4 + 1) :]
        weights = cancelling(last, 1, seed=attempt)
        every = sums.clipped_sum(weights, rows, None, clip=0.5)
        others = sums.clipped_sum(weights, rows, torch.arange(1, records), clip=0.5)
        farthest = max(farthest, float((every - others).norm()))
    assert 0.4 < farthest <= 0.5


@pytest.mark.parametrize("task", OF_EVERY_LOSS.values(), ids=OF_EVERY_LOSS.keys())
@pytest.mark.parametrize("model", ["usual", "cancelling"])
def test_a_sum_has_the_same_bits_in_every_order_and_is_a_sum_of_parts(
    task: Task, model: str
) -> None:
    records = 301
    sums = HeadSums(logistic(task, generator=torch.Generator()), task, StepOptions())
    examples = labelled(task, records)
    weights = some_weights(logistic(task, generator=torch.Generator()))
    if model == "cancelling":
        inputs = task.inputs(examples.features).flatten(1)
        weights = cancelling(inputs[:5], task.outputs, seed=1)
    rows = sums.prepared(examples)
    whole = sums.clipped_sum(weights, rows, None, clip=0.5)
    drawing = torch.Generator().manual_seed(5)
    for _ in range(8):
        order = torch.randperm(records, generator=drawing)
        assert torch.equal(sums.clipped_sum(weights, rows, order, clip=0.5), whole)
        again = sums.prepared(Examples(examples.features[order], examples.labels[order]))
        assert torch.equal(sums.clipped_sum(weights, again, None, clip=0.5), whole)
        cut = int(torch.randint(1, records, (1,), generator=drawing))
        parts = [
            sums.clipped_sum(weights, rows, part, clip=0.5) for part in order.tensor_split([cut])
        ]
        torch.testing.assert_close(parts[0] + parts[1], whole, rtol=0, atol=2.0**-50 * 150)


def test_weights_of_classes_and_a_prior_leave_a_sum_its_bits_in_every_order() -> None:
    task = Task(features=6, classes=2)
    model = nn.Sequential(nn.Linear(6, 1, bias=False), Prior([0.4]))
    sums = HeadSums(model, task, StepOptions(class_weights=(0.7, 2.3)))
    examples = some_examples(task, 300)
    weights = 5 * some_weights(model)
    whole = sums.clipped_sum(weights, sums.prepared(examples), None, clip=0.5)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(5))
    assert torch.equal(sums.clipped_sum(weights, sums.prepared(examples), order, clip=0.5), whole)


def test_a_long_gradient_is_clipped_a_little_below_the_clip() -> None:
    """By one part in 2^30, which has room for every rounding of a sum in float64."""
    task = Task(features=6, classes=2)
    sums = HeadSums(logistic(task, generator=torch.Generator()), task, StepOptions())
    one = Examples(torch.full((1, 6), 1e7), torch.tensor([1]))
    length = float(sums.clipped_sum(torch.zeros(7), one, None, clip=0.5).norm())
    assert 0.5 * (1 - 2.0**-28) < length <= 0.5 * (1 - 2.0**-31)
