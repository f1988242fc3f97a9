"""Records of a linear head that are too many to keep in memory."""

import pytest
import torch

from securefl.learning import head_sums
from securefl.learning.head_sums import HeadSums, Rows
from securefl.learning.models.linear import logistic
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
    monkeypatch.setattr(head_sums, "NUMBERS_A_BLOCK", 24)  # two records at a time
    rows = sums.prepared(examples)
    weights = some_weights(logistic(TASK, generator=torch.Generator()))
    kept = sums.clipped_sum(weights, rows, chosen, clip=0.5)
    read_anew = sums.clipped_sum(weights, examples, chosen, clip=0.5)
    torch.testing.assert_close(read_anew, kept, rtol=0, atol=1e-12)
    # By hand: what is chosen, one record after another.
    each = range(RECORDS) if chosen is None else chosen.tolist()
    one_by_one = [sums.clipped_sum(weights, rows, torch.tensor([one]), clip=0.5) for one in each]
    torch.testing.assert_close(kept, sum(one_by_one), rtol=0, atol=1e-5)
