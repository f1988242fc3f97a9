"""Poisoned records: hand-worked answers, and which clients of a federation train on them.

Mutants killed:
label_flip: c + 1; classes - c; several labels left. targeted_label_flip: source and target swapped; all labels changed.
poisoned: every client; the test records; the features; the first client only.
"""

import pytest
import torch

from attacks import label_flip, targeted_label_flip
from securefl import adversary
from securefl.assemble import load_data
from securefl.scenario import parse_scenario

FEATURES = torch.arange(8.0).reshape(4, 2)


def test_label_flip_known_answers() -> None:
    features, labels = label_flip(FEATURES, torch.tensor([0, 3, 9, 5]), classes=10)
    assert labels.tolist() == [9, 6, 0, 4]
    assert torch.equal(features, FEATURES)
    assert label_flip(FEATURES, torch.tensor([0, 1, 1, 0]), classes=2)[1].tolist() == [1, 0, 0, 1]
    several = torch.tensor([[0, 1, 1], [0, 0, 0]])
    assert label_flip(FEATURES[:2], several, classes=3)[1].tolist() == [[1, 0, 0], [1, 1, 1]]


def test_targeted_label_flip_known_answer() -> None:
    before = torch.tensor([0, 3, 3, 5])
    features, labels = targeted_label_flip(FEATURES, before, classes=10, source=3, target=5)
    assert labels.tolist() == [0, 5, 5, 5]
    assert before.tolist() == [0, 3, 3, 5]
    assert torch.equal(features, FEATURES)


@pytest.mark.parametrize(
    ("source", "target", "sentence"),
    [
        (10, 1, "needs source in 0 to 9, got source=10"),
        (1, -1, "needs target in 0 to 9, got target=-1"),
        (4, 4, "needs a target other than its source, got 4 for both"),
    ],
)
def test_classes_that_are_none_are_refused(source: int, target: int, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        targeted_label_flip(FEATURES, torch.zeros(4).long(), classes=10, source=source, target=target)


def test_records_of_several_labels_and_a_single_class_are_refused() -> None:
    with pytest.raises(ValueError, match="needs records of one label each"):
        targeted_label_flip(FEATURES, torch.zeros(4, 3).long(), classes=3, source=0, target=1)
    with pytest.raises(ValueError, match="labels are flipped among classes >= 2, got 1"):
        label_flip(FEATURES, torch.zeros(4).long(), classes=1)


def test_only_the_corrupt_clients_train_on_poisoned_records() -> None:
    text = """
        data = { name = "digits", clients = 5 }
        training = { kind = "sgd" }
        attack = { name = "label_flip", clients = [1, 3] }
    """
    scenario = parse_scenario(text)
    clean = load_data(scenario)
    after = adversary.poisoned(scenario, clean)
    assert torch.equal(after.test.labels, clean.test.labels)
    for index, (site, honest) in enumerate(zip(after.sites, clean.sites, strict=True)):
        assert torch.equal(site.train.features, honest.train.features)
        flipped = 9 - honest.train.labels
        assert torch.equal(site.train.labels, flipped if index in (1, 3) else honest.train.labels)
    honest_rows = torch.ones(2, 3)
    assert torch.equal(
        adversary.make(scenario, lambda rows, weights: rows[0]).attack(honest_rows, honest_rows, 0), honest_rows
    )
