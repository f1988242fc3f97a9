"""Name -> data set, and name -> way to deal records to clients."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from securefl.data import digits, heart, medmnist, medmnist_info, partition
from securefl.data.download import OnBytes
from securefl.data.task import FederatedData, Task
from securefl.rng import Keystream


@dataclass(frozen=True)
class DataEntry:
    """A data set: its loader, its own partitions with the public training sizes of their sites, and the usual one.

    tests: the test sizes of the same sites; task: what its records are, by size for images; fetch: see to it that a
    published file is on this disk; options: further keys of the data table that its loader takes, with their defaults.
    Where a split seed draws training and test records anew, tuning has the training sizes once validation records are
    taken from them. Published sets, whose split is fixed, state the size of their validation set instead.
    """

    load: Callable[..., FederatedData]
    partitions: Mapping[str, tuple[int, ...]]
    tests: Mapping[str, tuple[int, ...]]
    usual: str
    task: Callable[..., Task]
    license: str
    fetch: Callable[[int, OnBytes], object] | None = None
    sizes: tuple[int, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    tuning: Mapping[str, tuple[int, ...]] | None = None
    validation: int | None = None

    @property
    def records(self) -> int:
        """Training records in all."""
        return sum(next(iter(self.partitions.values())))

    def training(self, test_on: str | None) -> Mapping[str, tuple[int, ...]]:
        """The training sizes of its own partitions, by which records judge."""
        return (
            self.tuning if self.tuning is not None and test_on == "validation" else self.partitions
        )

    def judging(self, test_on: str | None) -> Mapping[str, tuple[int, ...]]:
        """How many records of each site judge: test records, or validation records."""
        if test_on != "validation":
            return self.tests
        if self.tuning is None:
            return {"pooled": (self.validation or 0,)}
        return {
            name: tuple(size - rest for size, rest in zip(sizes, self.tuning[name], strict=True))
            for name, sizes in self.partitions.items()
        }


@dataclass(frozen=True)
class DealEntry:
    """A way to deal pooled records to clients, the scenario keys it takes, and its public sizes if it has any."""

    deal: Callable[
        [Tensor, int, partition.Skew, Keystream], list[Tensor]
    ]  # labels (n,), clients, skew, stream
    takes: tuple[str, ...] = ()
    sizes: Callable[[int, int], tuple[int, ...]] | None = None  # records, clients -> sizes
    by_class: bool = False


DEFAULT_CLIENTS = 10


def _medmnist(name: str) -> DataEntry:
    """One MedMNIST set; nothing is read from disk yet but the medmnist package's table."""
    sizes, smallest = medmnist_info.sizes(name), medmnist_info.source(name)
    return DataEntry(
        lambda partition, split_seed, size, test_on: medmnist.load_medmnist(
            medmnist_info.source(name, size), partition=partition, test_on=test_on
        ),
        partitions={"pooled": (smallest.records.train,)},
        tests={"pooled": (smallest.records.test,)},
        validation=smallest.records.val,
        usual="iid",
        task=lambda size: medmnist_info.source(name, size).task,
        license=smallest.license,
        fetch=lambda size, on_bytes: medmnist.fetch(
            medmnist_info.source(name, size), on_bytes=on_bytes
        ),
        sizes=sizes,
        options={"size": sizes[0], "test_on": "test"},
    )


DATA: Mapping[str, DataEntry] = {
    "heart": DataEntry(
        heart.load_heart,
        partitions=heart.TRAIN_RECORDS,
        tests=heart.TEST_RECORDS,
        usual="natural",
        task=lambda: heart.TASK,
        license="CC BY 4.0",
        options={
            "test_on": None,
            "fold": None,
        },  # None, so that a scenario without them keeps the name of its cell
        tuning=heart.TUNING_RECORDS,
    ),
    "digits": DataEntry(
        digits.load_digits,
        partitions={"pooled": (digits.TRAIN_RECORDS,)},
        tests={"pooled": (digits.RECORDS - digits.TRAIN_RECORDS,)},
        usual="iid",
        task=lambda: digits.TASK,
        license="CC BY 4.0",
        options={"test_on": None, "fold": None},
        tuning={"pooled": (digits.TUNING_RECORDS,)},
    ),
    **{f"medmnist:{name}": _medmnist(name) for name in medmnist_info.names()},
}

DEALS: Mapping[str, DealEntry] = {
    "iid": DealEntry(
        lambda labels, clients, skew, stream: partition.iid(
            len(labels), clients=clients, stream=stream
        ),
        sizes=lambda records, clients: partition.iid_sizes(records, clients=clients),
    ),
    "dirichlet": DealEntry(
        lambda labels, clients, skew, stream: partition.dirichlet(
            labels, clients=clients, alpha=skew.alpha, minimum=skew.minimum, stream=stream
        ),
        takes=("alpha", "minimum"),
        by_class=True,
    ),
    "quantity": DealEntry(
        lambda labels, clients, skew, stream: partition.quantity(
            len(labels), clients=clients, alpha=skew.alpha, minimum=skew.minimum, stream=stream
        ),
        takes=("alpha", "minimum"),
    ),
    "pathological": DealEntry(
        lambda labels, clients, skew, stream: partition.pathological(
            labels, clients=clients, classes=skew.classes, stream=stream
        ),
        takes=("classes",),
        by_class=True,
    ),
}
