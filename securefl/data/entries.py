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

    task: what its records are, by size for images; fetch: see to it that a published file is on this disk;
    options: further keys of the data table that its loader takes, with their defaults.
    """

    load: Callable[..., FederatedData]
    partitions: Mapping[str, tuple[int, ...]]
    usual: str
    task: Callable[..., Task]
    license: str
    fetch: Callable[[int, OnBytes], object] | None = None
    sizes: tuple[int, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def records(self) -> int:
        """Training records in all."""
        return sum(next(iter(self.partitions.values())))


@dataclass(frozen=True)
class DealEntry:
    """A way to deal pooled records to clients, the scenario keys it takes, and its public sizes if it has any."""

    deal: Callable[[Tensor, int, partition.Skew, Keystream], list[Tensor]]  # labels (n,), clients, skew, stream
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
        usual="iid",
        task=lambda size: medmnist_info.source(name, size).task,
        license=smallest.license,
        fetch=lambda size, on_bytes: medmnist.fetch(medmnist_info.source(name, size), on_bytes=on_bytes),
        sizes=sizes,
        options={"size": sizes[0], "test_on": "test"},
    )


DATA: Mapping[str, DataEntry] = {
    "heart": DataEntry(
        heart.load_heart,
        partitions=heart.TRAIN_RECORDS,
        usual="natural",
        task=lambda: heart.TASK,
        license="CC BY 4.0",
    ),
    "digits": DataEntry(
        digits.load_digits,
        partitions={"pooled": (digits.TRAIN_RECORDS,)},
        usual="iid",
        task=lambda: digits.TASK,
        license="CC BY 4.0",
    ),
    **{f"medmnist:{name}": _medmnist(name) for name in medmnist_info.names()},
}

DEALS: Mapping[str, DealEntry] = {
    "iid": DealEntry(
        lambda labels, clients, skew, stream: partition.iid(len(labels), clients=clients, stream=stream),
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
