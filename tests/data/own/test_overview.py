"""What a source holds, in numbers."""

import torch

from securefl.data.own.overview import Count, count, overview
from securefl.data.own.records import Records, Split
from securefl.data.task import Examples, Task


def split_of(labels: list[int], sites: list[int] | None, groups: str | None = None) -> Split:
    examples = Examples(torch.zeros(len(labels), 1), torch.tensor(labels, dtype=torch.int64))
    index = None if sites is None else torch.tensor(sites, dtype=torch.int64)
    return Split(examples, index, None if groups is None else tuple(groups.encode().split()))


def test_records_of_each_site_and_class_known_answer() -> None:
    train = split_of([0, 1, 1, 2, 0], [0, 0, 0, 2, 0], "p q q r p")
    test = split_of([2, 2], [2, 0], "s q")
    facts = overview(Records(Task(1, 3), ("a", "b", "c"), train, None, test))
    assert facts.sites == ("a", "b", "c")
    assert facts.train == (Count(4, (2, 2, 0)), Count(0, (0, 0, 0)), Count(1, (0, 0, 1)))
    assert [count.present for count in facts.train] == [2, 0, 1]
    assert facts.test == (Count(1, (0, 0, 1)), Count(0, (0, 0, 0)), Count(1, (0, 0, 1)))
    assert facts.validation is None
    assert (facts.groups, facts.shared_groups) == (4, 1)


def test_records_without_sites_make_one_row_and_several_labels_count_each() -> None:
    labels = torch.tensor([[1, 1, 0], [0, 1, 0]])
    train = Split(Examples(torch.zeros(2, 1), labels), None, None)
    validation = Split(Examples(torch.zeros(0, 1), labels[:0]), None, None)
    facts = overview(Records(Task(1, 3, multilabel=True), (), train, validation, None))
    assert facts.sites == ("all records",)
    assert facts.train == (Count(2, (1, 2, 0)),)
    assert facts.validation == (Count(0, (0, 0, 0)),)
    assert facts.test is None
    assert (facts.groups, facts.shared_groups) == (None, 0)


def test_a_site_without_two_records_and_two_classes_cannot_train() -> None:
    task = Task(1, 3)
    counts = [Count(0, (0, 0, 0)), Count(1, (1, 0, 0)), Count(2, (0, 2, 0)), Count(2, (1, 1, 0))]
    assert [count.fault(task) for count in counts] == [
        "has no training record",
        "has one training record only",
        "has training records of one class only",
        None,
    ]
    # A record may have several labels or none, and a real target has no class.
    assert Count(2, (0, 2, 0)).fault(Task(1, 3, multilabel=True)) is None
    assert Count(2, ()).fault(Task(1, targets=((0.0, 1.0),))) is None


def test_coarse_labels_and_labels_that_nobody_looked_for_count_for_no_class() -> None:
    features = torch.zeros(5, 2)
    task = Task(features=2, classes=3, groups=((0, 1),))
    got = count(Examples(features, torch.tensor([0, 3, 2, 3, 2])), task)
    assert got == Count(5, (1, 0, 2), 2)
    # Records of one class and coarse ones are more than one class.
    assert Count(3, (0, 2, 0), 1).fault(task) is None
    assert Count(2, (0, 2, 0), 0).fault(task) == "has training records of one class only"
    several = Task(features=2, classes=2, multilabel=True, partial=True)
    labels = torch.tensor([[1, -1], [0, -1], [1, 1], [0, 0], [-1, -1]])
    assert count(Examples(features, labels), several) == Count(5, (2, 1))
