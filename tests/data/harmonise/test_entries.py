"""Steps are applied in order, to every record of every site."""

import torch

from securefl.data.harmonise.entries import STEPS, all_harmonised, harmonised
from securefl.data.task import Examples, FederatedData, Site, Task


def examples(*values: float) -> Examples:
    return Examples(torch.tensor(values).reshape(-1, 1), torch.zeros(len(values)).long())


def test_steps_are_applied_in_their_order() -> None:
    made = harmonised(examples(3.0), [lambda x: x + 1, lambda x: x * 10])
    assert made.features.tolist() == [[40.0]]


def test_training_and_test_records_of_all_sites_are_mapped() -> None:
    sites = (Site("a", examples(1.0), examples(2.0)), Site("b", examples(3.0), None))
    data = FederatedData(Task(features=1, classes=2), sites, examples(4.0))
    made = all_harmonised(data, [lambda x: -x])
    assert made.sites[0].train.features.item() == -1
    assert made.sites[0].test is not None
    assert made.sites[0].test.features.item() == -2
    assert made.sites[1].train.features.item() == -3
    assert made.sites[1].test is None
    assert made.test.features.item() == -4
    assert [site.name for site in made.sites] == ["a", "b"]
    assert all_harmonised(data, []) is data


def test_a_step_is_applied_to_records_or_needs_a_fit() -> None:
    assert all((entry.apply is None) is entry.fitted for entry in STEPS.values())
