"""A made-up data set with real targets, for tests of regressions."""

from functools import partial

import torch

from securefl.data.entries import DataEntry
from securefl.data.task import Examples, FederatedData, Site, Task
from securefl.rng import seeded_keystream

# Days in hospital and a temperature: units that are far apart.
TASK = Task(features=3, targets=((0.0, 40.0), (34.0, 43.0)))
TRAIN_RECORDS = (60, 45, 30)
TEST_RECORDS = (20, 20, 10)
NAME = "stays"


def entry(task: Task = TASK) -> DataEntry:
    """Returns three hospitals whose targets are linear in the features, but for some noise."""
    return DataEntry(
        partial(_load, task),
        partitions={"natural": TRAIN_RECORDS},
        tests={"natural": TEST_RECORDS},
        usual="natural",
        task=lambda: task,
        license="made up",
    )


def _load(task: Task, *, partition: str, split_seed: int) -> FederatedData:
    sites = []
    sizes = zip(TRAIN_RECORDS, TEST_RECORDS, strict=True)
    for index, (train, test) in enumerate(sizes):
        records = _records(task, train + test, index)
        features, labels = records
        site = Site(
            f"site {index}",
            Examples(features[:train], labels[:train]),
            Examples(features[train:], labels[train:]),
        )
        sites.append(site)
    tests = [site.test for site in sites if site.test is not None]
    all_tests = Examples(
        torch.cat([test.features for test in tests]), torch.cat([test.labels for test in tests])
    )
    return FederatedData(task, tuple(sites), all_tests)


def _records(task: Task, n: int, index: int) -> Examples:
    generator = seeded_keystream(7, "stays", index).torch_generator()
    features = torch.rand(n, 3, generator=generator)
    noise = torch.rand(n, 2, generator=generator)
    days = 30 * features[:, 0] - 10 * features[:, 1] + 5 + 4 * noise[:, 0]
    degrees = 36 + 4 * features[:, 2] + noise[:, 1]
    values = torch.stack([days, degrees], dim=1)  # (n, 2)
    return Examples(features, task.labels(values[:, : task.outputs]))
